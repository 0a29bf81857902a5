"""Content that is fetched once and read by several: each at its own pace, while it is still coming in.

Small content is held in memory, larger in a temporary file that has no name, so that nothing of it outlives the process.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from nexus_oci.errors import CancelledError, StoreError, VerificationError
from nexus_oci.oci.values import Descriptor
from nexus_oci.transfer.ends import BlobStream

_SMALL = 1 << 18
"""Bytes up to which content is held in memory."""
_BLOCK = 1 << 18


class Spool:
    """One blob, fetched by the first who reads it. A context manager; its end ends the fetching.

    `fetch` opens a stream that verifies; what it raises, and `StoreError` where the disk is full, every reader raises.
    """

    def __init__(self, folder: Path, descriptor: Descriptor, fetch: Callable[[], BlobStream]) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self._fetch = fetch
        self._changed = threading.Condition()
        self._written = 0
        self._done = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._file: BinaryIO | None = None
        self._memory = bytearray()
        self._over = False

    @property
    def size(self) -> int:
        """Bytes of the whole content."""
        return self._descriptor.size

    def open(self) -> SpoolStream:
        """A reader, from the start."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        return SpoolStream(self)

    def take(self, view: memoryview, offset: int) -> int:
        """Put what is there from `offset` into `view`, waiting for it; 0 only at the verified end."""
        with self._changed:
            self._changed.wait_for(lambda: self._written > offset or self._done or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            count = min(len(view), self._written - offset)
            if count <= 0:
                return 0
            if self._file is None:
                view[:count] = memoryview(self._memory)[offset : offset + count]
                return count
            file = self._file.fileno()
        return os.preadv(file, [view[:count]], offset)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the fetching, and give the space back."""
        self._over = True
        if self._thread is not None:
            self._thread.join()
        if self._file is not None:
            self._file.close()

    def _run(self) -> None:
        try:
            with contextlib.closing(self._fetch()) as stream:
                self._fill(stream)
        except BaseException as error:  # noqa: BLE001 - whoever reads raises it
            with self._changed:
                self._failure = error
                self._changed.notify_all()
            return
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _fill(self, stream: BlobStream) -> None:
        if self.size > _SMALL:
            with _disk_errors():
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with the spool
        while block := stream.read(_BLOCK):
            if self._over:
                raise CancelledError("nobody reads it any more")
            if self._written + len(block) > self.size:
                raise VerificationError(f"blob {self._descriptor.digest.short} is longer than its descriptor says")
            if self._file is None:
                with self._changed:
                    self._memory += block
            else:
                with _disk_errors():
                    self._file.write(block)
                    self._file.flush()
            with self._changed:
                self._written += len(block)
                self._changed.notify_all()


class SpoolStream(io.RawIOBase):
    """A reader of a spool, which can be sought."""

    def __init__(self, spool: Spool) -> None:
        super().__init__()
        self._spool = spool
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # nothing else is given
        """What is there, waiting for it."""
        count = self._spool.take(memoryview(buffer).cast("B"), self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place, counted from the start, from here, or from the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._spool.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Where it stands."""
        return self._position


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StoreError(
            "no space left while keeping a blob for several destinations" if full else "a blob cannot be kept for a while",
            why=str(error),
            hint="free some space in the cache folder, or let XDG_CACHE_HOME name another",
        ) from error
