"""Writing blobs: mounted, streamed, in pieces, and through every interruption."""

from __future__ import annotations

import fcntl
import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_oci.errors import NotFoundError, RegistryError, VerificationError
from nexus_oci.oci.store import VerifiedReader
from nexus_oci.registry.client import RegistryClient
from nexus_oci.transfer.ends import BlobStream, Outcome
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, answer, headers, reset_after
from tests.unit.registry.kit import Blob, ClientMaker, Time

pytestmark = LOOPBACK

BLOB = Blob(hashlib.sha512(b"seed").digest() * 50_000)
MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return BLOB.on_disk(tmp_path)


def opener(path: Path) -> BlobStream:
    return path.open("rb", buffering=0)


def stored(server: FaultyRegistry, repository: str = "team/app") -> bytes | None:
    return server.repository(repository).blobs.get(BLOB.descriptor.digest)


def push(client: RegistryClient, path: Path, **options: object) -> Outcome:
    return client.put_blob("team/app", BLOB.descriptor, lambda: opener(path), **options)  # type: ignore[arg-type]


def test_a_file_is_uploaded_in_one_request(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    heard: list[int] = []
    assert push(client, path, progress=heard.append) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert sum(heard) == len(BLOB.data)
    assert [seen.method for seen in server.seen] == ["HEAD", "POST", "PUT"]


def test_a_blob_that_is_there_is_not_sent(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.repository("team/app").blobs[BLOB.descriptor.digest] = BLOB.data
    assert push(client, path) is Outcome.PRESENT
    assert [seen.method for seen in server.seen] == ["HEAD"]


def test_threads_with_one_blob_write_it_once(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    together = threading.Barrier(4)

    def work(_: int) -> Outcome:
        together.wait()
        return push(client, path)

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(work, range(4)), key=str)
    assert outcomes == [Outcome.PRESENT, Outcome.PRESENT, Outcome.PRESENT, Outcome.SENT]
    assert [seen.method for seen in server.seen].count("PUT") == 1


def test_an_empty_blob_is_uploaded(server: FaultyRegistry, client: RegistryClient) -> None:
    empty = Blob(b"")
    assert client.put_blob("team/app", empty.descriptor, lambda: io.BytesIO()) is Outcome.SENT
    assert server.repository("team/app").blobs[empty.descriptor.digest] == b""


def test_a_blob_is_mounted_from_another_repository(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.repository("team/releases").blobs[BLOB.descriptor.digest] = BLOB.data
    assert push(client, path, mount_from="team/releases") is Outcome.MOUNTED
    assert stored(server) == BLOB.data
    assert not server.requests("PUT")


def test_a_refused_mount_becomes_the_upload_it_opened(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.mounts = False
    assert push(client, path, mount_from="team/releases") is Outcome.SENT
    assert len(server.requests("POST")) == 1
    assert stored(server) == BLOB.data


def test_a_forbidden_mount_falls_back_to_an_upload(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.fault("POST", "uploads", answer(403))
    assert push(client, path, mount_from="team/releases") is Outcome.SENT
    assert stored(server) == BLOB.data


def test_a_mount_that_is_only_claimed_falls_back_to_an_upload(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.fault("POST", "uploads", answer(201, Location="/v2/team/app/blobs/x"))
    assert push(client, path, mount_from="team/releases") is Outcome.SENT
    assert stored(server) == BLOB.data


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_upload_that_meets_a_passing_failure_is_sent_again_whole(
    server: FaultyRegistry, client: RegistryClient, path: Path, status: int
) -> None:
    server.fault("PUT", "uploads", answer(status))
    assert push(client, path) is Outcome.SENT
    assert stored(server) == BLOB.data


def test_an_upload_whose_connection_is_reset_is_sent_again_whole(
    server: FaultyRegistry, client: RegistryClient, path: Path
) -> None:
    server.fault("PUT", "uploads", reset_after(MIB), reset_after(2 * MIB))
    assert push(client, path) is Outcome.SENT
    assert stored(server) == BLOB.data


def test_an_upload_whose_answer_was_lost_is_not_sent_twice(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    def store_and_fail(handler: object) -> bool:
        server.repository("team/app").blobs[BLOB.descriptor.digest] = BLOB.data
        return answer(502)(handler)  # type: ignore[arg-type]

    server.fault("PUT", "uploads", store_and_fail)
    assert push(client, path) is Outcome.SENT
    assert len(server.requests("PUT")) == 1


def test_a_registry_that_keeps_failing_is_one_clear_error(
    server: FaultyRegistry, client: RegistryClient, path: Path, time: Time
) -> None:
    server.fault("PUT", "uploads", *[answer(500)] * 20)
    with pytest.raises(RegistryError, match="answered 500 while writing blob") as caught:
        push(client, path)
    assert caught.value.exit_code == 5
    assert "tried 6 times" in str(caught.value)
    assert "will not be sent twice" in str(caught.value)
    assert time.waits == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_large_blob_goes_in_pieces(server: FaultyRegistry, make_client: ClientMaker, path: Path) -> None:
    assert push(make_client(chunk_size=MIB), path) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert [seen.headers["content-range"] for seen in server.requests("PATCH")] == [
        "0-1048575",
        "1048576-2097151",
        "2097152-3145727",
        "3145728-3199999",
    ]


def test_a_broken_piece_goes_on_where_the_registry_says(server: FaultyRegistry, make_client: ClientMaker, path: Path) -> None:
    server.fault("PATCH", "uploads", reset_after(300_000))
    heard: list[int] = []
    assert push(make_client(chunk_size=2 * MIB), path, progress=heard.append) is Outcome.SENT
    assert stored(server) == BLOB.data
    starts = [int(seen.headers["content-range"].partition("-")[0]) for seen in server.requests("PATCH")]
    assert starts[0] == 0
    assert 0 < starts[1] <= 300_000
    assert len(server.requests("POST")) == 1


def test_pieces_begin_anew_where_the_registry_forgot_the_upload(
    server: FaultyRegistry, make_client: ClientMaker, path: Path
) -> None:
    server.fault("PATCH", "uploads", reset_after(300_000))
    server.fault("GET", "uploads", answer(404))
    assert push(make_client(chunk_size=2 * MIB), path) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert len(server.requests("POST")) == 2


def test_a_registry_without_pieces_gets_one_stream(server: FaultyRegistry, make_client: ClientMaker, path: Path) -> None:
    server.fault("PATCH", "uploads", answer(405))
    assert push(make_client(chunk_size=MIB), path) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert len(server.requests("PATCH")) == 1


def unseekable(path: Path, opened: list[int]) -> BlobStream:
    opened.append(1)
    return VerifiedReader(path.open("rb"), BLOB.descriptor, "the test's blob")


def test_content_that_cannot_be_sought_is_read_once_for_all_pieces(
    server: FaultyRegistry, make_client: ClientMaker, path: Path
) -> None:
    opened: list[int] = []
    client = make_client(chunk_size=MIB)
    assert client.put_blob("team/app", BLOB.descriptor, lambda: unseekable(path, opened)) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert len(server.requests("PATCH")) == 4
    assert len(opened) == 1


def test_content_that_cannot_be_sought_is_read_again_after_a_break(
    server: FaultyRegistry, make_client: ClientMaker, path: Path
) -> None:
    opened: list[int] = []
    server.fault("PATCH", "uploads", reset_after(300_000))
    client = make_client(chunk_size=MIB)
    assert client.put_blob("team/app", BLOB.descriptor, lambda: unseekable(path, opened)) is Outcome.SENT
    assert stored(server) == BLOB.data
    starts = [int(seen.headers["content-range"].partition("-")[0]) for seen in server.requests("PATCH")]
    assert starts[0] == 0
    assert 0 < starts[1] <= 300_000
    assert len(opened) == 2


class Killed(BaseException):
    """Stands for the end of the process: nothing handles it."""


def killed_after(count: int) -> Callable[[int], None]:
    """A progress callback that ends everything once so many bytes were sent."""
    sent = 0

    def progress(size: int) -> None:
        nonlocal sent
        sent += size
        if sent >= count:
            raise Killed

    return progress


def half_sent(make_client: ClientMaker, path: Path, journal: Path) -> None:
    with pytest.raises(Killed):
        push(make_client(chunk_size=MIB, journal=journal), path, progress=killed_after(2 * MIB + 1))


def test_another_process_goes_on_with_an_upload(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path
) -> None:
    half_sent(make_client, path, tmp_path / "journal")
    before = len(server.requests("PATCH"))
    heard: list[int] = []
    assert push(make_client(chunk_size=MIB, journal=tmp_path / "journal"), path, progress=heard.append) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert len(server.requests("POST")) == 1
    first = server.requests("PATCH")[before]
    assert int(first.headers["content-range"].partition("-")[0]) >= 2 * MIB
    assert sum(heard) <= len(BLOB.data) - 2 * MIB
    assert list((tmp_path / "journal").iterdir()) == []


def test_another_process_goes_on_within_the_first_piece_where_the_registry_kept_it(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    with pytest.raises(Killed):
        push(make_client(chunk_size=3 * MIB, journal=journal), path, progress=killed_after(2 * MIB))
    heard: list[int] = []
    assert push(make_client(chunk_size=3 * MIB, journal=journal), path, progress=heard.append) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert len(server.requests("POST")) == 1
    assert sum(heard) < len(BLOB.data)


def test_one_request_is_tried_first_and_pieces_after_it_broke(
    server: FaultyRegistry, make_client: ClientMaker, path: Path
) -> None:
    client = make_client(chunk_size=MIB, whole_up_to=8 * MIB)
    server.fault("PUT", "uploads", reset_after(300_000))
    assert push(client, path) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert len(server.requests("PATCH")) >= 3


def test_pieces_are_sent_where_another_process_was_stopped_in_one_request(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path
) -> None:
    client = make_client(chunk_size=MIB, whole_up_to=8 * MIB, journal=tmp_path / "journal")
    with pytest.raises(Killed):
        push(client, path, progress=killed_after(2 * MIB))
    assert not server.requests("PATCH")
    again = make_client(chunk_size=MIB, whole_up_to=8 * MIB, journal=tmp_path / "journal")
    assert push(again, path) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert server.requests("PATCH")
    assert list((tmp_path / "journal").iterdir()) == []


def test_an_upload_that_the_registry_swept_away_begins_anew(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path
) -> None:
    half_sent(make_client, path, tmp_path / "journal")
    server.uploads.clear()
    assert push(make_client(chunk_size=MIB, journal=tmp_path / "journal"), path) is Outcome.SENT
    assert stored(server) == BLOB.data
    assert len(server.requests("POST")) == 2


def test_an_upload_whose_first_part_was_damaged_begins_anew(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path
) -> None:
    half_sent(make_client, path, tmp_path / "journal")
    (upload,) = server.uploads.values()
    upload.data[0] ^= 1
    assert push(make_client(chunk_size=MIB, journal=tmp_path / "journal"), path) is Outcome.SENT
    assert stored(server) == BLOB.data


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"location": "http://elsewhere.example/x", "offset": 5}'])
def test_a_note_that_is_damaged_does_no_harm(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path, note: bytes
) -> None:
    half_sent(make_client, path, tmp_path / "journal")
    (file,) = (tmp_path / "journal").iterdir()
    file.write_bytes(note)
    assert push(make_client(chunk_size=MIB, journal=tmp_path / "journal"), path) is Outcome.SENT
    assert stored(server) == BLOB.data


def test_an_old_note_is_not_believed(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path, time: Time
) -> None:
    half_sent(make_client, path, tmp_path / "journal")
    time.now += 8 * 24 * 3600
    assert push(make_client(chunk_size=MIB, journal=tmp_path / "journal"), path) is Outcome.SENT
    assert len(server.requests("POST")) == 2


def test_a_note_is_for_its_owner_alone_and_holds_no_credential(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path, docker_config: Path
) -> None:
    server.basic = "ann:secret"
    with pytest.raises(Killed):
        client = make_client(chunk_size=MIB, journal=tmp_path / "journal", docker_config=docker_config)
        push(client, path, progress=killed_after(2 * MIB + 1))
    (file,) = (tmp_path / "journal").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert b"secret" not in file.read_bytes()
    assert b"Basic" not in file.read_bytes()


def test_an_upload_that_another_process_holds_is_not_touched(
    server: FaultyRegistry, make_client: ClientMaker, path: Path, tmp_path: Path
) -> None:
    half_sent(make_client, path, tmp_path / "journal")
    (file,) = (tmp_path / "journal").iterdir()
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert push(make_client(chunk_size=MIB, journal=tmp_path / "journal"), path) is Outcome.SENT
        assert file.read_bytes()
    assert len(server.requests("POST")) == 2


@pytest.mark.parametrize("change", [-1, +1], ids=["shorter", "longer"])
def test_a_file_of_another_length_is_refused_on_our_side(
    server: FaultyRegistry, client: RegistryClient, path: Path, change: int
) -> None:
    path.write_bytes(BLOB.data[:-1] if change < 0 else BLOB.data + b"x")
    with pytest.raises(VerificationError, match="not as long as its descriptor says"):
        push(client, path)
    assert stored(server) is None


def test_damaged_content_never_completes_when_the_reader_verifies(
    server: FaultyRegistry, client: RegistryClient, path: Path
) -> None:
    path.write_bytes(BLOB.data[:-1] + b"x")
    with pytest.raises(VerificationError, match="the test's blob is damaged"):
        client.put_blob(
            "team/app",
            BLOB.descriptor,
            lambda: VerifiedReader(path.open("rb"), BLOB.descriptor, "the test's blob"),
        )
    assert stored(server) is None


def test_damaged_content_that_the_registry_notices_is_a_verification_error(client: RegistryClient, path: Path) -> None:
    path.write_bytes(BLOB.data[:-1] + b"x")
    with pytest.raises(VerificationError, match="got other bytes than their digest says"):
        push(client, path)


def test_a_registry_that_stores_something_else_is_refused(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.fault("PUT", "uploads", headers(Docker_Content_Digest="sha256:" + "0" * 64))
    with pytest.raises(RegistryError, match="stored another blob"):
        push(client, path)


def test_an_upload_address_on_another_host_gets_the_bytes_but_no_credential(
    server: FaultyRegistry,
    other_server: FaultyRegistry,
    make_client: ClientMaker,
    path: Path,
    docker_config: Path,
) -> None:
    server.basic = "ann:secret"
    server.upload_base = other_server.url
    other_server.new_upload()
    assert push(make_client(docker_config=docker_config), path) is Outcome.SENT
    assert stored(other_server) == BLOB.data
    assert [seen.authorization for seen in other_server.seen] == [None]
    assert server.requests("POST")[-1].authorization is not None


def test_a_registry_that_hides_where_to_go_on_is_an_error(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.fault("POST", "uploads", answer(202))
    with pytest.raises(RegistryError, match="does not say where to go on"):
        push(client, path)


def test_an_upload_that_the_registry_forgot_begins_anew(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.fault("PUT", "uploads", answer(404))
    assert push(client, path) is Outcome.SENT
    assert len(server.requests("POST")) == 2


def test_a_repository_that_must_be_made_first_says_so(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    server.fault("POST", "uploads", answer(404))
    with pytest.raises(NotFoundError, match="writing blob") as caught:
        push(client, path)
    assert "before the first push" in str(caught.value)


def test_progress_can_stop_an_upload(server: FaultyRegistry, client: RegistryClient, path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(client, path, progress=stop)
    assert stored(server) is None


@pytest.mark.parametrize("chunk_size", [16 * 1024, 64 * MIB], ids=["in pieces", "whole"])
def test_an_upload_that_breaks_at_any_kilobyte_is_finished(
    server: FaultyRegistry, make_client: ClientMaker, tmp_path: Path, chunk_size: int
) -> None:
    client = make_client(chunk_size=chunk_size)
    for kilobyte in range(1, 48):
        blob = Blob(f"{kilobyte} ".encode().ljust(48 * 1024, b"."))
        path = blob.on_disk(tmp_path)
        method = "PUT" if chunk_size > len(blob.data) else "PATCH"
        server.fault(method, "uploads", reset_after(kilobyte * 1024 % chunk_size or 1024))
        assert client.put_blob("team/app", blob.descriptor, lambda path=path: opener(path)) is Outcome.SENT  # type: ignore[misc]
        assert server.repository("team/app").blobs[blob.descriptor.digest] == blob.data


def test_an_upload_that_breaks_at_every_kilobyte_is_finished(
    server: FaultyRegistry, make_client: ClientMaker, tmp_path: Path
) -> None:
    """The registry keeps what came, so that the work moves on from break to break."""
    blob = Blob(bytes(range(256)) * 160)
    path = blob.on_disk(tmp_path)
    server.fault("PATCH", "uploads", *[reset_after(1024)] * 39)
    assert make_client(chunk_size=32 * 1024).put_blob("team/app", blob.descriptor, lambda: opener(path)) is Outcome.SENT
    assert server.repository("team/app").blobs[blob.descriptor.digest] == blob.data
