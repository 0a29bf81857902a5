"""A bundle's bytes, to be read anywhere: out of one file, or out of parts (`repair`)."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Protocol

from nexus_oci.errors import NotFoundError, StoreError, VerificationError

BLOCK = 1 << 20


class Stream(Protocol):
    """The bytes of a bundle. Used by several threads at once."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset` on: all of them, but at the end of the stream.

        Raises `VerificationError` for bytes that are damaged beyond repair, `StoreError` for a medium that cannot be read.
        """
        ...

    def unchanged(self) -> bool:
        """Whether the files are those that were opened, and nobody wrote to them since."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


class OpenFile:
    """A file that is read in pieces, and that notices whether it was changed meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no {path}", hint="name the bundle's file, or all of its parts") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be opened", why=error.strerror or str(error)) from error
        self._state = self._now()
        self.size = self._state[0]

    def _now(self) -> tuple[int, int, int]:
        status = os.fstat(self._file)
        return status.st_size, status.st_mtime_ns, status.st_ino

    def pread(self, size: int, offset: int) -> bytes:
        """The bytes from `offset` on, fewer at the end of the file."""
        pieces = []
        try:
            while size > 0 and (piece := os.pread(self._file, size, offset)):
                pieces.append(piece)
                size -= len(piece)
                offset += len(piece)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be read at byte {offset}", why=error.strerror or str(error), hint="the medium may be damaged"
            ) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def beginning(self, size: int) -> bytes:
        """The first bytes of the file."""
        return self.pread(size, 0)

    def unchanged(self) -> bool:
        """Whether size, time and file are what they were."""
        return self._now() == self._state

    def close(self) -> None:
        """Close it."""
        os.close(self._file)


class FileStream:
    """A bundle in one file."""

    def __init__(self, path: Path) -> None:
        self._file = OpenFile(path)
        self.size = self._file.size
        self.name = str(path)

    def pread(self, size: int, offset: int) -> bytes:
        """As `Stream.pread`."""
        return self._file.pread(min(size, self.size - offset), offset)

    def unchanged(self) -> bool:
        """As `Stream.unchanged`."""
        return self._file.unchanged()

    def close(self) -> None:
        """As `Stream.close`."""
        self._file.close()


class Window(io.RawIOBase):
    """A range of a stream as a file of its own, not verified: reads, and seeks within."""

    def __init__(self, stream: Stream, offset: int, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move within the range."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes; all that is left without it. Raises `VerificationError` where the stream ends too early."""
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        data = self._stream.pread(wanted, self._offset + self._at)
        if len(data) < wanted:
            raise VerificationError(f"{self._stream.name} is cut short", why="it was changed while it was read")
        self._at += wanted
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """As `read`, into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
