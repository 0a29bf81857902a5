"""Request bodies that can be sent again: opened anew for every try, streamed, never held whole."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nexus_oci.errors import VerificationError
from nexus_oci.transfer.ends import BlobStream

BLOCK = 1 << 20
_STREAMED = 1 << 18
"""Bytes of what comes from elsewhere that are held at a time, two such blocks an upload; of a large one `BLOCK`."""
_LARGE = 32 << 20


@dataclass(frozen=True, kw_only=True)
class FilePiece:
    """A range of an open file, which a plain socket can send without the bytes passing through this process."""

    file: io.BufferedIOBase | io.RawIOBase
    offset: int
    count: int


def nothing(_: int) -> None:
    """A progress callback for whoever does not watch."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """`length` bytes from `offset` of what `open` gives. `progress` hears of the bytes sent, and may raise to stop.

    Iterating opens the content anew. Its end is read (and so verified, by readers that verify) before the last block
    is handed on; content that is shorter than promised raises `VerificationError`.
    """

    open: Callable[[], BlobStream]
    length: int
    offset: int = 0
    to_end: bool = True
    """Whether the content ends with this body."""
    progress: Callable[[int], None] = nothing
    sendfile: bool = False

    def __len__(self) -> int:
        """The length in bytes, for Content-Length."""
        return self.length

    def __iter__(self) -> Iterator[bytes | memoryview | FilePiece]:
        """The content in blocks."""
        with contextlib.closing(self.open()) as stream:
            real = stream if isinstance(stream, io.RawIOBase | io.BufferedIOBase) and stream.seekable() else None
            if real is None:
                yield from self._blocks(stream)
            elif self.sendfile and isinstance(real, io.FileIO | io.BufferedReader):
                yield from self._pieces(real)
            else:
                real.seek(self.offset)
                yield from self._seekable_blocks(real)

    def _pieces(self, file: io.FileIO | io.BufferedReader) -> Iterator[FilePiece]:
        end = self.offset + self.length
        size = file.seek(0, io.SEEK_END)
        if size < end or (self.to_end and size != end):
            raise _wrong_length()
        for offset in range(self.offset, end, BLOCK):
            count = min(BLOCK, end - offset)
            yield FilePiece(file=file, offset=offset, count=count)
            self.progress(count)

    def _seekable_blocks(self, stream: io.RawIOBase | io.BufferedIOBase) -> Iterator[bytes]:
        left = self.length
        while left:
            block = stream.read(min(BLOCK, left))
            if not block:
                raise _wrong_length()
            left -= len(block)
            if not left and self.to_end and stream.read(1):
                raise _wrong_length()
            yield block
            self.progress(len(block))

    def _blocks(self, stream: BlobStream) -> Iterator[bytes | memoryview]:
        """One block behind the reading, so that the last one goes out only after the end proved right."""
        _skip(stream, self.offset - getattr(stream, "position", 0))
        left, held = self.length, memoryview(b"")
        size = BLOCK if self.length >= _LARGE else _STREAMED
        buffers = itertools.cycle((bytearray(size), bytearray(size)))
        while left:
            block = _filled(stream, memoryview(next(buffers))[: min(size, left)])
            if not block:
                raise _wrong_length()
            left -= len(block)
            if held:
                yield held
                self.progress(len(held))
            held = block
        if self.to_end and stream.read(1):
            raise _wrong_length()
        if held:
            yield held
            self.progress(len(held))


class Continued:
    """Content that is opened once for bodies that follow one another; again only for one that lies behind."""

    def __init__(self, open_stream: Callable[[], BlobStream]) -> None:
        self._open = open_stream
        self._stream: BlobStream | None = None
        self._position = 0

    def at(self, offset: int) -> BlobStream:
        """The content from somewhere before `offset`: a file as it is, to be closed; else a stream that knows its `position`."""
        if self._stream is not None and self._position > offset:
            self.close()
        if self._stream is None:
            stream = self._open()
            if isinstance(stream, io.RawIOBase | io.BufferedIOBase) and stream.seekable():
                return stream
            self._stream, self._position = stream, 0
        return _Lent(self, self._stream)

    def advance(self, count: int) -> None:
        """So many bytes more were read."""
        self._position += count

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._position

    def close(self) -> None:
        """Close what is open."""
        stream, self._stream, self._position = self._stream, None, 0
        if stream is not None:
            stream.close()


class _Lent:
    """The stream of a `Continued`, for one body: closing it changes nothing."""

    def __init__(self, owner: Continued, stream: BlobStream) -> None:
        self._owner = owner
        self._stream = stream
        self._into = getattr(stream, "readinto", None)

    @property
    def position(self) -> int:
        return self._owner.position

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._owner.advance(len(data))
        return data

    def readinto(self, view: memoryview, /) -> int:
        if self._into is None:
            data = self._stream.read(len(view))
            view[: len(data)] = data
            count = len(data)
        else:
            count = self._into(view)
        self._owner.advance(count)
        return count

    def close(self) -> None:
        pass


def _skip(stream: BlobStream, count: int) -> None:
    """Read past what was sent before: a reader that verifies has to see it."""
    while count:
        block = stream.read(min(_STREAMED, count))
        if not block:
            raise _wrong_length()
        count -= len(block)


def _filled(stream: BlobStream, view: memoryview) -> memoryview:
    """The next bytes of a stream, in `view` where the stream can put them there."""
    into = getattr(stream, "readinto", None)
    return memoryview(stream.read(len(view))) if into is None else view[: into(view)]


def _wrong_length() -> VerificationError:
    return VerificationError(
        "a blob is not as long as its descriptor says",
        why="it was cut, or changed while it was being sent",
        hint="run `nexus-oci build` again: damaged blobs are rebuilt and never used",
    )
