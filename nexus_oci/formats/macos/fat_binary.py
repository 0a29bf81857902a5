"""One program of several Mach-O slices: Apple's universal binary (`<mach-o/fat.h>`).

A big-endian header lists, for each slice, processor, place, size and alignment; the slices follow, each at a multiple of its
alignment. Slices keep their bytes, and with them the signature that is inside each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from nexus_oci.errors import ArchiveError

_FAT: Final = 0xCAFEBABE
_THIN: Final = 0xFEEDFACF
"""Of a 64-bit Mach-O, in the byte order of every processor that macOS runs on."""
_HEADER: Final = struct.Struct(">II")
_ENTRY: Final = struct.Struct(">IIIII")
_MACH: Final = struct.Struct("<IIII")
ARCHITECTURES: Final = {
    (0x01000007, 3): "x86_64",
    (0x01000007, 8): "x86_64h",
    (0x0100000C, 0): "arm64",
    (0x0100000C, 2): "arm64e",
}
"""Processor type and subtype, less its capability bits → what Apple's tools call it."""
_PAGE: Final = {0x01000007: 12, 0x0100000C: 14}
"""The alignment of a slice, as a power of two: the page that its processor maps."""
_CAPABILITIES: Final = 0xFF000000
_EXECUTABLE: Final = 2
_MOST: Final = 1 << 32
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A program for one processor inside another file: where it begins, and how long it is, in bytes."""

    architecture: str
    processor: int
    subtype: int
    offset: int
    size: int


def read_slice(path: Path) -> Slice:
    """What a thin 64-bit Mach-O executable is for; raises `ArchiveError` for any other file."""
    with path.open("rb") as file:
        head = file.read(_MACH.size)
    if len(head) < _MACH.size or (found := _MACH.unpack(head))[0] != _THIN:
        raise ArchiveError(
            f"{path.name} is no program for macOS",
            why="it is not a 64-bit Mach-O file of one processor",
            hint="build it for darwin/amd64 or darwin/arm64",
        )
    _, processor, subtype, kind = found
    architecture = ARCHITECTURES.get((processor, subtype & ~_CAPABILITIES))
    if architecture is None or kind != _EXECUTABLE:
        raise ArchiveError(
            f"{path.name} is no program that can be part of a universal one",
            why=f"processor {processor:#x}, subtype {subtype:#x}, kind {kind}: expected an executable for x86_64 or arm64",
        )
    return Slice(architecture=architecture, processor=processor, subtype=subtype, offset=0, size=path.stat().st_size)


def join(slices: Sequence[Path], out: BinaryIO) -> tuple[Slice, ...]:
    """Write one universal program of several thin ones, in the order of their processors; returns where each went.

    Raises `ArchiveError` for what is no program, for two of one processor, and for more than 4 GiB, which the header cannot say.
    """
    found = sorted(((read_slice(path), path) for path in slices), key=lambda pair: (pair[0].processor, pair[0].subtype))
    names = [one.architecture for one, _ in found]
    if len(set(names)) != len(names) or not names:
        raise ArchiveError(
            "a universal program needs one program of each processor", why=f"there are: {', '.join(names) or 'none'}"
        )
    placed = []
    end = _HEADER.size + len(found) * _ENTRY.size
    for one, _ in found:
        size = 1 << _PAGE[one.processor]
        start = (end + size - 1) // size * size
        end = start + one.size
        placed.append(
            Slice(architecture=one.architecture, processor=one.processor, subtype=one.subtype, offset=start, size=one.size)
        )
    if end >= _MOST:
        raise ArchiveError("the universal program is too large", why=f"{end} bytes; its header can say {_MOST - 1}")
    written = out.write(_HEADER.pack(_FAT, len(placed)))
    for one in placed:
        written += out.write(_ENTRY.pack(one.processor, one.subtype, one.offset, one.size, _PAGE[one.processor]))
    for one, (_, path) in zip(placed, found, strict=True):
        written += out.write(bytes(one.offset - written))
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                written += out.write(block)
        if written != one.offset + one.size:
            raise ArchiveError(f"{path.name} changed while it was read", hint="build it again")
    return tuple(placed)


def slices_of(path: Path) -> tuple[Slice, ...]:
    """The slices of a universal program; raises `ArchiveError` where it is none, or they are not where its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic, count = _HEADER.unpack(file.read(_HEADER.size).ljust(_HEADER.size, b"\0"))
        if magic != _FAT or not 0 < count <= len(ARCHITECTURES):
            raise ArchiveError(f"{path.name} is no universal program", why=f"it begins with {magic:#010x}")
        entries = [_ENTRY.unpack(file.read(_ENTRY.size).ljust(_ENTRY.size, b"\0")) for _ in range(count)]
        found = []
        end = _HEADER.size + count * _ENTRY.size
        for processor, subtype, offset, length, align in sorted(entries, key=lambda entry: entry[2]):
            file.seek(offset)
            head = _MACH.unpack(file.read(_MACH.size).ljust(_MACH.size, b"\0"))
            if (
                offset < end
                or offset + length > size
                or offset % (1 << min(align, 31))
                or head[:3] != (_THIN, processor, subtype)
            ):
                raise ArchiveError(f"{path.name} is damaged", why=f"the slice at {offset} is not what the header says")
            end = offset + length
            architecture = ARCHITECTURES.get((processor, subtype & ~_CAPABILITIES), f"{processor:#x}/{subtype:#x}")
            found.append(Slice(architecture=architecture, processor=processor, subtype=subtype, offset=offset, size=length))
    return tuple(found)
