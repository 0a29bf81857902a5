"""Who gets which credential, and when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexus_oci.errors import RegistryError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import Manifest
from nexus_oci.registry.auth import challenges, merge
from nexus_oci.registry.client import RegistryClient
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, answer
from tests.unit.registry.kit import ClientMaker, Time

pytestmark = LOOPBACK

EMPTY = Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []})


def put_and_get(client: RegistryClient, server: FaultyRegistry) -> None:
    client.put_manifest("team/app", EMPTY, "1.0")
    assert client.manifest(Reference(host=server.host, repository="team/app", tag="1.0")).raw == EMPTY.raw


def tokens(server: FaultyRegistry) -> list[str | None]:
    return [seen.authorization for seen in server.seen if seen.path == "/token"]


def test_basic_credentials_are_sent_once_they_are_demanded(
    server: FaultyRegistry, make_client: ClientMaker, docker_config: Path
) -> None:
    server.basic = "ann:secret"
    put_and_get(make_client(docker_config=docker_config), server)
    assert [seen.authorization is None for seen in server.seen] == [True, False, False]


def test_wrong_credentials_are_not_tried_again(
    server: FaultyRegistry, make_client: ClientMaker, docker_config: Path, time: Time
) -> None:
    server.basic = "ann:changed"
    with pytest.raises(RegistryError, match="refuses to let us in") as caught:
        make_client(docker_config=docker_config).tags("team/app")
    assert f"the credentials from {docker_config} were used" in str(caught.value)
    assert f"docker login {server.host}" in str(caught.value)
    assert len(server.seen) == 2
    assert time.waits == []


def test_no_credentials_where_some_are_demanded_says_so(server: FaultyRegistry, make_client: ClientMaker) -> None:
    server.basic = "ann:secret"
    with pytest.raises(RegistryError, match="refuses to let us in") as caught:
        make_client().tags("team/app")
    assert "no credentials are known for it" in str(caught.value)


def test_forbidden_is_an_error_at_once(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.fault("GET", "tags", answer(403, b'{"errors":[{"code":"DENIED","message":"not yours"}]}'))
    with pytest.raises(RegistryError, match="forbids listing tags of team/app") as caught:
        client.tags("team/app")
    assert "DENIED: not yours" in str(caught.value)
    assert time.waits == []


def test_credentials_of_another_host_are_never_used(
    server: FaultyRegistry, other_server: FaultyRegistry, make_client: ClientMaker, docker_config: Path
) -> None:
    server.basic = "ann:secret"
    config = json.loads(docker_config.read_text())
    config["auths"] = {other_server.host: config["auths"][server.host]}
    docker_config.write_text(json.dumps(config))
    with pytest.raises(RegistryError, match="refuses to let us in"):
        make_client(docker_config=docker_config).tags("team/app")
    assert [seen.authorization for seen in server.seen] == [None]


def test_netrc_is_not_read(
    server: FaultyRegistry, client: RegistryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client.tags("team/app")
    assert [seen.authorization for seen in server.seen] == [None]


def test_a_token_is_fetched_anonymously_where_there_are_no_credentials(server: FaultyRegistry, client: RegistryClient) -> None:
    server.token_realm = f"{server.url}/token"
    put_and_get(client, server)
    assert tokens(server) == [None, None]


def test_one_token_serves_many_requests_until_it_expires(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.token_realm = f"{server.url}/token"
    for _ in range(3):
        client.tags("team/app")
    assert len(tokens(server)) == 1
    time.now += server.token_lifetime
    client.tags("team/app")
    assert len(tokens(server)) == 2


def test_a_token_that_is_refused_before_its_time_is_replaced(server: FaultyRegistry, client: RegistryClient) -> None:
    server.token_realm = f"{server.url}/token"
    client.tags("team/app")
    server.granted.clear()
    client.tags("team/app")
    assert len(tokens(server)) == 2


def test_a_token_for_pulling_is_not_used_for_pushing(server: FaultyRegistry, client: RegistryClient) -> None:
    server.token_realm = f"{server.url}/token"
    client.tags("team/app")
    client.put_manifest("team/app", EMPTY, "1.0")
    assert list(server.granted.values()) == [("repository:team/app:pull",), ("repository:team/app:pull,push",)]


def test_insufficient_scope_is_answered_with_a_wider_token(server: FaultyRegistry, client: RegistryClient) -> None:
    server.token_realm = f"{server.url}/token"
    demand = f'Bearer realm="{server.url}/token",service="test",scope="repository:team/base:pull",error="insufficient_scope"'
    client.tags("team/app")
    server.fault("GET", "tags", answer(401, WWW_Authenticate=demand))
    client.tags("team/app")
    assert list(server.granted.values())[-1] == ("repository:team/app:pull", "repository:team/base:pull")


def test_a_scope_that_is_never_granted_ends_in_an_error(server: FaultyRegistry, client: RegistryClient) -> None:
    server.token_realm = f"{server.url}/token"
    demand = f'Bearer realm="{server.url}/token",scope="repository:team/base:pull",error="insufficient_scope"'
    server.fault("GET", "tags", *[answer(401, WWW_Authenticate=demand)] * 10)
    with pytest.raises(RegistryError, match="refuses to let us in"):
        client.tags("team/app")
    assert len(server.requests("GET", "tags")) == 3


def test_a_token_service_on_another_host_gets_this_hosts_credentials_and_no_bearer(
    server: FaultyRegistry, other_server: FaultyRegistry, make_client: ClientMaker, docker_config: Path
) -> None:
    server.token_realm = f"{other_server.url}/token"
    server.granted = other_server.granted
    other_server.token_users = {"ann": "secret"}
    put_and_get(make_client(docker_config=docker_config), server)
    assert all(seen.authorization and seen.authorization.startswith("Basic ") for seen in other_server.seen)
    assert not any((seen.authorization or "").startswith("Basic ") for seen in server.seen)


def test_a_token_service_without_tls_elsewhere_is_refused(
    server: FaultyRegistry, make_client: ClientMaker, docker_config: Path
) -> None:
    server.token_realm = "http://tokens.example/token"
    with pytest.raises(RegistryError, match="a token service without TLS"):
        make_client(docker_config=docker_config).tags("team/app")


def test_a_token_service_that_refuses_names_the_scope(
    server: FaultyRegistry, make_client: ClientMaker, docker_config: Path
) -> None:
    server.token_realm = f"{server.url}/token"
    server.token_users = {"ann": "changed"}
    with pytest.raises(RegistryError, match="gives no token for repository:team/app:pull") as caught:
        make_client(docker_config=docker_config).tags("team/app")
    assert "answered 401" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_busy_token_service_is_asked_again(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.token_realm = f"{server.url}/token"
    server.fault("GET", "/token", answer(429, Retry_After="3"))
    client.tags("team/app")
    assert time.waits == [3.0]


def test_an_identity_token_is_exchanged_by_post(server: FaultyRegistry, make_client: ClientMaker, docker_config: Path) -> None:
    server.token_realm = f"{server.url}/token"
    server.token_users = {"nobody": "x"}
    server.identity_tokens = {"refresh-me"}
    docker_config.write_text(json.dumps({"auths": {server.host: {"identitytoken": "refresh-me"}}}))
    put_and_get(make_client(docker_config=docker_config), server)
    assert {seen.method for seen in server.seen if seen.path == "/token"} == {"POST"}


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"token": 5}', b'{"token": "a\\nb"}'])
def test_an_answer_that_is_no_token_is_an_error(server: FaultyRegistry, client: RegistryClient, body: bytes) -> None:
    server.token_realm = f"{server.url}/token"
    server.fault("GET", "/token", answer(200, body))
    with pytest.raises(RegistryError, match="gave no token"):
        client.tags("team/app")


def test_challenges_are_read_with_their_quoting() -> None:
    header = 'Basic realm="a \\"b\\", c", Bearer realm="https://x/t",scope="repository:a:pull,push repository:b:pull"'
    basic, bearer = challenges(header)
    assert (basic.scheme, basic.parameters["realm"]) == ("basic", 'a "b", c')
    assert bearer.parameters == {"realm": "https://x/t", "scope": "repository:a:pull,push repository:b:pull"}
    assert challenges("Negotiate") == challenges("negotiate")


def test_scopes_merge_by_repository() -> None:
    one = ("repository:a:pull",)
    assert merge(one, ("repository:a:pull,push", "repository:b:pull")) == (
        "repository:a:pull,push",
        "repository:b:pull",
    )
