"""Step records: work that was done is not done again, and nothing damaged is ever taken for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Digest, digest_of
from nexus_oci.pipeline.records import Record, Records

KEY = digest_of(b"key")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "oci")


@pytest.fixture
def records(store: Store, said: list[str]) -> Records:
    return Records(store, said.append)


def record(store: Store, key: Digest = KEY, step: str = "image a") -> Record:
    return Record(
        key=key, step=step, inputs={"a": "1"}, blobs=(store.put(b"data", "x/y"),), facts={"title": "x"}, listing={"f": "1"}
    )


def test_a_record_comes_back_as_it_was(store: Store, records: Records) -> None:
    made = record(store)
    assert records.run(KEY, lambda: made) == (made, False)
    assert records.run(KEY, lambda: pytest.fail("ran again")) == (made, True)
    assert records.peek(KEY) == records.last("image a") == made
    assert records.find(digest_of(b"other")) is None
    assert records.last("image b") is None


def test_threads_that_ask_for_one_key_share_one_run(store: Store, records: Records) -> None:
    runs: list[int] = []
    together = threading.Barrier(4)

    def work() -> Record:
        runs.append(1)
        return record(store)

    def ask(_: int) -> bool:
        together.wait()
        return records.run(KEY, work)[1]

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ask, range(4))) == [False, True, True, True]
    assert runs == [1]


def test_a_truncated_blob_is_named_taken_away_and_made_again(store: Store, records: Records, said: list[str]) -> None:
    made, _ = records.run(KEY, lambda: record(store))
    path = store.path(made.blobs[0].digest)
    path.write_bytes(b"dat")
    assert records.peek(KEY) is None
    assert (path.exists(), said) == (True, [])
    assert records.run(KEY, lambda: record(store))[1] is False
    assert path.read_bytes() == b"data"
    assert said == [f"blob {made.blobs[0].digest} of «image a» is damaged in the store: it is made again"]


def test_a_missing_blob_is_made_again_without_a_word(store: Store, records: Records, said: list[str]) -> None:
    made, _ = records.run(KEY, lambda: record(store))
    store.drop(made.blobs[0].digest)
    assert records.find(KEY) is None
    assert said == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": "x"}', "\udcff"])
def test_a_record_that_cannot_be_read_is_none(store: Store, records: Records, text: str) -> None:
    records.run(KEY, lambda: record(store))
    for path in store.steps.iterdir():
        path.write_bytes(text.encode(errors="surrogateescape"))
    assert records.find(KEY) is None
    assert records.last("image a") is None
    assert records.run(KEY, lambda: record(store))[1] is False
    assert records.last("image a") is not None


def test_the_newest_record_of_a_step_is_what_it_last_came_to(store: Store, records: Records) -> None:
    old, _ = records.run(KEY, lambda: record(store))
    new, _ = records.run(digest_of(b"new"), lambda: record(store, digest_of(b"new")))
    assert records.last("image a") == new
    records.remember(old)
    assert records.last("image a") == old
