"""Reads cpio archives of the "new ASCII" form, and the ones in rpm packages. Streamed, like tar.

cpio(5), "New ASCII Format"; the rpm file format (rpm.org, "Package format"): a lead of 96 bytes, a signature header padded to
eight bytes, a header, and then the payload, compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from nexus_oci.errors import ArchiveError

RPM: Final = b"\xed\xab\xee\xdb"
"""How an rpm package begins."""
MAGICS: Final = (b"070701", b"070702")
"""How an entry begins, without and with a checksum."""
_LEAD: Final = 96
_HEADER: Final = b"\x8e\xad\xe8\x01"
_ENTRY: Final = 110
_LAST: Final = "TRAILER!!!"
_MOST_NAME: Final = 4096
_PIECE: Final = 1 << 20


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end."""
        ...


@dataclass(kw_only=True)
class Member:
    """An entry: its name as it is written, its mode with the bits of its type, and its data, to be read before the next entry."""

    name: str
    mode: int
    size: int
    _source: Readable
    _left: int

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes of the data; raises `ArchiveError` where the archive ends before it does."""
        wanted = min(self._left, _PIECE if size < 0 else size)
        data = _exactly(self._source, wanted)
        self._left -= wanted
        return data

    def skip(self) -> None:
        """Pass over what was not read, and the padding."""
        while self._left:
            self.read(_PIECE)
        _exactly(self._source, -self.size % 4)


def cpio_members(source: Readable) -> Iterator[Member]:
    """Every entry; raises `ArchiveError` for what is no such archive, or cut."""
    while True:
        header = _exactly(source, _ENTRY)
        if header[:6] not in MAGICS:
            raise ArchiveError("it is no cpio archive of the new form", why=f"an entry begins with {header[:6]!r}")
        try:
            fields = [int(header[at : at + 8], 16) for at in range(6, _ENTRY, 8)]
        except ValueError as error:
            raise ArchiveError("the header of a cpio entry cannot be read", why=str(error)) from error
        mode, size, length = fields[1], fields[6], fields[11]
        if not 1 <= length <= _MOST_NAME:
            raise ArchiveError(f"the name of a cpio entry has {length} bytes")
        name = _exactly(source, length)[:-1].decode("utf-8", "surrogateescape")
        _exactly(source, -(_ENTRY + length) % 4)
        if name == _LAST:
            return
        member = Member(name=name, mode=mode, size=size, _source=source, _left=size)
        yield member
        member.skip()


def skip_to_payload(source: Readable) -> None:
    """Pass over everything in an rpm package that comes before its payload; raises `ArchiveError` where it is none."""
    if not _exactly(source, _LEAD).startswith(RPM):
        raise ArchiveError("it is no rpm package")
    size = _pass_header(source)
    _exactly(source, -size % 8)
    _pass_header(source)


def _pass_header(source: Readable) -> int:
    """Pass over a header structure; returns its length in bytes."""
    intro = _exactly(source, 16)
    if not intro.startswith(_HEADER):
        raise ArchiveError("a header of the rpm package cannot be read")
    entries, data = struct.unpack(">II", intro[8:])
    size: int = 16 * entries + data
    left = size
    while left:
        left -= len(_exactly(source, min(left, _PIECE)))
    return size


def _exactly(source: Readable, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = source.read(size - len(found))
        if not piece:
            raise ArchiveError("the archive is cut", why=f"{size - len(found)} bytes are missing")
        found = found + piece if found else piece
    return found
