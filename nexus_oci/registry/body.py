"""Request bodies that can be sent again: opened anew for every try, streamed, never held whole."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nexus_oci.errors import VerificationError
from nexus_oci.transfer.ends import BlobStream

BLOCK = 1 << 20


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

    def __iter__(self) -> Iterator[bytes | FilePiece]:
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

    def _blocks(self, stream: BlobStream) -> Iterator[bytes]:
        """One block behind the reading, so that the last one goes out only after the end proved right."""
        skip, left = self.offset, self.length
        held = b""
        while block := stream.read(BLOCK):
            kept = block[min(skip, len(block)) :]
            skip -= len(block) - len(kept)
            if len(kept) > left:
                raise _wrong_length()
            left -= len(kept)
            if held:
                yield held
                self.progress(len(held))
            held = kept
        if left:
            raise _wrong_length()
        if held:
            yield held
            self.progress(len(held))


def _wrong_length() -> VerificationError:
    return VerificationError(
        "a blob is not as long as its descriptor says",
        why="it was cut, or changed while it was being sent",
        hint="run `nexus-oci build` again: damaged blobs are rebuilt and never used",
    )
