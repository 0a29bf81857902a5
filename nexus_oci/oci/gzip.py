"""A gzip encoder (RFC 1952) that uses every processor and always writes the same bytes.

The input is cut into blocks of a fixed size. Each is deflated on its own by zlib-ng, primed with the last 32 KiB of the
block before it, and the pieces are joined into one gzip member. So the bytes depend on the input, the level and the
version of zlib-ng, and on nothing else: not on the number of workers, nor on how the input was cut when it was handed
over. zlib-ng writes the same bytes on every processor, which faster encoders do not.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from zlib_ng import __version__ as package_version
from zlib_ng import zlib_ng

from nexus_oci.errors import ArchiveError, NexusError

Buffer = bytes | bytearray | memoryview

LEVEL = 3
"""Measured on Debian root filesystems: 3 % larger than level 6 in two thirds of its processor time, and no larger than what
skopeo writes. Level 2 would be 4 % larger again."""
BLOCK = 1 << 20
"""Bytes of input in a block."""
WINDOW = 1 << 15
"""Bytes of the block before that a block may refer back to: all that deflate can reach."""

_PACKAGE = "1.1.0"
_LIBRARY = "2.3.3"
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_MOST_WORKERS = 8
_MOST_PENDING = 16
"""Blocks under way: enough to keep the workers busy while the source, or the engine behind it, pauses."""
_MEMORY = 8
"""zlib's own default. Level 9 of it makes the blocks of codes longer, and the output of these inputs 0.7 % larger."""

ENCODER = f"zlib-ng {_PACKAGE} level {LEVEL} blocks 1MiB"
"""Names everything that the bytes depend on beside the input. A part of the key of each step that makes a layer."""


def _check_version(package: str, library: str) -> None:
    """Refuse another zlib-ng than the pinned one: its bytes, and so every digest, would differ."""
    if (package, library) != (_PACKAGE, _LIBRARY):
        raise NexusError(
            f"the installed zlib-ng is {package} with library {library}",
            why=f"layers are only reproducible with zlib-ng {_PACKAGE} with library {_LIBRARY}",
            hint=f"install the wheel that this version is pinned to: pip install zlib-ng=={_PACKAGE}",
        )


_check_version(str(package_version), str(zlib_ng.ZLIBNG_RUNTIME_VERSION))


def default_workers() -> int:
    """How many processors this process may use, at most eight: more would only hold more blocks in memory."""
    return max(1, min(len(os.sched_getaffinity(0)), _MOST_WORKERS))


def _deflate(block: memoryview, dictionary: bytes, level: int, last: bool) -> tuple[bytes, int]:
    """One block as raw deflate data, and the CRC-32 of its input."""
    if dictionary:
        encoder = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15, _MEMORY, zlib_ng.Z_DEFAULT_STRATEGY, dictionary)
    else:
        encoder = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15, _MEMORY, zlib_ng.Z_DEFAULT_STRATEGY)
    body = encoder.compress(block)
    return body + encoder.flush(zlib_ng.Z_FINISH if last else zlib_ng.Z_SYNC_FLUSH), zlib_ng.crc32(block)


class GzipWriter:
    """Takes bytes, gives one gzip member to `sink`. Use as a context manager: leaving it closes, an exception abandons.

    `sink` is called from the thread that calls `write` and `close`. `watch`, where given, is called with every block of
    uncompressed input, in order, from one thread of its own: a place to hash what passes while other blocks are
    deflated. What `sink`, `watch` or a worker raises comes out of `write` or `close`. At most 18 blocks are
    held.
    """

    def __init__(
        self,
        sink: Callable[[bytes], object],
        *,
        level: int = LEVEL,
        workers: int | None = None,
        watch: Callable[[memoryview], object] | None = None,
    ) -> None:
        self._sink = sink
        self._level = level
        self._workers = workers or default_workers()
        self._pool = ThreadPoolExecutor(self._workers, "gzip")
        self._watch = watch
        self._watcher = ThreadPoolExecutor(1, "gzip-watch") if watch else None
        self._pending: deque[tuple[Future[tuple[bytes, int]], Future[object] | None, int]] = deque()
        self._block = bytearray(BLOCK)
        self._filled = 0
        self._dictionary = b""
        self._crc = 0
        self._size = 0
        self._open = True
        sink(_HEADER)

    @property
    def size(self) -> int:
        """Uncompressed bytes taken so far."""
        return self._size

    def write(self, data: Buffer) -> int:
        """Append `data`, which may be reused once this returns; returns its length in bytes."""
        size = len(data)
        self._size += size
        if size < BLOCK - self._filled:
            self._block[self._filled : self._filled + size] = data
            self._filled += size
            return size
        view = memoryview(data)
        while view:
            part = view[: BLOCK - self._filled]
            self._block[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == BLOCK:
                self._submit(last=False)
        return size

    def _submit(self, *, last: bool) -> None:
        """Hand the block to a worker, and take finished ones while too many are under way."""
        block = memoryview(self._block)[: self._filled]
        watched = self._watcher.submit(self._watch, block) if self._watcher and self._watch else None
        deflated = self._pool.submit(_deflate, block, self._dictionary, self._level, last)
        self._pending.append((deflated, watched, len(block)))
        self._dictionary = bytes(block[-WINDOW:])
        if not last:
            self._block = bytearray(BLOCK)
            self._filled = 0
        while len(self._pending) > _MOST_PENDING or (self._pending and self._pending[0][0].done()):
            self._take()

    def _take(self) -> None:
        deflated, watched, size = self._pending.popleft()
        body, crc = deflated.result()
        if watched:
            watched.result()
        self._crc = zlib_ng.crc32_combine(self._crc, crc, size)
        self._sink(body)

    def close(self) -> None:
        """Deflate what is left and write the member's trailer."""
        if not self._open:
            return
        try:
            self._submit(last=True)
            while self._pending:
                self._take()
            self._sink(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop the workers; nothing more is given to the sink."""
        self._open = False
        self._pending.clear()
        for pool in (self._pool, self._watcher):
            if pool:
                pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close, or abandon where something was raised."""
        if kind is None:
            self.close()
        else:
            self.abandon()


def inflated(chunks: Iterable[Buffer], origin: str) -> Iterator[bytes]:
    """The content of a gzip file of any number of members, in pieces of at most one MiB however well it is compressed.

    `origin` names the file in the `ArchiveError` that is raised where it is damaged or truncated.
    """
    decoder = zlib_ng.decompressobj(31)
    begun = False
    try:
        for chunk in chunks:
            data: Buffer = chunk
            while data:
                if decoder.eof:
                    decoder = zlib_ng.decompressobj(31)
                begun = True
                yield decoder.decompress(data, BLOCK)
                data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    except zlib_ng.error as error:  # type: ignore[misc]  # the stub says that it is an instance
        raise ArchiveError(f"the gzip data of {origin} is damaged", why=str(error)) from error
    if not (begun and decoder.eof):
        raise ArchiveError(f"the gzip data of {origin} is truncated", why="its end is missing")
