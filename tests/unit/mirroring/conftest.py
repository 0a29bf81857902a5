"""What the mirror's tests share: registries in memory, and releases to bring from one to another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nexus_oci.oci.store import Store
from tests.support.faulty_registry import FaultyRegistry, faulty_registry
from tests.unit.mirroring.kit import Mirrors


@pytest.fixture
def servers() -> Iterator[tuple[FaultyRegistry, FaultyRegistry, FaultyRegistry]]:
    """A source and two destinations."""
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(faulty_registry()) for _ in range(3))
        yield first, second, third


@pytest.fixture
def mirrors(servers: tuple[FaultyRegistry, FaultyRegistry, FaultyRegistry], tmp_path: Path) -> Iterator[Mirrors]:
    made = Mirrors(servers=servers, folder=tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Where the source's content is made."""
    return Store.create(tmp_path / "made")
