"""What a tree of files consists of: read once, then only looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["file", "directory", "link", "device", "socket", "pipe"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One path of a tree, or of what shall become one.

    `path` begins with `/` and ends without one; names that are no UTF-8 carry surrogates, as `os.fsdecode` gives them. `place` is
    where the content is on disk; `digest` is its SHA-256 where that is known already. `target` is a link's.
    """

    path: str
    kind: Kind
    mode: int = 0o644
    size: int = 0
    target: str = ""
    place: str = ""
    digest: str = ""


def read_tree(root: str) -> list[Item]:
    """Everything below `root`, itself excepted, by the bytes of its path; links are not followed. An absent root has nothing."""
    if not Path(root).is_dir():
        return []
    return sorted(_below(root.rstrip("/") or "/", ""), key=lambda item: os.fsencode(item.path))


def _below(root: str, inside: str) -> Iterator[Item]:
    with os.scandir(f"{root}{inside}/") as entries:
        found = list(entries)
    for entry in found:
        path = f"{inside}/{entry.name}"
        status = entry.stat(follow_symlinks=False)
        kind = _kind(status.st_mode)
        yield Item(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            size=status.st_size if kind == "file" else 0,
            target=os.readlink(entry.path) if kind == "link" else "",  # noqa: PTH115  a Path would tidy it
            place=f"{root}{path}",
        )
        if kind == "directory":
            yield from _below(root, path)


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "pipe" if stat.S_ISFIFO(mode) else "device"


def parents(path: str) -> Iterator[str]:
    """The folders above an absolute path, the nearest first, without `/` itself."""
    while path := path.rpartition("/")[0]:
        yield path
