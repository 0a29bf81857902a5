"""A store with a release, and bundles out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundles import Maker, maker


@pytest.fixture
def made(tmp_path: Path) -> Maker:
    return maker(tmp_path)
