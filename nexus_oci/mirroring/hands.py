"""Threads that serve all destinations of a run, so that none has to be made for each thing that is done to one.

They are daemons: one that hangs in a dead connection never keeps the program from ending.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


class Hands:
    """Up to `most` threads, made as they are needed. What they do waits for none of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made = 0
        self._idle = 0
        self._lock = threading.Lock()
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def map(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """`work` done on every item, results in their order; raises the first failure when all have ended."""
        if len(items) < 2:
            return [work(item) for item in items]
        left = len(items)
        results: list[Any] = [None] * left
        failures: list[BaseException] = []
        over = threading.Event()
        lock = threading.Lock()

        def one(index: int) -> None:
            nonlocal left
            try:
                results[index] = work(items[index])
            except BaseException as error:  # noqa: BLE001 - who waits raises it
                failures.append(error)
            with lock:
                left -= 1
                if not left:
                    over.set()

        for index in range(len(items)):
            self._give(lambda index=index: one(index))  # type: ignore[misc]
        over.wait()
        if failures:
            raise failures[0]
        return results

    def _give(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._idle <= self._todo.qsize() and self._made < self._most:
                self._made += 1
                threading.Thread(target=self._serve, daemon=True).start()
        self._todo.put(work)

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            work = self._todo.get()
            with self._lock:
                self._idle -= 1
            work()
