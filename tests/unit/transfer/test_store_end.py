"""The store as an end."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_oci.errors import NotFoundError, VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.transfer.ends import Outcome
from nexus_oci.transfer.store_end import StoreEnd
from tests.unit.transfer.graph import make_graph

DATA = b"some bytes of a blob"
BLOB = Descriptor(media_type="text/plain", digest=digest_of(DATA), size=len(DATA))


@pytest.fixture
def end(tmp_path: Path) -> StoreEnd:
    return StoreEnd(Store.create(tmp_path / "store"))


def scratch(end: StoreEnd) -> list[Path]:
    return list(end.store.scratch.iterdir())


def content(end: StoreEnd) -> bytes:
    with contextlib.closing(end.open_blob(BLOB)) as stream:
        return stream.read()


def test_a_blob_is_written_once(end: StoreEnd) -> None:
    heard: list[int] = []
    assert end.put_blob(BLOB, lambda: io.BytesIO(DATA), progress=heard.append) is Outcome.SENT
    assert end.put_blob(BLOB, lambda: io.BytesIO(DATA), progress=heard.append) is Outcome.PRESENT
    assert heard == [len(DATA)]
    assert content(end) == DATA


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x" * 10, DATA[:-1] + b"x", b""])
def test_wrong_bytes_leave_nothing_behind(end: StoreEnd, data: bytes) -> None:
    with pytest.raises(VerificationError, match="is not what its digest says"):
        end.put_blob(BLOB, lambda: io.BytesIO(data), progress=lambda _: None)
    assert not end.has(BLOB)
    assert scratch(end) == []


def test_a_damaged_blob_is_neither_there_nor_read_and_is_replaced(end: StoreEnd) -> None:
    end.store.put(DATA, "text/plain")
    path = end.store.path(BLOB.digest)
    path.write_bytes(DATA[:-1] + b"x")
    assert not end.has(BLOB)
    with pytest.raises(VerificationError, match="in the store is damaged"):
        end.open_blob(BLOB)
    assert end.put_blob(BLOB, lambda: io.BytesIO(DATA), progress=lambda _: None) is Outcome.SENT
    assert content(end) == DATA


def test_a_touched_blob_is_hashed_again_and_used(end: StoreEnd) -> None:
    end.store.put(DATA, "text/plain")
    os.utime(end.store.path(BLOB.digest))
    assert content(end) == DATA


def test_a_missing_blob_is_not_found(end: StoreEnd) -> None:
    with pytest.raises(NotFoundError, match="is not in the store"):
        end.open_blob(BLOB)


def test_referrers_are_found_through_the_index(end: StoreEnd) -> None:
    graph = make_graph(end.store)
    sbom, signature = graph.referrers
    assert end.referrers(graph.root.digest) == (replace(sbom, artifact_type="application/vnd.sbom"),)
    assert [found.digest for found in end.referrers(sbom.digest)] == [signature.digest]
    assert end.referrers(signature.digest) == ()


LARGE = bytes(range(251)) * 9000
LARGE_BLOB = Descriptor(media_type="text/plain", digest=digest_of(LARGE), size=len(LARGE))


class Gone(BaseException):
    """Stands for the end of the process."""


def begun(end: StoreEnd, count: int) -> None:
    """Write the large blob until `count` bytes and more are there, then end everything."""
    heard = 0

    def progress(size: int) -> None:
        nonlocal heard
        heard += size
        if heard >= count:
            raise Gone

    with pytest.raises(Gone):
        end.put_blob(LARGE_BLOB, lambda: io.BytesIO(LARGE), progress=progress)
    assert not end.has(LARGE_BLOB)


class Counted(io.BytesIO):
    """Content that counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        Counted.taken += len(data)
        return data


def test_a_blob_that_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    begun(StoreEnd(Store.create(tmp_path / "store")), 1_000_000)
    end = StoreEnd(Store.create(tmp_path / "store"))
    Counted.taken = 0
    heard: list[int] = []
    assert end.put_blob(LARGE_BLOB, lambda: Counted(LARGE), progress=heard.append) is Outcome.SENT
    assert end.store.path(LARGE_BLOB.digest).read_bytes() == LARGE
    assert Counted.taken == sum(heard) <= len(LARGE) - 1_000_000
    assert list((end.store.private / "partial").iterdir()) == []


def test_what_was_begun_and_changed_since_is_read_anew(tmp_path: Path) -> None:
    end = StoreEnd(Store.create(tmp_path / "store"))
    begun(end, 1_000_000)
    (path,) = (end.store.private / "partial").iterdir()
    with path.open("r+b") as file:
        file.write(b"x")
    assert end.put_blob(LARGE_BLOB, lambda: io.BytesIO(LARGE), progress=lambda _: None) is Outcome.SENT
    assert end.store.path(LARGE_BLOB.digest).read_bytes() == LARGE


def test_wrong_bytes_are_not_kept_to_be_gone_on_with(tmp_path: Path) -> None:
    end = StoreEnd(Store.create(tmp_path / "store"))
    with pytest.raises(VerificationError, match="is not what its digest says"):
        end.put_blob(LARGE_BLOB, lambda: io.BytesIO(b"x" + LARGE[1:]), progress=lambda _: None)
    assert list((end.store.private / "partial").iterdir()) == []


def test_two_who_write_one_blob_do_not_mix_their_bytes(tmp_path: Path) -> None:
    end = StoreEnd(Store.create(tmp_path / "store"))

    def meanwhile(_: int) -> None:
        other = StoreEnd(Store.create(tmp_path / "store"))
        other.put_blob(LARGE_BLOB, lambda: io.BytesIO(LARGE), progress=lambda _: None)

    end.put_blob(LARGE_BLOB, lambda: io.BytesIO(LARGE), progress=meanwhile)
    assert end.store.path(LARGE_BLOB.digest).read_bytes() == LARGE


def test_what_was_begun_long_ago_is_swept_away(tmp_path: Path) -> None:
    end = StoreEnd(Store.create(tmp_path / "store"))
    old = end.store.private / "partial" / "old"
    old.parent.mkdir()
    old.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    end.put_blob(LARGE_BLOB, lambda: io.BytesIO(LARGE), progress=lambda _: None)
    assert not old.exists()
