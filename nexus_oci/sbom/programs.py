"""What a program or a Java archive says of the parts that were built into it.

Go: the build information (`go version -m`). Rust: the section `.dep-v0` that `cargo auditable` writes (its PARSING.md), in ELF
files. Java: `pom.properties` of Maven, else the manifest's Implementation-Title; archives in archives too.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, Final, cast

from nexus_oci.sbom.model import Kind
from nexus_oci.staging.licences import go_build

_PROGRAMS: Final = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_ZIP: Final = b"PK\x03\x04"
_JAVA: Final = frozenset({".jar", ".war", ".ear"})
_MOST_SECTION: Final = 8 << 20
_MOST_INFLATED: Final = 64 << 20
"""Bytes of one member of a Java archive, or of a dependency list, that are unpacked."""
_DEEPEST: Final = 3
"""Archives in archives in archives: a Spring Boot EAR."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a program: `group` is a Maven group, `checksum` Go's `h1:` sum."""

    kind: Kind
    name: str
    version: str
    group: str = ""
    licence: str = ""
    checksum: str = ""


def is_program(name: str, head: bytes) -> bool:
    """Whether a file that begins so may have parts to tell of."""
    return head.startswith(_PROGRAMS) or (head.startswith(_ZIP) and PurePosixPath(name).suffix in _JAVA)


def parts_of(name: str, file: IO[bytes]) -> tuple[Part, ...]:
    """The parts of a program or Java archive, sorted; none where it does not tell."""
    is_java = PurePosixPath(name).suffix in _JAVA
    found = list(_java(PurePosixPath(name).stem, file, 1)) if is_java else [*_go(file), *_rust(file)]
    return tuple(sorted(set(found), key=lambda part: (part.kind, part.group, part.name, part.version)))


def _go(file: IO[bytes]) -> Iterator[Part]:
    file.seek(0)
    build = go_build(cast(BinaryIO, file))
    if build is None:
        return
    yield Part(kind="golang", name="stdlib", version=build.version, licence="BSD-3-Clause")
    for module in (build.main, *build.modules):
        if module is not None:
            version = "" if module.version == "(devel)" else module.version
            yield Part(kind="golang", name=module.path, version=version, checksum=module.checksum)


def _rust(file: IO[bytes]) -> Iterator[Part]:
    section = _elf_section(file, b".dep-v0")
    try:
        data = json.loads(_inflated(section)) if section else {}
        packages = [package for package in data.get("packages", ()) if package.get("kind", "runtime") == "runtime"]
        for package in packages:
            yield Part(kind="cargo", name=str(package["name"]), version=str(package["version"]))
    except (ValueError, KeyError, AttributeError, TypeError, zlib.error, RecursionError):
        return


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _MOST_INFLATED)


def _elf_section(file: IO[bytes], wanted: bytes) -> bytes:
    """The content of a section of an ELF file (gABI, "Sections"); nothing where there is none, or the file is no ELF file."""
    try:
        file.seek(0)
        ident = file.read(64)
        if ident[:4] != b"\x7fELF" or len(ident) < 52:
            return b""
        order = "<" if ident[5] == 1 else ">"
        wide = ident[4] == 2
        table, entry_size, count, names = (
            struct.unpack_from(f"{order}Q10xHHH", ident, 40)[0],
            *struct.unpack_from(f"{order}HHH", ident, 58),
        ) if wide else (struct.unpack_from(f"{order}I", ident, 32)[0], *struct.unpack_from(f"{order}HHH", ident, 46))  # fmt: skip
        form = f"{order}IIQQQQ" if wide else f"{order}IIIIII"
        file.seek(table)
        raw = file.read(entry_size * count)
        headers = [struct.unpack_from(form, raw, number * entry_size) for number in range(count)]
        texts = _at(file, headers[names])
        for header in headers:
            if texts[header[0] :].partition(b"\0")[0] == wanted:
                return _at(file, header)
    except (struct.error, IndexError, OverflowError, ValueError):
        return b""
    return b""


def _at(file: IO[bytes], header: tuple[int, ...]) -> bytes:
    file.seek(header[4])
    return file.read(min(header[5], _MOST_SECTION))


def _java(stem: str, file: IO[bytes], depth: int) -> Iterator[Part]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.file_size <= _MOST_INFLATED]
            own = list(_maven(archive, members)) or list(_manifest(stem, archive, members))
            yield from own
            for member in members:
                if depth < _DEEPEST and PurePosixPath(member.filename).suffix in _JAVA:
                    inner = io.BytesIO(archive.read(member))
                    yield from _java(PurePosixPath(member.filename).stem, inner, depth + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, ValueError):
        return


def _maven(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> Iterator[Part]:
    for member in members:
        if member.filename.startswith("META-INF/maven/") and member.filename.endswith("/pom.properties"):
            values = _properties(archive.read(member), "=")
            if values.get("artifactId"):
                yield Part(
                    kind="maven",
                    name=values["artifactId"],
                    version=values.get("version", ""),
                    group=values.get("groupId", ""),
                )


def _manifest(stem: str, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> Iterator[Part]:
    """The archive itself by its manifest (JAR file specification); by its file name where that says nothing."""
    for member in members:
        if member.filename == "META-INF/MANIFEST.MF":
            text = archive.read(member).replace(b"\r\n", b"\n").replace(b"\n ", b"")
            values = _properties(text.partition(b"\n\n")[0], ":")
            name = values.get("Bundle-SymbolicName", "").partition(";")[0] or values.get("Implementation-Title", "")
            version = values.get("Bundle-Version") or values.get("Implementation-Version", "")
            base, _, number = stem.rpartition("-")
            plain = bool(base) and number[:1].isdigit()
            yield Part(
                kind="maven",
                name=name or (base if plain else stem),
                version=version or (number if plain else ""),
                group=values.get("Implementation-Vendor-Id", ""),
            )


def _properties(data: bytes, sign: str) -> dict[str, Any]:
    lines = (line.partition(sign) for line in data.decode("utf-8", "replace").splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip() for key, found, value in lines if found}
