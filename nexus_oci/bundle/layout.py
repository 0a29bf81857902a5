"""Where each byte of a bundle stands: tar entries, whose headers follow from name and size alone.

POSIX.1-2017, pax, "ustar Interchange Format". Every header has one possible form, so a reader compares them and interprets none:
an entry that the inventory does not list, a link or a name that leaves the tree cannot be in a bundle. Names over 100 bytes have
GNU's long-name entry before them, sizes from 8 GiB on GNU's base-256 field (GNU tar manual, "Basic Tar Format").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nexus_oci.oci.tar_header import BLOCK, byte_sum
from nexus_oci.oci.values import Digest

INVENTORY: Final = ".nexus/inventory.json"
SIGNATURE: Final = ".nexus/inventory.json.sig"
END: Final = bytes(2 * BLOCK)
"""What ends a tar."""
_TIME: Final = 315532800
"""Modification time of every entry: 1980-01-01, the earliest that no reader finds implausible."""
_LONG: Final = "././@LongLink"


@dataclass(frozen=True, kw_only=True)
class Place:
    """An entry: its name, its size, where its header (or the long-name entry before it) and its data begin; all in bytes."""

    name: str
    size: int
    header: int
    offset: int

    @property
    def end(self) -> int:
        """The first byte after the data; padding follows up to whole blocks."""
        return self.offset + self.size


def entry_name(digest: Digest) -> str:
    """The name of a blob in an image layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def padded(size: int) -> int:
    """The size in whole blocks."""
    return -(-size // BLOCK) * BLOCK


def header_of(name: str, size: int) -> bytes:
    """The header of a regular file: one block, or three for a long name."""
    encoded = name.encode()
    if len(encoded) <= 100:
        return _header(encoded, size, b"0")
    text = encoded + b"\0"
    return _header(_LONG.encode(), len(text), b"L") + text.ljust(padded(len(text)), b"\0") + _header(encoded[:100], size, b"0")


def _header(name: bytes, size: int, kind: bytes) -> bytes:
    length = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"0000644\0" + b"0000000\0" * 2,
            length,
            b"%011o\0" % _TIME,
            b" " * 8,
            kind,
            bytes(100),
            b"ustar\00000" if size < 8**11 else b"ustar  \0",
            bytes(64),
        )
    ).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % byte_sum(block) + block[156:]


def place_entries(entries: Iterable[tuple[str, int]], start: int = 0) -> tuple[tuple[Place, ...], int]:
    """Where entries stand one after the other from `start` on, and where the tar's end is over."""
    found = []
    for name, size in entries:
        offset = start + len(header_of(name, size))
        found.append(Place(name=name, size=size, header=start, offset=offset))
        start = padded(offset + size)
    return tuple(found), start + len(END)
