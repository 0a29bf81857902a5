"""The payload and the scripts of a package: cpio in the old portable form (odc; POSIX.1-1988, 10.1.2), gzipped (RFC 1952).

While a file passes its POSIX checksum is computed, which the Bom needs, so that nothing is read twice.
"""

from __future__ import annotations

import gzip
import stat
from collections.abc import Sequence
from typing import IO, Final

from nexus_oci.errors import ArchiveError
from nexus_oci.formats.macos.checksum import Cksum
from nexus_oci.formats.macos.tree import Entry

MOST_FILE: Final = (1 << 33) - 1
"""Bytes of a file: its size has eleven octal digits."""
_MOST_INODE: Final = 0o777777
_BLOCK: Final = 1 << 20
_LEVEL: Final = 6


def write_payload(entries: Sequence[Entry], out: IO[bytes], epoch: int) -> tuple[int, ...]:
    """Write entries, ordered, each with the time `epoch` (seconds); returns the POSIX checksum of each, 0 for a folder.

    Raises `ArchiveError` for a file that the form cannot hold, or that is not as long as its entry says.
    """
    checksums = []
    with gzip.GzipFile("", "wb", _LEVEL, out, mtime=0) as packed:
        for number, entry in enumerate(entries, 1):
            if entry.size > MOST_FILE:
                raise ArchiveError(
                    f"{entry.path} is too large for a package of macOS",
                    why=f"it has {entry.size} bytes, and the format of its payload takes {MOST_FILE}",
                    hint="split the file, or leave it out and fetch it after installation",
                )
            packed.write(_header(entry, number & _MOST_INODE, epoch))
            checksums.append(_write_content(entry, packed))
        packed.write(_header(Entry(path="TRAILER!!!", mode=0), 0, 0))
    return tuple(checksums)


def _write_content(entry: Entry, packed: gzip.GzipFile) -> int:
    checksum = Cksum()
    if stat.S_ISLNK(entry.mode):
        packed.write(entry.target.encode())
        checksum.update(entry.target.encode())
        return checksum.value
    if not stat.S_ISREG(entry.mode):
        return 0
    written = 0
    if entry.open is not None:
        with entry.open() as file:
            while block := file.read(_BLOCK):
                packed.write(block)
                checksum.update(block)
                written += len(block)
    if written != entry.size:
        raise ArchiveError(f"{entry.path} changed while it was packed", why=f"it had {entry.size} bytes, and {written} came")
    return checksum.value


def _header(entry: Entry, inode: int, epoch: int) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (0, inode, entry.mode, 0, 0, links, 0)
    size = len(entry.target.encode()) if stat.S_ISLNK(entry.mode) else entry.size
    return b"070707" + b"".join(b"%06o" % value for value in fields) + b"%011o%06o%011o" % (epoch, len(name), size) + name
