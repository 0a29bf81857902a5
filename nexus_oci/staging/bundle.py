"""The tree of a bundle: laid out from its sources, made the same on every machine, and listed in manifest.json and SHA256SUMS."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nexus_oci.staging.tree import Item, read_tree

SCHEMA_VERSION = 1
"""The version of manifest.json's form."""
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a manifest says about what it belongs to. `epoch` is SOURCE_DATE_EPOCH, in seconds."""

    name: str
    version: str
    platform: str
    distribution: str
    commit: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the definition says of one path; nothing of it need be on disk but the mode."""

    mode: int | None = None
    owner: str = "root"
    group: str = "root"
    config: bool = False


def declared(files: Mapping[str, Mapping[str, Any]]) -> dict[str, Declared]:
    """What `files` of a layout's configuration says, by path."""
    return {
        path: Declared(
            mode=int(str(said["mode"]), 8) if said.get("mode") else None,
            owner=said.get("owner") or "root",
            group=said.get("group") or "root",
            config=bool(said.get("config")) or str(said.get("type", "")).startswith("config"),
        )
        for path, said in files.items()
    }


@cache
def digest(place: str) -> str:
    """The SHA-256 of a file, in hexadecimal; asked twice, it is read once."""
    with Path(place).open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lay(tree: str, items: Iterable[Item], files: Mapping[str, Declared]) -> None:
    """Make `tree`, which must not exist, of items that are elsewhere: hard links where the file system has them.

    A file is copied where the definition gives it another mode here than it has there.
    """
    Path(tree).mkdir(parents=True)
    for item in sorted(items, key=lambda item: item.path):
        goal = Path(f"{tree}{item.path}")
        (goal if item.kind == "directory" else goal.parent).mkdir(parents=True, exist_ok=True)
        if item.kind == "link":
            goal.symlink_to(item.target)
        elif item.kind == "file":
            mode = files[item.path].mode if item.path in files else None
            own = mode is not None and mode != stat.S_IMODE(Path(item.place).stat().st_mode)
            _place(Path(item.place), goal, own=own)


def _place(source: Path, goal: Path, *, own: bool) -> None:
    if not own:
        with contextlib.suppress(OSError):
            goal.hardlink_to(source)
            return
    with source.open("rb") as reader, goal.open("xb") as writer:
        while block := reader.read(_BLOCK):
            writer.write(block)
    goal.chmod(stat.S_IMODE(source.stat().st_mode))


def normalise(tree: str, epoch: int, files: Mapping[str, Declared]) -> None:
    """Give every path its declared mode, or 0755 (folders, and what can be run) or 0644, and one time, whatever the umask was."""
    for item in read_tree(tree):
        if item.kind != "link":
            usual = 0o755 if item.kind == "directory" or item.mode & 0o111 else 0o644
            mode = files[item.path].mode if item.path in files else None
            Path(item.place).chmod(usual if mode is None else mode)
        os.utime(item.place, (epoch, epoch), follow_symlinks=False)
    if Path(tree).is_dir():
        Path(tree).chmod(0o755)
        os.utime(tree, (epoch, epoch))


def seal(tree: str, release: Release, files: Mapping[str, Declared], manifest: str, sums: str, *, edited: bool) -> None:
    """Write manifest.json and SHA256SUMS, each at its path in the tree.

    The manifest lists everything but these two; SHA256SUMS every file, the manifest included, but itself. Paths are relative to
    the tree, so that `sha256sum -c` works in it. Where the tree's configuration may be `edited`, SHA256SUMS leaves it out.
    Everything that is written depends on the tree, the release and the declarations alone.
    """
    items = [item for item in read_tree(tree) if item.path not in (manifest, sums)]
    for place in (manifest, sums):
        Path(f"{tree}{place}").parent.mkdir(parents=True, exist_ok=True)
    document = manifest_document(release, items, files)
    Path(f"{tree}{manifest}").write_bytes(document)
    listed = [
        (item.path, digest(item.place))
        for item in items
        if item.kind == "file" and not (edited and files.get(item.path, Declared()).config)
    ]
    listed.append((manifest, hashlib.sha256(document).hexdigest()))
    Path(f"{tree}{sums}").write_bytes(checksums(listed))


def manifest_document(release: Release, items: Iterable[Item], files: Mapping[str, Declared]) -> bytes:
    """manifest.json: the release, and every path with its type, mode, owner, and what it consists of."""
    head = {"schemaVersion": SCHEMA_VERSION, "name": release.name, "version": release.version, "platform": release.platform}
    head |= {"distribution": release.distribution, "commit": release.commit, "epoch": release.epoch}
    listed = [_entry(item, files.get(item.path, Declared())) for item in items]
    return json.dumps(head | {"files": listed}, ensure_ascii=False, indent=1).encode() + b"\n"


def _entry(item: Item, said: Declared) -> dict[str, Any]:
    found: dict[str, Any] = {"path": item.path[1:], "type": item.kind}
    if item.kind == "link":
        return found | {"target": item.target, "owner": said.owner, "group": said.group}
    found |= {"mode": f"{item.mode if said.mode is None else said.mode:04o}", "owner": said.owner, "group": said.group}
    if item.kind == "file":
        found |= {"size": item.size, "sha256": digest(item.place), "config": said.config}
    return found


def checksums(listed: Iterable[tuple[str, str]]) -> bytes:
    """SHA256SUMS of absolute paths in a tree and their digests, as `sha256sum` writes it: sorted, backslashes escaped."""
    lines = []
    for path, found in sorted(listed, key=lambda pair: os.fsencode(pair[0])):
        name = path[1:]
        escaped = name.replace("\\", "\\\\")
        lines.append(f"{'' if escaped == name else chr(92)}{found}  {escaped}\n")
    return "".join(lines).encode()
