"""Digests of what comes in: at once, or for large blobs in a thread beside, so that the next bytes come in meanwhile."""

from __future__ import annotations

import hashlib
import queue
import threading
from typing import Protocol

from nexus_oci.oci.values import Algorithm

LARGE = 64 << 20
"""Bytes from which on a thread of its own pays: few such blobs are under way at a time."""


class Hasher(Protocol):
    """Takes bytes in order."""

    def update(self, data: memoryview, /) -> None:
        """Take some more; they stay as they are until `settle`."""

    def settle(self) -> None:
        """Wait until everything has been taken in."""

    def hexdigest(self) -> str:
        """The digest of all of it, in hexadecimal."""


def hasher(algorithm: Algorithm, size: int) -> Hasher:
    """A hasher for so many bytes."""
    return _Beside(algorithm) if size >= LARGE else _Here(algorithm)


class _Here:
    def __init__(self, algorithm: Algorithm) -> None:
        self._hash = hashlib.new(algorithm)
        self.update = self._hash.update

    def settle(self) -> None:
        pass

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class _Beside:
    """The thread lives as long as there is something to hash and a while longer; a daemon, it holds nobody up."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._hash = hashlib.new(algorithm)
        self._todo: queue.SimpleQueue[memoryview | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._settled = True

    def update(self, data: memoryview, /) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._settled = False
        self._todo.put(data)

    def settle(self) -> None:
        if not self._settled:
            done = threading.Event()
            self._todo.put(done)
            done.wait()
            self._settled = True

    def hexdigest(self) -> str:
        self.settle()
        return self._hash.hexdigest()

    def _run(self) -> None:
        while True:
            try:
                item = self._todo.get(timeout=_PATIENCE)
            except queue.Empty:
                return
            if isinstance(item, threading.Event):
                item.set()
            else:
                self._hash.update(item)


_PATIENCE = 60.0
"""Seconds without work after which the thread ends."""
