"""Unit tests reach no network: no socket but those of the file system, and, for clients of registries, this machine's loopback."""

from __future__ import annotations

import pytest
from pytest_socket import disable_socket, socket_allow_hosts

LOOPBACK = ["127.0.0.0/8", "::1"]
_SERVED = ("registry", "transfer")
"""The folders whose tests run servers of their own on the loopback."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """After pytest-socket's own hook, so that no mark opens the network again; its teardown takes the guards away."""
    if item.path.parent.name in _SERVED:
        socket_allow_hosts(LOOPBACK, allow_unix_socket=True)
    else:
        disable_socket(allow_unix_socket=True)
