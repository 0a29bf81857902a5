"""TLS: whom the client trusts, and that nothing else changes."""

from __future__ import annotations

import datetime as dt
import io
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nexus_oci.errors import RegistryError, UsageError
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.transfer.ends import Outcome
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, answer, faulty_registry
from tests.unit.registry.kit import Blob

pytestmark = LOOPBACK

BLOB = Blob(b"over the wire" * 300_000)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate that it signed itself, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure_server(certificate: Path) -> Iterator[FaultyRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with faulty_registry(context) as running:
        yield running


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
