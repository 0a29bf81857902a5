"""What goes into an archive of a library: paths, contents and modes, checked for every system that will unpack them."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nexus_oci.errors import ArchiveError

_RESERVED: Final = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\..*)?")
"""Names that mean a device in every folder of Windows (Naming Files, Paths, and Namespaces)."""
_FORBIDDEN: Final = re.compile(r'[<>:"\\|?*\x00-\x1f]')
MOST_PATH: Final = 260
"""Characters of a path, with its drive and the closing zero, that programs of Windows can open."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in an archive: its path with `/`, and either its bytes or the file on disk that has them."""

    path: str
    data: bytes | None = None
    file: Path | None = None
    executable: bool = False

    @property
    def size(self) -> int:
        """Its bytes' number."""
        return len(self.data) if self.data is not None else self.file.stat().st_size if self.file else 0


def checked(members: Iterable[Member], *, room: int = 0) -> tuple[Member, ...]:
    """The members sorted by path; raises `ArchiveError` with every path that some system could not have.

    `room` are the characters that the folder which they are unpacked into may take of Windows' longest path.
    """
    found = sorted(members, key=lambda member: member.path.encode())
    faults: list[str] = []
    seen: dict[str, str] = {}
    counts = Counter(member.path for member in found)
    for member in found:
        faults += (f"{member.path}: {fault}" for fault in windows_faults(member.path, room=room))
        other = seen.setdefault(member.path.casefold(), member.path)
        if other != member.path:
            faults.append(f"{member.path}: {other} differs from it by case only, and is the same file on Windows and macOS")
        elif counts[member.path] > 1:
            faults.append(f"{member.path}: it is there twice")
    if faults:
        raise ArchiveError(
            f"{len(faults)} paths cannot be in an archive for every system",
            why="; ".join(dict.fromkeys(faults)),
            hint="rename these files in the engine's source, or leave them out",
        )
    return tuple(found)


def windows_faults(path: str, *, room: int = 0) -> list[str]:
    """Why Windows could not have a relative path, or why it leaves its folder; nothing where it can."""
    faults = []
    if path != posixpath.normpath(path) or path.startswith(("/", "../")) or path == "..":
        faults.append("it leaves the archive, or is not in its shortest form")
    for part in path.split("/"):
        if _RESERVED.fullmatch(part):
            faults.append(f"{part} is the name of a device on Windows")
        elif part.endswith((".", " ")):
            faults.append("Windows drops a dot or blank at the end of a name")
        elif _FORBIDDEN.search(part):
            faults.append("it has a character that Windows does not allow in names")
    if len(path) + room > MOST_PATH - 1:
        faults.append(f"with {room} characters for its folder it is longer than the {MOST_PATH} of Windows")
    return faults
