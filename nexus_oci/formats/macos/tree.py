"""The files of a package in the order and with the facts that its payload and its Bom need."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from nexus_oci.errors import ArchiveError

_KINDS: Final = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
ROOT: Final = "."


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A path of a package: `.` or `./usr/local/bin/x`, its mode with the type's bits, and what it consists of.

    `size` is in bytes, of a link that of its target. `open` gives a file's bytes. Everything belongs to root and wheel.
    """

    path: str
    mode: int
    size: int = 0
    target: str = ""
    open: Callable[[], BinaryIO] | None = field(default=None, compare=False)

    @property
    def parent(self) -> str:
        """The folder's path; empty for the root."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> bytes:
        """The last component."""
        return self.path.rpartition("/")[2].encode()


def ordered(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries with every folder above them, each folder's sorted by name, folder by folder from the root: a Bom's order.

    Raises `ArchiveError` for a path that leaves the package or that is there twice, and for what is no file, folder or link.
    """
    found: dict[str, Entry] = {ROOT: Entry(path=ROOT, mode=stat.S_IFDIR | 0o755)}
    for entry in entries:
        if entry.path == ROOT:
            found[ROOT] = entry
            continue
        plain = entry.path.removeprefix("./")
        if (
            not entry.path.startswith("./")
            or posixpath.normpath(plain) != plain
            or plain.startswith(("../", "/"))
            or "\0" in plain
        ):
            raise ArchiveError(f"{entry.path!r} is no path of a package", why="it leaves it, or is not in its shortest form")
        if stat.S_IFMT(entry.mode) not in _KINDS:
            raise ArchiveError(f"{entry.path} cannot be in a package", why="it is no file, folder or symbolic link")
        if entry.path in found:
            raise ArchiveError(f"{entry.path} is in the package twice")
        found[entry.path] = entry
    for path in list(found):
        parts = path.split("/")
        for depth in range(2, len(parts)):
            above = "/".join(parts[:depth])
            if stat.S_IFMT(found.setdefault(above, Entry(path=above, mode=stat.S_IFDIR | 0o755)).mode) != stat.S_IFDIR:
                raise ArchiveError(f"{path} cannot be in the package", why=f"{above} is no folder")
    children: dict[str, list[Entry]] = {}
    for entry in found.values():
        if entry.path != ROOT:
            children.setdefault(entry.parent, []).append(entry)
    result = [found[ROOT]]
    for entry in result:  # grows while it is read: folder by folder
        result += sorted(children.get(entry.path, ()), key=lambda child: child.name)
    return tuple(result)
