"""What stands in the file system: what a package says of its files against what is there, and what has changed since."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_SKIPPED = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/opt/acceptance", "/root/.gnupg")  # noqa: S108  only looked past


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file, directory or link as a package has it. `sha256` is empty where the content is not to be compared."""

    path: str
    kind: str
    mode: int
    owner: str
    group: str
    link: str = ""
    sha256: str = ""
    config: bool = False
    may_be_absent: bool = False


def read_tar(stream: IO[bytes]) -> list[Entry]:
    """The entries of a tar (uncompressed or not), paths absolute."""
    entries = []
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            path = "/" + member.name.removeprefix("./").strip("/")
            if path in ("/", "/."):
                continue
            kind = "directory" if member.isdir() else "link" if member.issym() else "file"
            content = archive.extractfile(member) if member.isreg() else None
            entries.append(
                Entry(
                    path=path,
                    kind=kind,
                    mode=member.mode & 0o7777,
                    owner=member.uname or _number(member.uid),
                    group=member.gname or _number(member.gid),
                    link=member.linkname if member.issym() else "",
                    sha256=hashlib.sha256(content.read()).hexdigest() if content else "",
                )
            )
    return entries


def _number(identity: int) -> str:
    """A user or group that an archive does not name."""
    return str(identity) if identity else "root"


def read_tar_of(*argv: str) -> list[Entry]:
    """The entries of the tar that a command writes."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None  # noqa: S101  it was asked for
        return read_tar(reader.stdout)


def differences(entries: Iterable[Entry], *, root: str = "", present: Iterable[str] = ()) -> list[str]:
    """What is not as the package says. Directories in `present` stood there before, and stay as they were."""
    before = set(present)
    found: list[str] = []
    for entry in entries:
        if entry.kind == "directory" and entry.path in before:
            continue
        found += _differences(entry, Path(root + entry.path))
    return found


def _differences(entry: Entry, path: Path) -> Iterator[str]:
    try:
        state = path.lstat()
    except OSError:
        if not entry.may_be_absent:
            yield f"{entry.path} is missing"
        return
    kind = "directory" if stat.S_ISDIR(state.st_mode) else "link" if stat.S_ISLNK(state.st_mode) else "file"
    if kind != entry.kind:
        yield f"{entry.path} is a {kind}, not a {entry.kind}"
        return
    if entry.link and str(path.readlink()) != entry.link:
        yield f"{entry.path} points to {path.readlink()}, not to {entry.link}"
    if kind == "link":
        return
    mode = stat.S_IMODE(state.st_mode)
    if mode != entry.mode:
        yield f"{entry.path} has mode {mode:04o}, not {entry.mode:04o}"
    owner, group = owner_of(state)
    if (owner, group) != (entry.owner, entry.group):
        yield f"{entry.path} belongs to {owner}:{group}, not to {entry.owner}:{entry.group}"
    if entry.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
        yield f"{entry.path} has other content than in the package"


def read_manifest(manifest: Path) -> list[Entry]:
    """The files that a bundle's own manifest.json lists, paths as they are written there."""
    return [
        Entry(
            path=item["path"],
            kind=item["type"],
            mode=int(item["mode"], 8) if "mode" in item else 0o777,
            owner=item.get("owner", "root"),
            group=item.get("group", "root"),
            link=item.get("target", ""),
            sha256=item.get("sha256", ""),
        )
        for item in json.loads(manifest.read_bytes())["files"]
    ]


def owner_of(state: os.stat_result) -> tuple[str, str]:
    """User and group by name, or by number where they have none."""
    try:
        owner = pwd.getpwuid(state.st_uid).pw_name
    except KeyError:
        owner = str(state.st_uid)
    try:
        group = grp.getgrgid(state.st_gid).gr_name
    except KeyError:
        group = str(state.st_gid)
    return owner, group


def snapshot(root: str = "/") -> dict[str, tuple[object, ...]]:
    """Every path below `root` on this machine's own disk, with what tells whether it was changed."""
    found: dict[str, tuple[object, ...]] = {}
    pending = [root]
    while pending:
        folder = pending.pop()
        with os.scandir(folder) as listing:
            for item in listing:
                if item.path in _SKIPPED:
                    continue
                state = item.stat(follow_symlinks=False)
                if item.is_dir(follow_symlinks=False):
                    pending.append(item.path)
                    found[item.path] = (state.st_mode, state.st_uid, state.st_gid)
                else:
                    found[item.path] = (state.st_mode, state.st_uid, state.st_gid, state.st_size, state.st_mtime_ns)
    return found


def changes(before: dict[str, tuple[object, ...]], allowed: Sequence[str]) -> list[str]:
    """What was added, removed or changed since `before`, but for paths that match one of the `allowed` expressions."""
    after = snapshot()
    pattern = re.compile("|".join(allowed))
    found = [f"{path} is left" for path in sorted(after.keys() - before.keys())]
    found += [f"{path} is gone" for path in sorted(before.keys() - after.keys())]
    found += [f"{path} was changed" for path in sorted(before.keys() & after.keys()) if before[path] != after[path]]
    return [line for line in found if not pattern.fullmatch(line.partition(" ")[0])]
