"""Packages of Python, Node, Go, Rust and Java: from what they leave beside, or inside of, the files themselves."""

from __future__ import annotations

import csv
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from nexus_oci.sbom.layers import Node, Tree
from nexus_oci.sbom.licences import expression
from nexus_oci.sbom.model import Package, Part
from nexus_oci.sbom.purls import purl
from nexus_oci.staging.licences import NODE_PACKAGE, node_licence, python_metadata

_PYTHON: Final = re.compile(r"(?:.*/)?([^/]+)\.(?:dist-info/METADATA|egg-info(?:/PKG-INFO)?)")
_NODE: Final = re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/]+/package\.json")


def python_packages(tree: Tree) -> Iterator[Package]:
    """Installed distributions, with the files that their RECORD lists (recording installed projects, "The RECORD file")."""
    for match, text in tree.texts(_PYTHON):
        about = python_metadata(text)
        if not about.name or not about.version:
            continue
        path = match.string
        folder = posixpath.dirname(path)
        yield Package(
            kind="pypi",
            name=about.name,
            version=about.version,
            purl=purl("pypi", about.name, about.version),
            licence=expression(about.licence),
            supplier=about.author if len(about.author) < 200 else "",
            home=about.home,
            files=tuple(sorted(_recorded(tree, folder) | _below(tree, folder) | {path})),
            evidence=(path,),
            in_base=_in_base(tree, path),
        )


def _recorded(tree: Tree, folder: str) -> set[str]:
    node = tree.nodes.get(f"{folder}/RECORD")
    if node is None or not folder.endswith(".dist-info"):
        return set()
    top = posixpath.dirname(folder)
    lines = node.text.decode("utf-8", "replace").splitlines()
    named = (posixpath.normpath(posixpath.join(top, row[0])) for row in csv.reader(lines) if row and row[0])
    return {path for path in named if _is_file(tree, path)}


def _below(tree: Tree, folder: str) -> set[str]:
    """The files of a metadata folder itself; none where a folder holds more than that."""
    if not folder.endswith((".dist-info", ".egg-info")):
        return set()
    return {path for path, node in tree.nodes.items() if path.startswith(f"{folder}/") and node.file is not None}


def node_packages(tree: Tree) -> Iterator[Package]:
    """Packages in node_modules, each with the files in its folder that are not a further package's."""
    described = {match.string: text for match, text in tree.texts(_NODE) if NODE_PACKAGE.fullmatch(f"/{match.string}")}
    folders = {posixpath.dirname(path) for path in described}
    files: dict[str, list[str]] = {}
    for path, node in tree.nodes.items():
        if node.file is not None and "node_modules/" in path and (owner := _nearest(path, folders)):
            files.setdefault(owner, []).append(path)
    for path, text in described.items():
        data = _json(text)
        name, version = data.get("name"), data.get("version")
        if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
            continue
        scope, _, last = name.rpartition("/")
        yield Package(
            kind="npm",
            name=name,
            version=version,
            purl=purl("npm", last, version, namespace=scope),
            licence=expression(node_licence(data)),
            supplier=_person(data.get("author")),
            home=data["homepage"] if isinstance(data.get("homepage"), str) else "",
            files=tuple(sorted(files.get(posixpath.dirname(path), ()))),
            evidence=(path,),
            in_base=_in_base(tree, path),
        )


def _nearest(path: str, folders: set[str]) -> str:
    while path := path.rpartition("/")[0]:
        if path in folders:
            return path
    return ""


def _json(text: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _person(given: object) -> str:
    """Who made a Node package: a text, or an object with a name (package.json, "people fields")."""
    name = given.get("name") if isinstance(given, dict) else given
    return name if isinstance(name, str) and len(name) < 200 else ""


def built_in(tree: Tree) -> Iterator[Package]:
    """What programs and Java archives say that they are made of."""
    for path, node in sorted(tree.nodes.items()):
        for part in node.parts:
            yield _part(path, node, part)


def _part(path: str, node: Node, part: Part) -> Package:
    namespace, name = part.group, part.name
    if part.kind == "golang":
        namespace, _, name = part.name.rpartition("/")
    return Package(
        kind=part.kind,
        name=f"{part.group}:{part.name}" if part.group else part.name,
        version=part.version,
        purl=purl(part.kind, name, part.version, namespace=namespace),
        licence=part.licence,
        files=(path,) if part.kind == "maven" else (),
        evidence=(path,),
        in_base=node.file is not None and node.file.in_base,
    )


def _is_file(tree: Tree, path: str) -> bool:
    node = tree.nodes.get(path)
    return node is not None and node.file is not None


def _in_base(tree: Tree, path: str) -> bool:
    file = tree.nodes[path].file
    return file is not None and file.in_base
