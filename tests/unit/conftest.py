"""Unit tests reach no network; nothing but the file system's sockets and, for clients of registries, this machine's loopback."""

from __future__ import annotations

import pytest
from pytest_socket import disable_socket, socket_allow_hosts

_SERVERS = {
    "registry": ["127.0.0.0/8", "::1"],
    "mirroring": ["127.0.0.0/8", "::1"],
    "transfer": ["127.0.0.0/8", "::1"],
    "docker_engine": [],
}
"""The folders whose tests run servers of their own, and the addresses that they may connect to beside files."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """After pytest-socket's own hook, so that no mark opens the network again; its teardown takes the guards away."""
    folder = item.path.parent.name
    if folder in _SERVERS:
        socket_allow_hosts(_SERVERS[folder], allow_unix_socket=True)
    else:
        disable_socket(allow_unix_socket=True)
