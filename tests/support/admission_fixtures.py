"""The signed site that tests of admission share. A plugin of its own, as nothing may import a plugin before pytest does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.admission_site import Site, signed_site


@pytest.fixture(scope="session")
def site(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A release that is signed and, on another host, mirrored."""
    from tests.support.registry import running_registry

    with running_registry() as second, signed_site(tmp_path_factory.mktemp("site"), registry, second.host) as made:
        yield made
