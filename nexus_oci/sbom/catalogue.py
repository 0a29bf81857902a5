"""From a tree of files to the catalogue of what is in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nexus_oci.sbom.debian import debian_packages
from nexus_oci.sbom.languages import built_in, node_packages, python_packages
from nexus_oci.sbom.layers import Tree
from nexus_oci.sbom.model import Catalogue, Package, Subject


def catalogue(subject: Subject, tree: Tree) -> Catalogue:
    """Every package that the tree tells of, one for each purl however often it is there, and every regular file."""
    found = (*debian_packages(tree), *python_packages(tree), *node_packages(tree), *built_in(tree))
    return Catalogue(subject=subject, packages=_united(found), files=tuple(tree.files()))


def _united(packages: Iterable[Package]) -> tuple[Package, ...]:
    """Packages of one purl as one; it is the base's only where every copy is."""
    found: dict[str, Package] = {}
    for package in packages:
        known = found.setdefault(package.purl, package)
        if known is not package:
            found[package.purl] = replace(
                known,
                licence=known.licence or package.licence,
                files=tuple(sorted({*known.files, *package.files})),
                evidence=tuple(sorted({*known.evidence, *package.evidence})),
                in_base=known.in_base and package.in_base,
            )
    return tuple(found[name] for name in sorted(found))
