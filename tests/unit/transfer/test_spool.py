"""Content that is fetched once for several readers."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_oci.errors import RegistryError, StoreError, VerificationError
from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.transfer.spool import Spool

DATA = bytes(range(253)) * 5000
BLOB = Descriptor(media_type="text/plain", digest=digest_of(DATA), size=len(DATA))
SMALL = Descriptor(media_type="text/plain", digest=digest_of(b"small"), size=5)


class Fetched(io.BytesIO):
    """Content that is released bit by bit, and may fail at its end."""

    def __init__(self, data: bytes, gate: threading.Event | None = None, failure: Exception | None = None) -> None:
        super().__init__(data)
        self.gate, self.failure = gate, failure

    def read(self, size: int | None = -1, /) -> bytes:
        if self.gate is not None and self.tell() > 0:
            assert self.gate.wait(60)
        data = super().read(size)
        if not data and self.failure is not None:
            raise self.failure
        return data


def test_all_readers_get_everything_and_it_is_fetched_once(tmp_path: Path) -> None:
    opened: list[int] = []

    def fetch() -> Fetched:
        opened.append(1)
        return Fetched(DATA)

    with Spool(tmp_path, BLOB, fetch) as spool, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: spool.open().readall(), range(8)))
    assert set(found) == {DATA}
    assert opened == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_reader_gets_what_is_there_before_the_rest_has_come(tmp_path: Path) -> None:
    gate = threading.Event()
    with Spool(tmp_path, BLOB, lambda: Fetched(DATA, gate)) as spool:
        reader = spool.open()
        assert reader.read(1000) == DATA[:1000]
        gate.set()
        assert reader.readall() == DATA[1000:]


def test_a_reader_can_go_back_and_begin_again(tmp_path: Path) -> None:
    with Spool(tmp_path, BLOB, lambda: Fetched(DATA)) as spool:
        reader = spool.open()
        reader.seek(1_000_000)
        assert reader.readall() == DATA[1_000_000:]
        reader.seek(0)
        assert reader.readall() == DATA


def test_small_content_needs_no_file(tmp_path: Path) -> None:
    with Spool(tmp_path / "absent", SMALL, lambda: Fetched(b"small")) as spool:
        assert spool.open().readall() == b"small"
    assert not (tmp_path / "absent").exists()


def test_a_failure_reaches_every_reader_before_the_end(tmp_path: Path) -> None:
    failure = VerificationError("it is damaged")
    with Spool(tmp_path, BLOB, lambda: Fetched(DATA, failure=failure)) as spool:
        for _ in range(3):
            with pytest.raises(VerificationError, match="it is damaged"):
                spool.open().readall()


def test_a_source_that_does_not_open_is_the_readers_error(tmp_path: Path) -> None:
    def fetch() -> Fetched:
        raise RegistryError("nobody is there")

    with Spool(tmp_path, BLOB, fetch) as spool, pytest.raises(RegistryError, match="nobody is there"):
        spool.open().readall()


def test_too_much_content_is_refused(tmp_path: Path) -> None:
    longer = pytest.raises(VerificationError, match="is longer than its descriptor says")
    with Spool(tmp_path, BLOB, lambda: Fetched(DATA + b"x" * 300_000)) as spool, longer:
        spool.open().readall()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(StoreError, match="cannot be kept for a while")
    with Spool(tmp_path / "file" / "below", BLOB, lambda: Fetched(DATA)) as spool, refused:
        spool.open().readall()


def test_what_nobody_reads_any_more_is_not_fetched_to_its_end(tmp_path: Path) -> None:
    gate = threading.Event()
    with Spool(tmp_path, BLOB, lambda: Fetched(DATA, gate)) as spool:
        assert spool.open().read(10) == DATA[:10]
        spool._over = True
        gate.set()
