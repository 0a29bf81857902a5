"""npm packages: one that has the client, and one for each platform that has the engine's program.

The first names the others as `optionalDependencies` of its own version; each of those says for which `os` and `cpu` it is, so
that npm brings the one that fits and passes over the rest. A package is a gzipped tar (ustar) with everything under `package/`.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.libraries.members import Member, checked

SYSTEMS: Final[Mapping[str, tuple[str, str]]] = {
    "linux/amd64": ("linux", "x64"),
    "linux/arm64": ("linux", "arm64"),
    "windows/amd64": ("win32", "x64"),
    "windows/arm64": ("win32", "arm64"),
    "darwin/amd64": ("darwin", "x64"),
    "darwin/arm64": ("darwin", "arm64"),
}
"""Platform → what Node calls its system and processor."""
_TOP: Final = "package"
_NODE_MODULES: Final = 120


@dataclass(frozen=True, kw_only=True)
class About:
    """What a package says of itself. `name` may have a scope, `@nexus/engine`; `version` is semver's."""

    name: str
    version: str
    description: str = ""
    author: str = ""
    homepage: str = ""
    licence: str = ""
    node: str = ">=18"
    exports: Mapping[str, Any] = field(default_factory=dict)


def platform_name(about: About, platform: str) -> str:
    """The name of the package with the program of one platform; raises `DefinitionError` where Node has no name for it."""
    system, cpu = _system(platform)
    return f"{about.name}-{system}-{cpu}"


def file_name(name: str, version: str) -> str:
    """What `npm pack` calls a package's file."""
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def client_manifest(about: About, platforms: Sequence[str]) -> bytes:
    """package.json of the package with the client."""
    optional = {platform_name(about, platform): about.version for platform in sorted(platforms)}
    return _document(about, about.name, {**about.exports, "optionalDependencies": optional, "engines": {"node": about.node}})


def platform_manifest(about: About, platform: str) -> bytes:
    """package.json of the package with the program of one platform."""
    system, cpu = _system(platform)
    more = {"os": [system], "cpu": [cpu], "preferUnplugged": True, "engines": {"node": about.node}}
    return _document(about, platform_name(about, platform), more)


def write_package(out: IO[bytes], manifest: bytes, files: Sequence[Member], epoch: int) -> None:
    """Write a package of its package.json and files, each with the time `epoch`; raises `ArchiveError` for impossible paths."""
    members = checked([*files, Member(path="package.json", data=manifest)], room=_NODE_MODULES)
    with (
        gzip.GzipFile("", "wb", 9, out, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for member in members:
            entry = tarfile.TarInfo(f"{_TOP}/{member.path}")
            entry.size, entry.mtime = member.size, epoch
            entry.mode = 0o755 if member.executable else 0o644
            if member.data is not None:
                archive.addfile(entry, io.BytesIO(member.data))
            elif member.file is not None:
                with member.file.open("rb") as file:
                    archive.addfile(entry, file)


def _system(platform: str) -> tuple[str, str]:
    if platform not in SYSTEMS:
        raise DefinitionError(
            f"there are no npm packages for {platform}", why="Node has no name for it", hint=f"known are {', '.join(SYSTEMS)}"
        )
    return SYSTEMS[platform]


def _document(about: About, name: str, more: Mapping[str, Any]) -> bytes:
    fields = {
        "name": name,
        "version": about.version,
        "description": about.description,
        "license": about.licence or "UNLICENSED",
        "author": about.author,
        "homepage": about.homepage,
    }
    document = {key: value for key, value in fields.items() if value} | dict(more)
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
