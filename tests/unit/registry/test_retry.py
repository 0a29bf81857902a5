"""Waiting: how long, and when no longer."""

from __future__ import annotations

import pytest

from nexus_oci.errors import RegistryError
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.retry import retry_after
from tests.support.faulty_registry import LOOPBACK, FaultyRegistry, answer
from tests.unit.registry.kit import Time

pytestmark = LOOPBACK


def test_a_busy_registry_is_asked_again_after_growing_waits(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.fault("GET", "tags", answer(503), answer(502), answer(504))
    assert client.tags("team/app") == ()
    assert time.waits == [0.5, 1.0, 2.0]


def test_retry_after_is_obeyed(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.fault("GET", "tags", answer(429, Retry_After="17"))
    assert client.tags("team/app") == ()
    assert time.waits == [17.0]


def test_a_wait_beyond_the_budget_is_an_error_at_once(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.fault("GET", "tags", answer(429, Retry_After="3600"))
    with pytest.raises(RegistryError, match="answered 429 while listing tags") as caught:
        client.tags("team/app")
    assert "asks for a wait of 3600 s" in str(caught.value)
    assert "fewer requests" in str(caught.value)
    assert time.waits == []


def test_many_allowed_waits_do_not_add_up_beyond_the_budget(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.fault("GET", "tags", *[answer(429, Retry_After="50")] * 10)
    with pytest.raises(RegistryError, match="answered 429"):
        client.tags("team/app")
    assert time.waits == [50.0, 50.0]


def test_what_cannot_pass_is_not_tried_again(server: FaultyRegistry, client: RegistryClient, time: Time) -> None:
    server.fault("GET", "tags", answer(400, b'{"errors":[{"code":"NAME_INVALID","message":"bad\\u001b[31m name"}]}'))
    with pytest.raises(RegistryError, match="answered 400") as caught:
        client.tags("team/app")
    assert "NAME_INVALID: bad [31m name" in str(caught.value)
    assert time.waits == []


def test_retry_after_may_be_a_date(time: Time) -> None:
    time.now = 1_000_000_000.0
    assert retry_after("Sun, 09 Sep 2001 01:47:00 GMT", time.pace) == 20.0
    assert retry_after("Sun, 09 Sep 2001 01:40:00 GMT", time.pace) == 0.0
    assert retry_after("soon", time.pace) is None
    assert retry_after(None, time.pace) is None
