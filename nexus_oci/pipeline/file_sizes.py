"""Refuses a file that is too large for a package by its size alone, before gigabytes are read for nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from nexus_oci.pipeline.package_checks import refuse
from nexus_oci.pipeline.package_values import declared_files
from nexus_oci.pipeline.packaging import packagers
from nexus_oci.pipeline.surroundings import engine_home
from nexus_oci.staging.checks import check_items
from nexus_oci.staging.tree import Item

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.oci.values import Platform


def size_guard(definition: Definition, wanted: Iterable[tuple[Distribution, Platform]]) -> Callable[[str, int], None]:
    """What is to be called with the path and the size of each file of the source.

    It raises `DefinitionError` for one that the definition puts into a package and that a format of it cannot hold.
    """
    placed = {place for distribution, platform in wanted for place in _placed(definition, distribution, platform)}

    def look(path: str, size: int) -> None:
        for origin, target, packager in placed if size >= _SMALLEST else ():
            if origin in (".", path) or path.startswith(f"{origin}/"):
                inside = path if origin == "." else posixpath.relpath(path, origin)
                item = Item(path=posixpath.normpath(posixpath.join(target, inside)), kind="file", size=size)
                refuse(str(problem) for problem in check_items([item], [packager]))

    return look


_SMALLEST = 1 << 30
"""Bytes of a file that may be too large for some format."""


def _placed(definition: Definition, distribution: Distribution, platform: Platform) -> set[tuple[str, str, str]]:
    """What of the source goes where in which format."""
    found = set()
    for packager in packagers(definition, distribution):
        files = declared_files(distribution, packager).items()
        found |= {(file.source, target, packager) for target, (file, _) in files if file.source}
        tree = definition.engine.binary.trees.get(str(platform)) if definition.engine.runtime == "binary" else None
        if tree:
            found.add((tree, engine_home(definition.engine), packager))
    return found
