"""What the registry's tests share: servers that misbehave, and clients that never really wait."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.settings import RegistrySettings
from tests.support.faulty_registry import FaultyRegistry, faulty_registry
from tests.unit.registry.kit import ClientMaker, Time, self_signed


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        yield running


@pytest.fixture
def other_server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        yield running


@pytest.fixture
def make_client(server: FaultyRegistry, time: Time) -> Iterator[ClientMaker]:
    """Makes clients of `server`; keyword arguments are settings."""
    made: list[RegistryClient] = []

    def make(**settings: object) -> RegistryClient:
        options: dict[str, object] = {"plain_http": True, "pace": time.pace, "whole_up_to": 0, **settings}
        made.append(RegistryClient(server.host, RegistrySettings(**options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: ClientMaker) -> RegistryClient:
    return make_client()


@pytest.fixture
def docker_config(tmp_path: Path, server: FaultyRegistry) -> Path:
    """Docker's configuration with a password for `server` alone."""
    path = tmp_path / "config.json"
    auth = base64.b64encode(b"ann:secret").decode()
    path.write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))
    return path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate that it signed itself, for 127.0.0.1."""
    return self_signed(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture(scope="session")
def our_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, by which a client says who it is."""
    return self_signed(tmp_path_factory.mktemp("tls") / "client.pem")


@pytest.fixture
def secure_server(certificate: Path) -> Iterator[FaultyRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with faulty_registry(context) as running:
        yield running


@pytest.fixture
def guarded_server(certificate: Path, our_certificate: Path) -> Iterator[FaultyRegistry]:
    """A server that lets in only who has `our_certificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(our_certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with faulty_registry(context) as running:
        yield running
