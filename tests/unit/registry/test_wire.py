"""TLS: whom the client trusts, and that nothing else changes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from nexus_oci.errors import RegistryError, UsageError
from nexus_oci.registry.certificates import ClientCertificate
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.retry import RetryPolicy
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.transfer.ends import Outcome
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, answer
from tests.unit.registry.kit import Blob, Time

pytestmark = LOOPBACK

BLOB = Blob(b"over the wire" * 300_000)


def push_and_pull(client: RegistryClient, folder: Path) -> None:
    path = BLOB.on_disk(folder)
    assert client.put_blob("team/app", BLOB.descriptor, lambda: path.open("rb", buffering=0)) is Outcome.SENT
    with client.open_blob("team/app", BLOB.descriptor) as reader:
        assert reader.read() == BLOB.data


def test_a_named_authority_is_trusted_for_both_ways(secure_server: FaultyRegistry, certificate: Path, tmp_path: Path) -> None:
    client = RegistryClient(secure_server.host, RegistrySettings(ca_file=certificate))
    push_and_pull(client, tmp_path)
    client.close()


def test_an_unknown_authority_is_refused_with_advice(secure_server: FaultyRegistry) -> None:
    client = RegistryClient(secure_server.host)
    with pytest.raises(RegistryError, match=r"the certificate of .* is not trusted") as caught:
        client.tags("team/app")
    assert "--ca-file" in str(caught.value)
    assert secure_server.seen == []


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.write_text("nothing")
    with pytest.raises(UsageError, match=r"empty\.pem cannot be read"):
        RegistryClient("registry.example", RegistrySettings(ca_file=path))


def test_a_redirect_never_leaves_tls(secure_server: FaultyRegistry, server: FaultyRegistry, certificate: Path) -> None:
    client = RegistryClient(secure_server.host, RegistrySettings(ca_file=certificate))
    plain = server.url.replace("127.0.0.1", "127.0.0.2")
    secure_server.fault("GET", "blobs", answer(307, Location=f"{plain}/v2/team/app/blobs/x"))
    with pytest.raises(RegistryError, match="an address without TLS"):
        client.open_blob("team/app", BLOB.descriptor)
    client.close()


def test_an_upload_address_that_says_http_for_the_registry_itself_is_put_right(
    secure_server: FaultyRegistry, certificate: Path
) -> None:
    secure_server.upload_base = f"http://{secure_server.host}"
    client = RegistryClient(secure_server.host, RegistrySettings(ca_file=certificate))
    assert client.put_blob("team/app", BLOB.descriptor, lambda: io.BytesIO(BLOB.data)) is Outcome.SENT
    client.close()


def test_a_plain_registry_gets_files_through_the_kernel(server: FaultyRegistry, tmp_path: Path) -> None:
    client = RegistryClient(server.host, RegistrySettings(plain_http=True))
    push_and_pull(client, tmp_path)
    client.close()


def put(client: RegistryClient) -> Outcome:
    try:
        return client.put_blob("team/app", BLOB.descriptor, lambda: io.BytesIO(BLOB.data))
    finally:
        client.close()


def test_a_registry_that_wants_our_certificate_gets_it(
    guarded_server: FaultyRegistry, certificate: Path, our_certificate: Path
) -> None:
    own = ClientCertificate(certificate=our_certificate)
    settings = RegistrySettings(ca_file=certificate, client_certificate=own)
    assert put(RegistryClient(guarded_server.host, settings)) is Outcome.SENT


def test_certificates_stand_in_the_folder_of_their_registry(
    guarded_server: FaultyRegistry, certificate: Path, our_certificate: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d" / guarded_server.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(certificate.read_bytes())
    (folder / "client.cert").write_bytes(our_certificate.read_bytes())
    (folder / "client.key").write_bytes(our_certificate.read_bytes())
    settings = RegistrySettings(certificate_folders=(tmp_path / "absent", tmp_path / "certs.d"))
    assert put(RegistryClient(guarded_server.host, settings)) is Outcome.SENT
    other = RegistrySettings(certificate_folders=(tmp_path / "certs.d",), retry=RetryPolicy(tries=1))
    (tmp_path / "certs.d" / guarded_server.host).rename(tmp_path / "certs.d" / "other.example")
    with pytest.raises(RegistryError, match="is not trusted"):
        put(RegistryClient(guarded_server.host, other))


def test_a_registry_that_misses_our_certificate_says_so(guarded_server: FaultyRegistry, certificate: Path, time: Time) -> None:
    """At the latest when tried again: its alert may get lost when it closes the connection."""
    settings = RegistrySettings(ca_file=certificate, retry=RetryPolicy(tries=40, budget=1e9), pace=time.pace)
    with pytest.raises(RegistryError, match="wants to see a certificate of ours") as caught:
        put(RegistryClient(guarded_server.host, settings))
    assert "--client-cert" in str(caught.value)
    assert guarded_server.seen == []


def test_our_certificate_is_not_shown_where_a_registry_redirects_to(
    secure_server: FaultyRegistry, guarded_server: FaultyRegistry, certificate: Path, our_certificate: Path
) -> None:
    secure_server.fault("GET", "blobs", answer(307, Location=f"{guarded_server.url}/v2/team/app/blobs/x"))
    own = ClientCertificate(certificate=our_certificate)
    settings = RegistrySettings(ca_file=certificate, client_certificate=own, retry=RetryPolicy(tries=1))
    client = RegistryClient(secure_server.host, settings)
    with pytest.raises(RegistryError, match="wants to see a certificate of ours|broke while reading"):
        client.open_blob("team/app", BLOB.descriptor)
    client.close()
    assert guarded_server.seen == []


def test_a_certificate_without_its_key_is_named(tmp_path: Path, our_certificate: Path) -> None:
    folder = tmp_path / "registry.example"
    folder.mkdir()
    (folder / "client.cert").write_bytes(our_certificate.read_bytes())
    with pytest.raises(UsageError, match=r"client\.cert has no key beside it"):
        RegistryClient("registry.example", RegistrySettings(certificate_folders=(tmp_path,)))
    (folder / "client.key").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"client\.cert cannot be used"):
        RegistryClient("registry.example", RegistrySettings(certificate_folders=(tmp_path,)))


def test_an_idle_connection_that_was_closed_is_replaced(server: FaultyRegistry, time: Time) -> None:
    client = RegistryClient(server.host, RegistrySettings(plain_http=True, pace=time.pace))
    server.fault("HEAD", "blobs", lambda handler: setattr(handler, "close_connection", True) or False)
    assert not client.has_blob("team/app", BLOB.descriptor)
    assert not client.has_blob("team/app", BLOB.descriptor)
    client.close()
    assert time.waits == []
