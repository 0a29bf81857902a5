"""What a Java archive says of itself, and of the archives in it.

Maven leaves `pom.properties`, and beside it `pom.xml`, whose licences count. An archive without them is known by its file's name,
as a repository of Maven has it (`ARTIFACT-VERSION.jar`), else by its manifest (JAR file specification; OSGi core, chapter 3).
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import IO, Final

from nexus_oci.sbom.licences import declared
from nexus_oci.sbom.model import Part

JAVA: Final = frozenset({".jar", ".war", ".ear"})
_MOST_INFLATED: Final = 64 << 20
"""Bytes of one member that are unpacked."""
_DEEPEST: Final = 3
"""Archives in archives in archives: a Spring Boot EAR."""
_NAMED: Final = re.compile(r"(.+)-(\d[^-]*(?:-[A-Za-z][^-]*)?)")
_LICENCE: Final = re.compile(r"<license>(.*?)</license>", re.DOTALL)
_WORD: Final = re.compile(r"<(name|url)>\s*([^<]*?)\s*</")


def java_parts(stem: str, file: IO[bytes], depth: int = 1) -> Iterator[Part]:
    """The archive called `stem` and a suffix, and the archives in it; nothing where it is damaged, or is no archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist() if member.file_size <= _MOST_INFLATED}
            values = _manifest(archive, members)
            found = list(_maven(archive, members)) or [_by_name(stem, values)]
            if len(found) == 1 and not found[0].licence:
                found = [replace(found[0], licence=_bundle_licence(values.get("Bundle-License", "")))]
            yield from found
            for name, member in members.items():
                if depth < _DEEPEST and PurePosixPath(name).suffix in JAVA:
                    inner = io.BytesIO(archive.read(member))
                    yield from java_parts(PurePosixPath(name).stem, inner, depth + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, ValueError):
        return


def _maven(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> Iterator[Part]:
    """What Maven says; an archive into which others were unpacked says it of each."""
    for name, member in members.items():
        if name.startswith("META-INF/maven/") and name.endswith("/pom.properties"):
            values = _properties(archive.read(member), "=")
            if values.get("artifactId"):
                pom = members.get(name.replace("/pom.properties", "/pom.xml"))
                yield Part(
                    kind="maven",
                    name=values["artifactId"],
                    version=values.get("version", ""),
                    group=values.get("groupId", ""),
                    licence=_pom_licence(archive.read(pom)) if pom else "",
                )


def _pom_licence(pom: bytes) -> str:
    """The licences of a project (POM reference, "Licenses"), of which the user may choose; nothing where a parent has them."""
    found = []
    for entry in _LICENCE.findall(pom.decode("utf-8", "replace")):
        words = {key: value for key, value in _WORD.findall(entry) if value}
        found.append(declared(words.get("name", "")) or declared(words.get("url", "")))
    return " OR ".join(dict.fromkeys(filter(None, found))) if all(found) else ""


def _manifest(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> dict[str, str]:
    """The main section of the archive's manifest, where it has one."""
    manifest = members.get("META-INF/MANIFEST.MF")
    text = archive.read(manifest).replace(b"\r\n", b"\n").replace(b"\n ", b"") if manifest else b""
    return _properties(text.partition(b"\n\n")[0], ":")


def _by_name(stem: str, values: Mapping[str, str]) -> Part:
    named = _NAMED.fullmatch(stem)
    said = values.get("Bundle-SymbolicName", "").partition(";")[0].strip() or values.get("Implementation-Title", "")
    return Part(
        kind="maven",
        name=named[1] if named else said or stem,
        version=named[2] if named else values.get("Bundle-Version") or values.get("Implementation-Version", ""),
        group=values.get("Implementation-Vendor-Id", ""),
    )


def _bundle_licence(text: str) -> str:
    """OSGi's header: names or addresses, each perhaps with more after a semicolon (core, 3.2.1.11)."""
    found = [declared(each.partition(";")[0].strip(" \"'")) for each in text.split(",") if each.strip()]
    return " OR ".join(dict.fromkeys(filter(None, found))) if all(found) else ""


def _properties(data: bytes, sign: str) -> dict[str, str]:
    lines = (line.partition(sign) for line in data.decode("utf-8", "replace").splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip() for key, found, value in lines if found}
