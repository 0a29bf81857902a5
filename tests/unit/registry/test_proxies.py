"""Proxies of the environment: forwarded in the clear, tunnelled with TLS, left out where NO_PROXY says so."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from nexus_oci.errors import RegistryError, UsageError
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.transfer.ends import Outcome
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry
from tests.support.proxy import Proxy, running_proxy
from tests.unit.registry.kit import Blob, ClientMaker

pytestmark = LOOPBACK

BLOB = Blob(b"through the proxy" * 100_000)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with running_proxy() as running:
        yield running


def test_a_plain_registry_is_asked_through_the_proxy(
    proxy: Proxy, server: FaultyRegistry, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://ann:s%40crt@{proxy.host}")
    client = make_client()
    assert client.put_blob("team/app", BLOB.descriptor, lambda: io.BytesIO(BLOB.data)) is Outcome.SENT
    assert client.open_blob("team/app", BLOB.descriptor).read() == BLOB.data
    assert proxy.asked[0] == f"HEAD {server.url}/v2/team/app/blobs/{BLOB.descriptor.digest}"
    assert set(proxy.logins) == {"Basic YW5uOnNAY3J0"}
    assert all("proxy-authorization" not in seen.headers for seen in server.seen)


def test_no_proxy_is_obeyed(
    proxy: Proxy, server: FaultyRegistry, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
    monkeypatch.setenv("no_proxy", "registry.example,127.0.0.1")
    assert not make_client().has_blob("team/app", BLOB.descriptor)
    assert proxy.asked == []
    assert len(server.seen) == 1


def test_tls_goes_through_a_tunnel_and_is_checked_inside(
    proxy: Proxy, secure_server: FaultyRegistry, certificate: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://{proxy.host}")
    client = RegistryClient(secure_server.host, RegistrySettings(ca_file=certificate))  # type: ignore[arg-type]
    assert client.put_blob("team/app", BLOB.descriptor, lambda: io.BytesIO(BLOB.data)) is Outcome.SENT
    client.close()
    assert set(proxy.asked) == {f"CONNECT {secure_server.host}"}
    stranger = RegistryClient(secure_server.host)
    with pytest.raises(RegistryError, match="is not trusted"):
        stranger.has_blob("team/app", BLOB.descriptor)


def test_a_proxy_that_lets_nobody_in_is_named(
    proxy: Proxy, secure_server: FaultyRegistry, certificate: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://{proxy.host}")
    proxy.login = "Basic other"
    client = RegistryClient(secure_server.host, RegistrySettings(ca_file=certificate))  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match="cannot be reached") as caught:
        client.has_blob("team/app", BLOB.descriptor)
    assert "407" in str(caught.value)
    assert "proxy" in str(caught.value)


def test_a_proxy_of_another_kind_is_refused(make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(UsageError, match="of a kind that is not spoken here: socks5"):
        make_client().has_blob("team/app", BLOB.descriptor)
