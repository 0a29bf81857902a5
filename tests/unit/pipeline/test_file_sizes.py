"""Files that are too large for a package are refused by their size, unread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_oci.definition import load
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.file_sizes import size_guard
from nexus_oci.render.context import from_tree

ROOT = Path(__file__).parents[3]
GIB = 1 << 30
NEXUS = """\
engine:
  name: shop
  version: 1.0.0
  maintainer: Ann <ann@shop.example>
  licenses: MIT
  source: source
  runtime: binary
  command: [/usr/lib/shop/shop]
  binary: {trees: {linux/amd64: built/amd64}}
platforms: [linux/amd64]
"""
RUNTIME = """\
distribution: runtime
platforms: [linux/amd64]
formats: [deb, rpm, archlinux]
package:
  files:
    /usr/share/shop: data
    /usr/share/shop.db: {source: index.db, formats: [archlinux]}
"""


@pytest.fixture
def look(tmp_path: Path) -> Callable[[str, int], None]:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/nexus.yaml").write_text(NEXUS)
    (tmp_path / "images/runtime.yaml").write_text(RUNTIME)
    definition = load(tmp_path, defaults=ROOT)
    distribution = definition.distribution("runtime")
    assert distribution is not None
    return size_guard(definition, [(distribution, Platform.parse("linux/amd64"))])


@pytest.mark.parametrize(
    ("path", "installed"), [("data/a/big", "/usr/share/shop/a/big"), ("built/amd64/big", "/usr/lib/shop/big")]
)
def test_a_file_that_an_rpm_cannot_hold_is_refused_with_its_installed_path(
    look: Callable[[str, int], None], path: str, installed: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        look(path, 5 * GIB)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{installed}: its 5368709120 bytes do not fit into rpm, which takes 4294967295")


@pytest.mark.parametrize(
    ("path", "size"), [("data/a/big", 4 * GIB - 1), ("index.db", 50 * GIB), ("else/big", 50 * GIB), ("built/arm64/big", 50 * GIB)]
)
def test_what_is_small_enough_or_in_no_such_package_passes(look: Callable[[str, int], None], path: str, size: int) -> None:
    look(path, size)


def test_a_tree_is_asked_about_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)

    def look(path: str, size: int) -> None:
        raise DefinitionError(f"{path} has {size} bytes")

    with pytest.raises(DefinitionError, match="huge has 1099511627776 bytes"):
        from_tree(tmp_path, "source", look=look)
