"""A NuGet package (docs of NuGet, «.nuspec reference»): an OPC zip (ECMA-376, part 2) with the client's source and the programs.

Programs lie under `runtimes/<rid>/native`, where .NET's tools look for what a platform needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final
from xml.sax.saxutils import escape, quoteattr

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.libraries.members import Member, checked
from nexus_oci.formats.libraries.zip_archive import write_zip

RIDS: Final[Mapping[str, str]] = {
    "linux/amd64": "linux-x64",
    "linux/arm64": "linux-arm64",
    "windows/amd64": "win-x64",
    "windows/arm64": "win-arm64",
    "darwin/amd64": "osx-x64",
    "darwin/arm64": "osx-arm64",
}
"""Platform → .NET's runtime identifier."""
_NUSPEC: Final = "http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"
_RELATIONS: Final = "http://schemas.openxmlformats.org/package/2006/relationships"
_TYPES: Final = "http://schemas.openxmlformats.org/package/2006/content-types"
_CORE: Final = "http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>\n'
_PACKAGES: Final = 100


@dataclass(frozen=True, kw_only=True)
class About:
    """What a package says of itself; `licence` is an SPDX expression, `readme` the path of a Markdown file in it."""

    identifier: str
    version: str
    authors: str
    description: str
    url: str = ""
    licence: str = ""
    readme: str = ""
    tags: Sequence[str] = ()


def native_path(platform: str, program: str) -> str:
    """Where the program of a platform lies; raises `DefinitionError` where .NET has no identifier for it."""
    if platform not in RIDS:
        raise DefinitionError(
            f"there is no NuGet content for {platform}", why=".NET has no identifier for it", hint=f"known are {', '.join(RIDS)}"
        )
    return f"runtimes/{RIDS[platform]}/native/{program}"


def file_name(about: About) -> str:
    """What `nuget pack` calls the file."""
    return f"{about.identifier}.{about.version}.nupkg"


def nuspec(about: About) -> bytes:
    """The manifest."""
    fields = [
        ("id", about.identifier),
        ("version", about.version),
        ("authors", about.authors),
        ("requireLicenseAcceptance", "false"),
        ("description", about.description),
        ("projectUrl", about.url),
        ("readme", about.readme),
        ("tags", " ".join(about.tags)),
    ]
    lines = "".join(f"    <{name}>{escape(value)}</{name}>\n" for name, value in fields if value)
    if about.licence:
        lines += f'    <license type="expression">{escape(about.licence)}</license>\n'
    return f'{_HEAD}<package xmlns="{_NUSPEC}">\n  <metadata>\n{lines}  </metadata>\n</package>\n'.encode()


def write_package(out: IO[bytes], about: About, files: Sequence[Member], epoch: int) -> None:
    """Write the package of its files, whose paths are the package's; raises `ArchiveError` for paths that Windows cannot have."""
    name = f"{about.identifier}.nuspec"
    core = _core_properties(about)
    properties = f"package/services/metadata/core-properties/{hashlib.sha256(core).hexdigest()[:32]}.psmdcp"
    members = checked([*files, Member(path=name, data=nuspec(about))], room=_PACKAGES)
    own = [
        Member(path="_rels/.rels", data=_relations(name, properties)),
        Member(path="[Content_Types].xml", data=_content_types([*(member.path for member in members), properties])),
    ]
    write_zip(out, [*own, *members, Member(path=properties, data=core)], epoch)


def _relations(manifest: str, properties: str) -> bytes:
    kinds = (
        ("http://schemas.microsoft.com/packaging/2010/07/manifest", manifest),
        (f"{_RELATIONS}/metadata/core-properties", properties),
    )
    lines = "".join(
        f'  <Relationship Type="{kind}" Target="/{target}" Id="R{hashlib.sha256(target.encode()).hexdigest()[:16]}" />\n'
        for kind, target in kinds
    )
    return f'{_HEAD}<Relationships xmlns="{_RELATIONS}">\n{lines}</Relationships>\n'.encode()


def _content_types(paths: Sequence[str]) -> bytes:
    """Every extension, and every file without one, has to have a content type."""
    known = {"rels": "application/vnd.openxmlformats-package.relationships+xml"}
    known["psmdcp"] = "application/vnd.openxmlformats-package.core-properties+xml"
    extensions = {path.rpartition("/")[2].rpartition(".")[2] for path in paths if "." in path.rpartition("/")[2]}
    plain = sorted(path for path in paths if "." not in path.rpartition("/")[2])
    lines = [
        f'  <Default Extension={quoteattr(one)} ContentType="{known.get(one, "application/octet")}" />\n'
        for one in sorted({*extensions, *known})
    ]
    lines += [f'  <Override PartName={quoteattr(f"/{path}")} ContentType="application/octet" />\n' for path in plain]
    return f'{_HEAD}<Types xmlns="{_TYPES}">\n{"".join(lines)}</Types>\n'.encode()


def _core_properties(about: About) -> bytes:
    fields = (
        f"  <dc:creator>{escape(about.authors)}</dc:creator>\n  <dc:description>{escape(about.description)}</dc:description>\n"
        f"  <dc:identifier>{escape(about.identifier)}</dc:identifier>\n  <version>{escape(about.version)}</version>\n"
        f"  <keywords>{escape(' '.join(about.tags))}</keywords>\n  <lastModifiedBy>nexus-oci</lastModifiedBy>\n"
    )
    spaces = 'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/"'
    spaces += ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    return f'{_HEAD}<coreProperties {spaces} xmlns="{_CORE}">\n{fields}</coreProperties>\n'.encode()
