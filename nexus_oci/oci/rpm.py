"""Reads rpm packages, streamed: their two headers, and the files in their payload.

The format of rpm 4 (rpm.org, "RPM V4 Package format"): a lead, the header of signatures, the header proper, and a compressed cpio
archive in the format `newc` (cpio(5)). Payloads of gzip and xz are known, and plain ones; of zstd where somebody unpacks it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.ar import unpacked
from nexus_oci.oci.tar import Source
from nexus_oci.oci.tar_header import Buffer

_LEAD: Final = 96
_LEAD_MAGIC: Final = b"\xed\xab\xee\xdb"
_MAGIC: Final = b"\x8e\xad\xe8\x01"
_MOST: Final = 64 << 20
"""Bytes of a header; that of a kernel's package has a tenth of it."""
_NUMBERS: Final = {1: "B", 2: "B", 3: "H", 4: "I", 5: "Q"}
_TEXT, _BINARY, _TEXTS, _TRANSLATED = 6, 7, 8, 9
_COMPRESSOR: Final = 1125
_ENDINGS: Final = {"gzip": "payload.gz", "xz": "payload.xz", "": "payload.gz", "none": "payload.tar"}
_CPIO: Final = 110
_END: Final = "TRAILER!!!"

Unpack = Callable[[Iterable[Buffer]], Iterable[Buffer]]
"""Unpacks compressed data."""
Header = Mapping[int, tuple[Any, ...]]
"""The values of each tag of a header: texts, numbers, or one run of bytes."""


@dataclass(frozen=True, kw_only=True)
class Rpm:
    """A package: the header of its signatures, the header that they are of, and the files, read as they are asked for.

    `files` is None where the payload is compressed in a way that nobody here unpacks.
    """

    signatures: Header
    header: Header
    files: Iterator[tuple[str, Iterator[memoryview]]] | None


def read_rpm(chunks: Iterable[Buffer], origin: str, unzstd: Unpack | None = None) -> Rpm:
    """The package in a file; raises `ArchiveError` where it is none, or is damaged."""
    source = Source(chunks)
    if source.take(_LEAD)[:4] != _LEAD_MAGIC:
        raise ArchiveError(f"{origin} is no rpm package", why="it does not begin as one")
    signatures = _header(source, origin)
    source.skip(-source.position % 8)
    header = _header(source, origin)
    compressor = str(next(iter(header.get(_COMPRESSOR, ())), ""))
    files = None
    if compressor in _ENDINGS:
        files = _cpio(Source(unpacked(_ENDINGS[compressor], _rest(source), origin)), origin)
    elif compressor == "zstd" and unzstd is not None:
        files = _cpio(Source(unzstd(_rest(source))), origin)
    return Rpm(signatures=signatures, header=header, files=files)


def _rest(source: Source) -> Iterator[memoryview]:
    yield from source.pieces(1 << 62)


def _header(source: Source, origin: str) -> Header:
    """A header structure: an index of tags, and a store of their values."""
    start = source.take(16)
    if len(start) < 16 or start[:4] != _MAGIC:
        raise ArchiveError(f"{origin} is damaged", why="one of its headers does not begin as one")
    count, size = struct.unpack(">II", start[8:])
    if count * 16 + size > _MOST:
        raise ArchiveError(f"{origin} is damaged", why=f"one of its headers would have {count} tags and {size} bytes")
    index, store = source.take(count * 16), source.take(size)
    try:
        return {
            tag: _values(store, kind, offset, number)
            for tag, kind, offset, number in (struct.unpack_from(">IIII", index, at * 16) for at in range(count))
        }
    except (struct.error, ValueError) as error:
        raise ArchiveError(f"{origin} is damaged", why=f"one of its headers cannot be read: {error}") from None


def _values(store: bytes, kind: int, offset: int, count: int) -> tuple[Any, ...]:
    if kind in _NUMBERS:
        return struct.unpack_from(f">{count}{_NUMBERS[kind]}", store, offset)
    if kind == _BINARY:
        return (store[offset : offset + count],)
    if kind not in (_TEXT, _TEXTS, _TRANSLATED):
        return ()
    found = []
    for _ in range(count):
        end = store.index(b"\0", offset)
        found.append(store[offset:end].decode("utf-8", "surrogateescape"))
        offset = end + 1
    return tuple(found)


def _cpio(source: Source, origin: str) -> Iterator[tuple[str, Iterator[memoryview]]]:
    """The name and data of each entry; what is not taken of it is passed over."""
    while True:
        header = source.take(_CPIO)
        if len(header) < _CPIO or header[:6] not in (b"070701", b"070702"):
            raise ArchiveError(f"{origin} is damaged", why="its payload is no cpio archive, or has no end")
        try:
            size, length = int(header[54:62], 16), int(header[94:102], 16)
        except ValueError:
            raise ArchiveError(f"{origin} is damaged", why="an entry of its payload cannot be read") from None
        name = source.take(length).rstrip(b"\0").decode("utf-8", "surrogateescape")
        source.skip(-(_CPIO + length) % 4)
        if name == _END:
            return
        end = source.position + size
        yield name.removeprefix("./").lstrip("/"), source.pieces(size)
        source.skip(end - source.position)
        source.skip(-size % 4)
