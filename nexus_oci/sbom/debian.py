"""Packages that dpkg knows of: from its status file, or from status.d, where small images without dpkg have them.

deb-control(5). A base made by this program has one stanza and one list of checksums a package in var/lib/dpkg/status.d.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from nexus_oci.sbom.layers import Tree
from nexus_oci.sbom.licences import debian_copyright
from nexus_oci.sbom.model import Package
from nexus_oci.sbom.purls import purl

_STATUS: Final = re.compile(r"var/lib/dpkg/status(?:\.d/(?!.*\.md5sums\Z)[^/]+)?")
_OWNED: Final = re.compile(r"var/lib/dpkg/(?:status\.d|info)/([^/:]+)(?::[^/]+)?\.(md5sums|list)")
_RELEASE: Final = re.compile(r"(?:etc|usr/lib)/os-release")


def debian_packages(tree: Tree) -> Iterator[Package]:
    """Every installed package, with its licence from its copyright file, and the files that it brought."""
    system = _system(tree)
    owned = _owned(tree)
    for match, text in tree.texts(_STATUS):
        for stanza in _stanzas(text):
            name, version = stanza.get("package", ""), stanza.get("version", "")
            if name and version and stanza.get("status", "x x installed").endswith(" installed"):
                yield _package(tree, match.string, stanza, owned.get(name, set()), system)


def _package(tree: Tree, status: str, stanza: Mapping[str, str], owned: set[str], system: Mapping[str, str]) -> Package:
    name = stanza["package"]
    copyright_file = tree.real(f"usr/share/doc/{name}/copyright")
    node = tree.nodes.get(copyright_file)
    licence = debian_copyright(node.text.decode("utf-8", "replace")) if node is not None and node.file else ""
    files = set(owned)
    if copyright_file == f"usr/share/doc/{name}/copyright" and node is not None and node.file:
        files.add(copyright_file)
    if "status.d/" in status:
        files |= {path for path in (status, f"{status}.md5sums") if path in tree.nodes}
    place = tree.nodes[status].file
    distribution = system.get("ID", "debian")
    return Package(
        kind="deb",
        name=name,
        version=stanza["version"],
        purl=purl(
            "deb",
            name,
            stanza["version"],
            namespace=distribution,
            arch=stanza.get("architecture", ""),
            distro=f"{distribution}-{system['VERSION_ID']}" if system.get("VERSION_ID") else "",
            upstream=_upstream(stanza),
        ),
        licence=licence,
        supplier=stanza.get("maintainer", ""),
        home=stanza.get("homepage", ""),
        files=tuple(sorted(files)),
        evidence=(status,),
        in_base=place is not None and place.in_base,
    )


def _upstream(stanza: Mapping[str, str]) -> str:
    """The source package, and its version where that is another: what Debian's security tracker speaks of."""
    match = re.fullmatch(r"(\S+)(?:\s+\((\S+)\))?", stanza.get("source", ""))
    if match is None:
        return ""
    return f"{match[1]}@{match[2]}" if match[2] else match[1]


def _owned(tree: Tree) -> dict[str, set[str]]:
    """Package → the regular files that it brought, at the paths where they are."""
    found: dict[str, set[str]] = {}
    for match, text in tree.texts(_OWNED):
        paths = found.setdefault(match[1], set())
        for line in text.splitlines():
            given = line[34:] if match[2] == "md5sums" else line.lstrip("/")
            path = given if given in tree.nodes else tree.real(given)
            node = tree.nodes.get(path)
            if node is not None and node.file is not None:
                paths.add(path)
    return found


def _system(tree: Tree) -> dict[str, str]:
    """os-release(5)."""
    found: dict[str, str] = {}
    for _, text in tree.texts(_RELEASE):
        for line in text.splitlines():
            key, sign, value = line.partition("=")
            if sign:
                found[key.strip()] = value.strip().strip("\"'")
    return found


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The fields of each stanza, by their names in lower case; of a field that goes on over lines, the first one."""
    for block in re.split(r"\n[ \t]*\n", text):
        fields = (line.partition(":") for line in block.splitlines() if line and not line[0].isspace())
        yield {name.strip().lower(): value.strip() for name, sign, value in fields if sign}
