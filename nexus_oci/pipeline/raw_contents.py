"""Entries of nfpm's `contents` in a definition: read as nfpm reads them, and laid into the staged tree, to be checked there."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from nexus_oci.errors import DefinitionError
from nexus_oci.pipeline.surroundings import placed
from nexus_oci.render.context import ContextFile, folder

_PATTERN = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """A path that an entry stands for: the file, which a ghost has not, and what is special about it."""

    file: ContextFile | None
    entry: dict[str, Any]


def raw_files(content: Mapping[str, Any], source: Mapping[str, ContextFile], where: str) -> dict[str, RawFile]:
    """What one entry stands for, by installed path; its `src` is a file, a folder or a pattern in the engine's source.

    Raises `DefinitionError` for one that is not there.
    """
    kind = str(content.get("type") or "")
    info = content.get("file_info") or {}
    mode = info.get("mode")
    said = {"owner": info.get("owner"), "group": info.get("group"), "language": info.get("lang"), "time": info.get("mtime")}
    entry = {key: str(value) for key, value in said.items() if value} | ({"mode": f"{mode:04o}"} if mode else {})
    target = _installed(content["dst"])
    origin = str(content.get("src") or "")
    if kind == "symlink":
        return {target: RawFile(file=ContextFile(mode=0o777, digest="", link=origin), entry=entry)}
    if kind == "dir":
        return {target: RawFile(file=folder(mode or 0o755), entry={"mode": "0755"} | entry)}
    if kind == "ghost":
        return {target: RawFile(file=None, entry=entry | {"type": kind})}
    own = kind.removesuffix("tree").removesuffix("|")
    entry |= {"type": own} if own else {}
    if not origin:
        raise DefinitionError(f"{where}: the entry for {target} has no `src`", hint="name a file of the engine's source")
    found = {
        path: RawFile(file=replace(file, mode=mode) if mode and file.link is None else file, entry=entry)
        for path, file in _sources(posixpath.normpath(origin), content, source, where).items()
    }
    others = map(_installed, content.get("disown_subtree") or ())
    return found | {path: RawFile(file=folder(), entry={"disowned": True}) for path in others}


def _sources(origin: str, content: Mapping[str, Any], source: Mapping[str, ContextFile], where: str) -> dict[str, ContextFile]:
    target = _installed(content["dst"])
    if f"source/{origin}" in source:
        inside = str(content["dst"]).endswith("/")
        return placed(source, origin, posixpath.join(target, posixpath.basename(origin)) if inside else target, where)
    matching = [] if _PATTERN.isdisjoint(origin) or content.get("type") == "tree" else _matching(origin, source)
    if not matching:
        return placed(source, origin, target, where)
    common = posixpath.commonpath([posixpath.dirname(name) for name in matching])
    return {posixpath.join(target, posixpath.relpath(name, common)): source[name] for name in matching}


def _matching(pattern: str, source: Mapping[str, ContextFile]) -> list[str]:
    names = (name for name in source if name.startswith("source/") and name.count("/") == pattern.count("/") + 1)
    return [name for name in names if PurePosixPath(name).match(f"source/{pattern}")]


def _installed(path: object) -> str:
    return posixpath.normpath("/" + str(path).lstrip("/"))
