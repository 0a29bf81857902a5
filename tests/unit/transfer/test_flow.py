"""What may be under way at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nexus_oci.transfer.flow import Flow, Gates


class Counter:
    """How many were inside together at most, and with how many bytes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.bytes = self.most = self.most_bytes = 0

    def enter(self, size: int) -> None:
        with self.lock:
            self.now, self.bytes = self.now + 1, self.bytes + size
            self.most, self.most_bytes = max(self.most, self.now), max(self.most_bytes, self.bytes)

    def leave(self, size: int) -> None:
        with self.lock:
            self.now, self.bytes = self.now - 1, self.bytes - size


def run(flow: Flow, sizes: list[int]) -> Counter:
    counter = Counter()

    def work(size: int) -> None:
        with flow.room(size):
            counter.enter(size)
            threading.Event().wait(0)
            counter.leave(size)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, sizes))
    return counter


def test_no_more_are_inside_than_there_are_slots() -> None:
    counter = run(Flow(3, 1000), [1] * 200)
    assert 1 <= counter.most <= 3


def test_no_more_bytes_are_under_way_than_allowed() -> None:
    counter = run(Flow(16, 100), [30, 60, 10, 90, 5] * 40)
    assert counter.most_bytes <= 100


def test_what_is_larger_than_all_of_it_goes_alone() -> None:
    flow, counter = Flow(16, 100), Counter()
    inside = threading.Event()
    release = threading.Event()

    def giant() -> None:
        with flow.room(5000):
            inside.set()
            assert release.wait(60)

    def small() -> None:
        with flow.room(1):
            counter.enter(1)

    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(giant)
        assert inside.wait(60)
        other = pool.submit(small)
        assert counter.most == 0
        release.set()
        large.result()
        other.result()
    assert counter.most == 1


def test_a_failure_inside_makes_room_again() -> None:
    flow = Flow(1, 10)
    with pytest.raises(ValueError, match="inside"), flow.room(10):
        raise ValueError("inside")
    with flow.room(10):
        pass


def test_one_at_a_time_has_a_key_and_no_key_is_kept() -> None:
    gates, counter = Gates(), Counter()

    def work(key: int) -> None:
        with gates.through(key):
            if key == 0:
                counter.enter(1)
                counter.leave(1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [0, 1, 0, 2] * 100))
    assert counter.most == 1
    assert gates._gates == {}
