"""Lets a slow source and its reader work at the same time: the source is read in a thread, a little ahead of the reader."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import Self

from nexus_oci.oci.tar_header import Buffer

_BATCH = 1 << 19
"""Bytes that are handed over at once. Smaller batches cost more in changes of thread than they gain."""
_MOST_BATCHES = 8


class ReadAhead:
    """Iterates over chunks that a thread takes from `chunks`; a context manager, at whose end the thread has ended too.

    The chunks must not be changed once they were given out. What the source raises comes out of the iteration, after what it
    gave before. A source that blocks also blocks leaving: what ends it, such as closing its connection, is the caller's.
    """

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = chunks
        self._batches: SimpleQueue[list[Buffer] | None] = SimpleQueue()
        self._room = threading.Semaphore(_MOST_BATCHES)
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, name="read-ahead", daemon=True)

    def _fill(self) -> None:
        """Take chunks until the source ends, fails, or nobody wants more."""
        batch: list[Buffer] = []
        size = 0
        try:
            for chunk in self._chunks:
                batch.append(chunk)
                size += len(chunk)
                if size >= _BATCH:
                    self._room.acquire()
                    if self._stopped:
                        return
                    self._batches.put(batch)
                    batch, size = [], 0
        except BaseException as error:  # noqa: BLE001 - raised again where the chunks are taken
            self._error = error
        finally:
            self._batches.put(batch)
            self._batches.put(None)

    def __iter__(self) -> Iterator[Buffer]:
        """The chunks in their order."""
        while (batch := self._batches.get()) is not None:
            yield from batch
            self._room.release()
        if self._error:
            raise self._error

    def __enter__(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading, and wait until the source is left alone."""
        self._stopped = True
        self._room.release()
        self._thread.join()
