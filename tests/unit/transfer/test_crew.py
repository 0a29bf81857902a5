"""The crew of threads."""

from __future__ import annotations

import threading

import pytest

from nexus_oci.transfer.crew import Crew


def test_results_come_in_the_order_of_the_items() -> None:
    assert Crew(4).map(lambda number: number * 2, range(100)) == [number * 2 for number in range(100)]
    assert Crew(4).map(str, []) == []


def test_no_more_threads_work_at_once_than_there_are_jobs() -> None:
    together = threading.Barrier(3)
    running: list[int] = []

    def work(_: int) -> None:
        running.append(1)
        together.wait(timeout=10)
        assert len(running) <= 3
        together.wait(timeout=10)
        running.pop()
        together.wait(timeout=10)

    Crew(3).map(work, range(9))


def test_the_first_failure_is_raised_and_stops_the_others() -> None:
    crew = Crew(2)
    failed = threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            failed.set()
            raise ValueError("the first")
        failed.wait(timeout=10)
        while True:
            crew.checkpoint()

    with pytest.raises(ValueError, match="the first"):
        crew.map(work, range(50))
    assert done == []


def test_an_interrupt_of_the_caller_stops_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    crew = Crew(2)
    started, ended = threading.Event(), threading.Event()

    def work(_: int) -> None:
        started.set()
        try:
            while True:
                crew.checkpoint()
        finally:
            ended.set()

    def interrupted(_: object) -> None:
        started.wait(timeout=10)
        raise KeyboardInterrupt

    monkeypatch.setattr("nexus_oci.transfer.crew._Shift.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crew.map(work, [1])
    assert ended.wait(timeout=10)
