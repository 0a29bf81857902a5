"""Registries on bad days: absent, closed, busy, breaking. Nothing is named that is not whole, and a message says what to do."""

from __future__ import annotations

import re
import signal
import socket

import pytest

from tests.integration.conftest import Reference
from tests.support.faulty_registry import FaultyRegistry, answer, faulty_registry, reset_after
from tests.support.projects import Layout, Project
from tests.support.relay import relay_to_host

pytestmark = pytest.mark.integration


def tags_of(registry: FaultyRegistry) -> dict[str, str]:
    return {
        f"{name}:{tag}": digest for name, repository in registry.repositories.items() for tag, digest in repository.tags.items()
    }


def test_a_registry_that_nobody_serves_is_named(reference: Reference) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
    said = reference.project.run("push", f"{host}/team", "--plain-http").refused(5)
    assert host in said
    assert "refused" in said


@pytest.mark.parametrize(("status", "word"), [(401, "docker login"), (403, "forbids"), (500, "500")], ids=["401", "403", "500"])
def test_a_registry_that_refuses_is_named_and_nothing_is_tagged(reference: Reference, status: int, word: str) -> None:
    extra = {"WWW_Authenticate": 'Basic realm="test"'} if status == 401 else {}
    with faulty_registry() as registry:
        for method in ("POST", "PUT", "PATCH"):
            registry.fault(method, r"/blobs/uploads/", *[answer(status, Retry_After="0", **extra)] * 1000)
        said = reference.project.run("push", f"{registry.host}/team", "--plain-http", "--jobs", "1").refused(5)
        assert registry.host in said
        assert re.search(word, said), said
        assert tags_of(registry) == {}


def test_a_busy_and_stumbling_registry_gets_everything_in_the_end(reference: Reference) -> None:
    with faulty_registry() as registry:
        registry.fault("POST", r"/blobs/uploads/", answer(429, Retry_After="0"), answer(429, Retry_After="0"))
        for method in ("PUT", "PATCH"):
            registry.fault(method, r"/blobs/uploads/", reset_after(100_000), answer(500), answer(503, Retry_After="0"))
        registry.fault("PUT", r"/manifests/", answer(502))
        reference.project.done("push", f"{registry.host}/team", "--plain-http")
        assert registry.repository("team/releases").tags == {"1.0.0": reference.digest}
        reference.project.done("verify", f"{registry.host}/team/releases:1.0.0", "--plain-http")


def test_a_damaged_blob_is_never_pushed(reference: Reference, built: Project) -> None:
    store = Layout(built.dist / "oci")
    layer = store.images("engine:1.0.0")["linux/arm64"].layers[-1]
    path = store.path(layer)
    path.write_bytes(path.read_bytes()[:-100])
    with faulty_registry() as registry:
        said = built.run("push", f"{registry.host}/team", "--plain-http").refused(4)
        assert layer in said or layer[7:19] in said
        assert tags_of(registry) == {}


def test_an_interrupted_push_ends_at_once_and_names_nothing(reference: Reference) -> None:
    """Even while the registry takes nothing any more."""
    with faulty_registry() as registry, relay_to_host(registry.host) as (relay, host):
        moved = 0

        def count(block: bytes) -> None:
            nonlocal moved
            moved += len(block)
            if moved > 2_000_000:
                relay.freeze()

        relay.on_request = count
        with reference.project.start("push", f"{host}/team", "--plain-http", "--jobs", "2") as push:
            assert relay.wait_until_frozen(60)
            push.send_signal(signal.SIGINT)
            finished = reference.project.finish(push, "push")
        assert finished.code == 130, finished.story()
        assert "interrupted" in finished.err
        assert tags_of(registry) == {}
