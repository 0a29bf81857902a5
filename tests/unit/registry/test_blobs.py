"""Reading blobs: what arrives is right, or there is an error."""

from __future__ import annotations

import contextlib

import pytest

from nexus_oci.errors import NotFoundError, RegistryError, VerificationError
from nexus_oci.oci.reference import Reference
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.retry import Pace
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, Handler, alter, answer, cut_answer, headers
from tests.unit.registry.kit import Blob, ClientMaker, Time

pytestmark = LOOPBACK

BLOB = Blob(bytes(range(256)) * 4096)
SMALL = Blob(bytes(range(255)) * 260)


@pytest.fixture(autouse=True)
def stored(server: FaultyRegistry) -> None:
    server.repository("team/app").blobs[BLOB.descriptor.digest] = BLOB.data


def read(client: RegistryClient) -> bytes:
    with client.open_blob("team/app", BLOB.descriptor) as reader:
        return reader.read()


def test_a_blob_is_streamed_and_checked(client: RegistryClient) -> None:
    assert read(client) == BLOB.data


def test_a_broken_download_goes_on_where_it_broke(server: FaultyRegistry, client: RegistryClient) -> None:
    server.fault("GET", "blobs", cut_answer(100_000), cut_answer(200_000))
    assert read(client) == BLOB.data
    assert [seen.headers.get("range") for seen in server.requests("GET", "blobs")] == [
        None,
        "bytes=100000-",
        "bytes=300000-",
    ]


def test_a_registry_without_ranges_sends_again_and_the_start_is_skipped(server: FaultyRegistry, client: RegistryClient) -> None:
    server.ranges = False
    server.fault("GET", "blobs", cut_answer(100_000))
    assert read(client) == BLOB.data


def test_a_download_that_breaks_often_but_moves_on_is_finished(server: FaultyRegistry, client: RegistryClient) -> None:
    server.fault("GET", "blobs", *[cut_answer(20_000)] * 40)
    assert read(client) == BLOB.data


def test_a_download_that_never_moves_on_is_given_up(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.fault("GET", "blobs", *[cut_answer(0)] * 20)
    with pytest.raises(RegistryError, match="broke while reading blob") as caught:
        read(client)
    assert "tried 6 times" in str(caught.value)
    assert time.waits == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_range_that_starts_elsewhere_is_refused(server: FaultyRegistry, client: RegistryClient) -> None:
    wrong = headers(Content_Range=f"bytes 7-{len(BLOB.data) - 1}/{len(BLOB.data)}")
    server.fault("GET", "blobs", cut_answer(100_000), wrong)
    with pytest.raises(RegistryError, match="resumes at another place"):
        read(client)


def test_other_bytes_of_the_right_length_are_refused(server: FaultyRegistry, client: RegistryClient) -> None:
    server.fault("GET", "blobs", alter(lambda data: b"x" + data[1:]))
    with pytest.raises(VerificationError, match="is damaged"):
        read(client)


def test_a_wrong_length_is_refused_before_anything_is_read(server: FaultyRegistry, client: RegistryClient) -> None:
    server.fault("GET", "blobs", alter(lambda data: data[:-1]))
    with pytest.raises(VerificationError, match=f"announces {len(BLOB.data) - 1} bytes"):
        read(client)


def test_a_web_page_in_the_place_of_a_blob_is_named(server: FaultyRegistry, client: RegistryClient) -> None:
    server.fault("GET", "blobs", answer(200, b"<html>oops</html>", Content_Type="text/html"))
    with pytest.raises(VerificationError, match="announces 17 bytes, an HTML page"):
        read(client)


def test_a_body_without_a_length_ends_where_the_blob_should(server: FaultyRegistry, client: RegistryClient) -> None:
    endless = headers(Content_Length="", Connection="close")
    server.fault("GET", "blobs", lambda handler: alter(lambda data: data + b"more")(handler) or endless(handler))
    with pytest.raises(VerificationError, match="more bytes came"):
        read(client)


def test_a_missing_blob_is_not_found(client: RegistryClient) -> None:
    with pytest.raises(NotFoundError, match="reading blob"):
        client.open_blob("team/app", Blob(b"absent").descriptor)


def test_a_blob_of_another_size_does_not_count_as_present(server: FaultyRegistry, client: RegistryClient) -> None:
    assert client.has_blob("team/app", BLOB.descriptor)
    server.fault("HEAD", "blobs", headers(Content_Length="5"))
    assert not client.has_blob("team/app", BLOB.descriptor)


def test_a_redirect_is_followed_without_the_credential(
    server: FaultyRegistry, other_server: FaultyRegistry, make_client: ClientMaker, docker_config: object
) -> None:
    server.basic = "ann:secret"
    other_server.repository("team/app").blobs[BLOB.descriptor.digest] = BLOB.data
    where = f"{other_server.url}/v2/team/app/blobs/{BLOB.descriptor.digest}"
    server.fault("GET", "blobs", answer(307, Location=where))
    client = make_client(docker_config=docker_config)
    assert client.has_blob("team/app", BLOB.descriptor)
    assert read(client) == BLOB.data
    assert server.requests("GET", "blobs")[-1].authorization is not None
    assert [seen.authorization for seen in other_server.seen] == [None]


def test_a_redirect_target_that_demands_credentials_gets_none(
    server: FaultyRegistry, other_server: FaultyRegistry, make_client: ClientMaker, docker_config: object
) -> None:
    other_server.basic = "ann:secret"
    server.fault("GET", "blobs", answer(307, Location=f"{other_server.url}/v2/team/app/blobs/x"))
    with pytest.raises(RegistryError, match="refuses to let us in"):
        read(make_client(docker_config=docker_config))
    assert [seen.authorization for seen in other_server.seen] == [None]


def test_redirects_in_a_circle_end(server: FaultyRegistry, client: RegistryClient) -> None:
    server.fault("GET", "blobs", *[answer(307, Location=f"/v2/team/app/blobs/{BLOB.descriptor.digest}")] * 20)
    with pytest.raises(RegistryError, match="in circles"):
        read(client)


class Trickle:
    """A clock on which every look takes a second, as if every byte did."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def drip(handler: Handler) -> bool:
    """Answer a byte at a time, as separate packets."""
    data = handler.registry.repository("team/app").blobs[BLOB.descriptor.digest]
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    for byte in data[:2000]:
        handler.wfile.write(bytes([byte]))
    handler.close_connection = True
    return True


def test_an_answer_that_only_trickles_is_given_up(server: FaultyRegistry, make_client: ClientMaker) -> None:
    server.fault("GET", "blobs", *[drip] * 20)
    waits: list[float] = []
    pace = Pace(clock=Trickle(), sleep=waits.append)
    with pytest.raises(RegistryError, match="next to nothing comes from|broke while reading") as caught:
        read(make_client(pace=pace, stall_timeout=5, slowest=1 << 20))
    assert caught.value.exit_code == 5
    assert 5 <= len(waits) < 20


def test_a_manifest_that_only_trickles_is_given_up(server: FaultyRegistry, make_client: ClientMaker) -> None:
    server.fault("GET", "manifests", *[drip] * 20)
    pace = Pace(clock=Trickle(), sleep=lambda _: None)
    with pytest.raises(RegistryError, match="next to nothing comes from|broke while reading"):
        make_client(pace=pace, stall_timeout=3, slowest=1 << 30).manifest(
            Reference(host=server.host, repository="team/app", tag="1.0")
        )


def test_a_body_without_an_end_is_left(server: FaultyRegistry, client: RegistryClient) -> None:
    def endless(handler: Handler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)
        return True

    server.fault("GET", "blobs", endless)
    with pytest.raises(VerificationError, match="more bytes came"):
        read(client)
    server.fault("GET", "manifests", endless)
    with pytest.raises(VerificationError, match="sends too much"):
        client.manifest(Reference(host=server.host, repository="team/app", tag="1.0"))


@pytest.mark.parametrize("count", range(1024, 64 * 1024, 1024))
def test_a_download_that_breaks_at_any_kilobyte_is_finished(server: FaultyRegistry, client: RegistryClient, count: int) -> None:
    server.fault("GET", "blobs", cut_answer(count))
    assert read(client) == BLOB.data


def test_a_download_that_breaks_at_every_kilobyte_is_finished(server: FaultyRegistry, client: RegistryClient) -> None:
    server.repository("team/app").blobs[SMALL.descriptor.digest] = SMALL.data
    server.fault("GET", "blobs", *[cut_answer(1024)] * 64)
    with client.open_blob("team/app", SMALL.descriptor) as reader:
        assert reader.read() == SMALL.data
    assert len(server.requests("GET", "blobs")) == 65


def test_a_large_blob_is_hashed_beside_the_reading(
    server: FaultyRegistry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_oci.registry.hashing.LARGE", 1 << 20)
    server.fault("GET", "blobs", cut_answer(300_000))
    buffer = bytearray(700_000)
    found = bytearray()
    with client.open_blob("team/app", BLOB.descriptor) as reader:
        while count := reader.readinto(memoryview(buffer)):
            found += buffer[:count]
            buffer[:] = bytes(len(buffer))
    assert found == BLOB.data
    server.fault("GET", "blobs", alter(lambda data: data[:-1] + b"x"))
    with pytest.raises(VerificationError, match="is damaged"):
        read(client)


@pytest.mark.parametrize("verify", [True, False])
def test_what_one_has_is_left_out(server: FaultyRegistry, client: RegistryClient, verify: bool) -> None:
    with client.open_blob("team/app", BLOB.descriptor, verify=verify) as reader:
        reader.skip_to(600_000)
        assert reader.read() == BLOB.data[600_000:]
    ranges = [seen.headers.get("range") for seen in server.requests("GET", "blobs")]
    assert ranges == ([None] if verify else [None, "bytes=600000-"])
