"""What a Maven repository holds of a library (Maven, «POM Reference», «Repository Layout»; JAR File Specification).

The main jar has the client's classes; a jar for each platform, told by its classifier, has the engine's program as a resource.
Beside them are the sources, the documentation and the pom. `repository_paths` lays them out as a file repository, which Maven
resolves from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final
from xml.sax.saxutils import escape

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.libraries.members import Member, checked
from nexus_oci.formats.libraries.zip_archive import write_zip

CLASSIFIERS: Final[Mapping[str, str]] = {
    "linux/amd64": "linux-x86_64",
    "linux/arm64": "linux-aarch_64",
    "windows/amd64": "windows-x86_64",
    "windows/arm64": "windows-aarch_64",
    "darwin/amd64": "osx-x86_64",
    "darwin/arm64": "osx-aarch_64",
}
"""Platform → classifier, as os-maven-plugin detects it."""
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_POM: Final = "http://maven.apache.org/POM/4.0.0"
_LINE: Final = 72


@dataclass(frozen=True, kw_only=True)
class About:
    """What a library says of itself: its coordinates, and what Maven Central asks for."""

    group: str
    artifact: str
    version: str
    name: str
    description: str = ""
    url: str = ""
    licence: str = ""
    developer: str = ""

    def file_name(self, classifier: str = "", extension: str = "jar") -> str:
        """A file's name, as Maven derives it from the coordinates."""
        return f"{self.artifact}-{self.version}{f'-{classifier}' if classifier else ''}.{extension}"

    @property
    def folder(self) -> str:
        """The folder of its files in a repository."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}"


def native_path(platform: str, program: str) -> tuple[str, str]:
    """The classifier of a platform's jar, and where the program lies in it; raises `DefinitionError` for others."""
    if platform not in CLASSIFIERS:
        raise DefinitionError(
            f"there are no jars for {platform}",
            why="Maven's plugins have no name for it",
            hint=f"known are {', '.join(CLASSIFIERS)}",
        )
    classifier = CLASSIFIERS[platform]
    return classifier, f"META-INF/native/{classifier}/{program}"


def write_jar(out: IO[bytes], main: Mapping[str, str], files: Sequence[Member], epoch: int) -> None:
    """Write a jar: the manifest with its main attributes first, as readers of streams expect it, then the files, sorted."""
    fields = {"Manifest-Version": "1.0", "Created-By": "nexus-oci", **main}
    manifest = b"".join(_folded(f"{name}: {value}") for name, value in fields.items()) + b"\r\n"
    members = checked(files)
    write_zip(out, [Member(path="META-INF/MANIFEST.MF", data=manifest), *members], epoch)


def _folded(line: str) -> bytes:
    """A line of a manifest: of more than 72 bytes the rest goes on in the next ones, after a blank."""
    data = line.encode()
    parts, rest = [data[:_LINE]], data[_LINE:]
    while rest:
        parts.append(b" " + rest[: _LINE - 1])
        rest = rest[_LINE - 1 :]
    return b"\r\n".join(parts) + b"\r\n"


def pom(about: About) -> bytes:
    """The project's description, with what Maven Central asks for."""
    fields = [
        ("groupId", about.group),
        ("artifactId", about.artifact),
        ("version", about.version),
        ("packaging", "jar"),
        ("name", about.name),
        ("description", about.description),
        ("url", about.url),
    ]
    lines = "".join(f"  <{name}>{escape(value)}</{name}>\n" for name, value in fields if value)
    if about.licence:
        lines += f"  <licenses>\n    <license>\n      <name>{escape(about.licence)}</name>\n    </license>\n  </licenses>\n"
    if about.developer:
        name, _, address = about.developer.partition(" <")
        told = f"      <name>{escape(name)}</name>\n"
        told += f"      <email>{escape(address.rstrip('>'))}</email>\n" if address else ""
        lines += f"  <developers>\n    <developer>\n{told}    </developer>\n  </developers>\n"
    schema = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    place = f'xsi:schemaLocation="{_POM} http://maven.apache.org/xsd/maven-4.0.0.xsd"'
    return f'{_HEAD}<project xmlns="{_POM}" {schema} {place}>\n  <modelVersion>4.0.0</modelVersion>\n{lines}</project>\n'.encode()


def repository_paths(about: About, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Small files of a repository by path: `files` by their names, and the checksums that Maven asks for beside each."""
    found: dict[str, bytes] = {}
    for name, data in files.items():
        path = f"{about.folder}/{name}"
        found[path] = data
        found[f"{path}.sha1"] = hashlib.sha1(data, usedforsecurity=False).hexdigest().encode()
        found[f"{path}.sha256"] = hashlib.sha256(data).hexdigest().encode()
    return found
