"""How much may be under way at once: so many transfers, so many bytes; and one writer for each piece of content."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Hashable, Iterator


class Flow:
    """Lets in up to `slots` transfers of up to `size` bytes together, in the order in which they came.

    One that is larger than `size` goes alone. Used by several threads at once; a thread that is inside does not enter again.
    """

    def __init__(self, slots: int, size: int) -> None:
        self._slots = slots
        self._size = size
        self._inside = 0
        self._bytes = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Wait for room for `size` bytes, and hold it for the block."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                self._changed.wait_for(lambda: self._queue[0] is ticket and self._fits(size))
            except BaseException:
                self._queue.remove(ticket)
                self._changed.notify_all()
                raise
            self._queue.popleft()
            self._inside += 1
            self._bytes += size
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._bytes -= size
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return not self._inside or (self._inside < self._slots and self._bytes + size <= self._size)


class Gates:
    """A lock for each key, that exists only while somebody wants it."""

    def __init__(self) -> None:
        self._gates: dict[Hashable, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def through(self, key: Hashable) -> Iterator[None]:
        """Be the only one with `key` for the block."""
        with self._lock:
            gate, wanted = self._gates.get(key, (None, 0))
            gate = gate or threading.Lock()
            self._gates[key] = gate, wanted + 1
        try:
            with gate:
                yield
        finally:
            with self._lock:
                gate, wanted = self._gates[key]
                if wanted == 1:
                    del self._gates[key]
                else:
                    self._gates[key] = gate, wanted - 1
