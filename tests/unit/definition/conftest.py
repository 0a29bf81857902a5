"""A small project on disk, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_oci.definition import load
from nexus_oci.definition.definition import Definition
from nexus_oci.errors import DefinitionError

Write = Callable[..., Path]

NEXUS = """\
engine:
  name: shop
  version: 1.0.0
  source: .
  runtime: python
  command: [python3, server.py]
"""
CONTAINER = "distribution: container\n"
BASES = """\
bases:
  static: {debian: {suite: trixie, packages: [base-files]}}
  python: {debian: {suite: trixie, packages: [python3]}}
  node: {debian: {suite: trixie, packages: [nodejs]}}
  go-build: {for: build, debian: {suite: trixie, packages: [golang-go]}}
"""


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A folder with the bases that a program would ship."""
    folder = tmp_path / "shipped"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "bases.yaml").write_text(BASES)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Write:
    """Writes a project: `nexus` and `container` stand for the two files, other files by their path; returns its folder."""

    def write(nexus: str | bytes = NEXUS, container: str | bytes | None = CONTAINER, files: dict[str, str] | None = None) -> Path:
        root = tmp_path / "project"
        (root / "images").mkdir(parents=True, exist_ok=True)
        for name, content in {"nexus": nexus, "container": container}.items():
            if content is not None:
                data = content if isinstance(content, bytes) else content.encode()
                (root / "images" / f"{name}.yaml").write_bytes(data)
        for name, text in (files or {}).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    return write


@pytest.fixture
def loaded(project: Write, shipped: Path) -> Callable[..., Definition]:
    """Writes a project and loads it."""
    return lambda *args, **kwargs: load(project(*args, **kwargs), defaults=shipped)


@pytest.fixture
def problems(project: Write, shipped: Path) -> Callable[..., tuple[str, ...]]:
    """Writes a project and returns all that is wrong with it."""

    def find(*args: object, **kwargs: object) -> tuple[str, ...]:
        with pytest.raises(DefinitionError) as caught:
            load(project(*args, **kwargs), defaults=shipped)
        assert caught.value.exit_code == 2
        return caught.value.problems

    return find
