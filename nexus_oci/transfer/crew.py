"""A bounded crew of threads that ends together: the first failure, or Ctrl-C, stops everybody.

Threads are daemons, so that one that hangs in a dead connection never keeps the program from ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")
_GRACE = 10.0
_GRACE_INTERRUPTED = 2.0


class Stopped(Exception):  # noqa: N818 - no error: the way a worker is told to go home
    """Raised inside a worker that should give up because the work is over; never leaves the crew."""


class Crew:
    """Runs work on up to `jobs` threads; one crew serves one transfer."""

    def __init__(self, jobs: int) -> None:
        self._jobs = max(1, jobs)
        self._stop = threading.Event()

    def checkpoint(self) -> None:
        """To be called by workers now and then: raises `Stopped` once the work is over."""
        if self._stop.is_set():
            raise Stopped

    def map(self, work: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """`work` done on every item, results in the items' order; raises the first failure after all have stopped."""
        todo = list(items)
        if len(todo) == 1 and threading.current_thread() is not threading.main_thread():
            # Nobody could do it sooner, and only the main thread has to hear of interruptions meanwhile.
            return [work(todo[0])]
        shift = _Shift(todo, work, self._stop)
        threads = [threading.Thread(target=shift.run, daemon=True) for _ in range(min(self._jobs, len(todo)))]
        try:
            for thread in threads:
                thread.start()
            shift.wait()
        except BaseException:
            self._stop.set()
            _join(threads, _GRACE_INTERRUPTED)
            raise
        if shift.failure is not None:
            _join(threads, _GRACE)
            raise shift.failure
        return [shift.results[index] for index in range(len(todo))]


class _Shift(Generic[_T, _R]):
    """The items of one `map`, handed out to its threads."""

    def __init__(self, items: list[_T], work: Callable[[_T], _R], stop: threading.Event) -> None:
        self._work = work
        self._items = iter(list(enumerate(items)))
        self._left = len(items)
        self._stop = stop
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.results: dict[int, _R] = {}
        self.failure: BaseException | None = None
        if not items:
            self._over.set()

    def wait(self) -> None:
        """Until every item is done or one failed."""
        self._over.wait()

    def run(self) -> None:
        """What a thread does."""
        while not self._stop.is_set():
            with self._lock:
                taken = next(self._items, None)
            if taken is None:
                return
            index, item = taken
            try:
                result = self._work(item)
            except BaseException as error:  # noqa: BLE001 - every failure must reach the caller's thread
                self._fail(error)
                return
            with self._lock:
                self.results[index] = result
                self._left -= 1
                if not self._left:
                    self._over.set()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self.failure is None and not isinstance(error, Stopped):
                self.failure = error
        self._stop.set()
        self._over.set()


def _join(threads: list[threading.Thread], grace: float) -> None:
    """Wait for the threads, `grace` seconds in all; those in a dead connection are left behind."""
    end = time.monotonic() + grace
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, end - time.monotonic()))
