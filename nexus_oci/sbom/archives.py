"""Reads the content of artifacts that can be read with what Python has: tar.gz archives, and Debian packages.

deb(5): an ar archive whose member `data.tar`, compressed or not, has the files. What is compressed with zstd is not read here.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from typing import Final

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.gzip import inflated
from nexus_oci.oci.tar import Source
from nexus_oci.oci.tar_header import Buffer
from nexus_oci.sbom.layers import Layer, read_layer

READABLE: Final = ("tar.gz", "deb")
"""Formats whose files can be read, the best first."""
_AR: Final = b"!<arch>\n"
_HEADER: Final = 60
_PIECE: Final = 1 << 20


def read_archive(kind: str, chunks: Iterable[Buffer], origin: str) -> Layer:
    """The files of an artifact of a readable format; raises `ArchiveError` where it is damaged."""
    tar = inflated(chunks, origin) if kind == "tar.gz" else _deb_data(Source(chunks), origin)
    return read_layer(tar, origin=origin)


def _deb_data(source: Source, origin: str) -> Iterator[bytes]:
    """The uncompressed `data.tar` of a Debian package."""
    if source.take(len(_AR)) != _AR:
        raise ArchiveError(f"{origin} is no Debian package", why="it does not begin as an ar archive")
    while len(header := source.take(_HEADER)) == _HEADER:
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        digits = header[48:58].strip()
        if header[58:] != b"`\n" or not digits.isdigit():
            break
        size = int(digits)
        if name.startswith("data.tar"):
            yield from _unpacked(name, source.pieces(size), origin)
            return
        source.skip(size + size % 2)
    raise ArchiveError(f"{origin} is no Debian package", why="it has no data.tar")


def _unpacked(name: str, pieces: Iterable[Buffer], origin: str) -> Iterator[bytes]:
    suffix = name.removeprefix("data.tar")
    if suffix == ".gz":
        yield from inflated(pieces, origin)
    elif suffix == ".xz":
        yield from _decompressed(pieces, origin)
    elif not suffix:
        yield from (bytes(piece) for piece in pieces)
    else:
        raise ArchiveError(f"{origin} cannot be read", why=f"its files are in {name}, and only gzip and xz are known here")


def _decompressed(pieces: Iterable[Buffer], origin: str) -> Iterator[bytes]:
    """The content of an xz file, in pieces of at most one MiB however well it is compressed."""
    decoder = lzma.LZMADecompressor()
    try:
        for piece in pieces:
            data = decoder.decompress(bytes(piece), _PIECE)
            yield data
            while not decoder.needs_input and not decoder.eof:
                yield decoder.decompress(b"", _PIECE)
    except (lzma.LZMAError, EOFError) as error:
        raise ArchiveError(f"{origin} is damaged", why=str(error)) from error
    if not decoder.eof:
        raise ArchiveError(f"{origin} is truncated", why="the end of its xz data is missing")
