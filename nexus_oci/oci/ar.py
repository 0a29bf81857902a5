"""Reads ar archives, which Debian packages are: deb(5). Streamed, like tar."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from typing import Final

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.gzip import inflated
from nexus_oci.oci.tar import Source
from nexus_oci.oci.tar_header import Buffer

_MAGIC: Final = b"!<arch>\n"
_HEADER: Final = 60
_PIECE: Final = 1 << 20


def ar_members(chunks: Iterable[Buffer], origin: str) -> Iterator[tuple[str, Iterator[memoryview]]]:
    """The name and the data of each member; what is not taken of it is passed over. Raises `ArchiveError` for no ar archive."""
    source = Source(chunks)
    if source.take(len(_MAGIC)) != _MAGIC:
        raise ArchiveError(f"{origin} is no Debian package", why="it does not begin as an ar archive")
    while len(header := source.take(_HEADER)) == _HEADER:
        digits = header[48:58].strip()
        if header[58:] != b"`\n" or not digits.isdigit():
            raise ArchiveError(f"{origin} is damaged", why="the header of a member cannot be read")
        size = int(digits)
        end = source.position + size + size % 2
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), source.pieces(size)
        source.skip(end - source.position)


def unpacked(name: str, chunks: Iterable[Buffer], origin: str) -> Iterator[bytes]:
    """The content of a file by what its name ends in: gzip, xz, or a plain tar. Raises `ArchiveError` for others."""
    if name.endswith(".gz"):
        yield from inflated(chunks, origin)
    elif name.endswith(".xz"):
        yield from _decompressed(chunks, origin)
    elif name.endswith(".tar"):
        yield from (bytes(chunk) for chunk in chunks)
    else:
        raise ArchiveError(f"{origin} cannot be read", why=f"its files are in {name}, and only gzip and xz are known here")


def _decompressed(chunks: Iterable[Buffer], origin: str) -> Iterator[bytes]:
    """The content of an xz file, in pieces of at most one MiB however well it is compressed."""
    decoder = lzma.LZMADecompressor()
    try:
        for chunk in chunks:
            yield decoder.decompress(bytes(chunk), _PIECE)
            while not decoder.needs_input and not decoder.eof:
                yield decoder.decompress(b"", _PIECE)
    except (lzma.LZMAError, EOFError) as error:
        raise ArchiveError(f"{origin} is damaged", why=str(error)) from error
    if not decoder.eof:
        raise ArchiveError(f"{origin} is truncated", why="the end of its xz data is missing")
