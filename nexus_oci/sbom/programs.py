"""What a program or a Java archive says of the parts that were built into it.

Go: the build information (`go version -m`). Rust: the section `.dep-v0` that `cargo auditable` writes (its PARSING.md), in ELF
files. Java archives: `nexus_oci.sbom.java`.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Final, cast

from nexus_oci.sbom.java import JAVA, java_parts
from nexus_oci.sbom.model import Part
from nexus_oci.staging.licences import go_build

_PROGRAMS: Final = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_JAVA_HEADS: Final = (b"PK\x03\x04", b"#!")
"""How a Java archive begins; one that runs by itself has a script in front."""
_MOST_SECTION: Final = 8 << 20
_MOST_INFLATED: Final = 64 << 20
"""Bytes of a dependency list that are unpacked."""


def is_program(name: str, head: bytes) -> bool:
    """Whether a file that begins so may have parts to tell of."""
    return head.startswith(_PROGRAMS) or (head.startswith(_JAVA_HEADS) and PurePosixPath(name).suffix in JAVA)


def parts_of(name: str, file: IO[bytes]) -> tuple[Part, ...]:
    """The parts of a program or Java archive, sorted; none where it does not tell."""
    is_java = PurePosixPath(name).suffix in JAVA
    found = list(java_parts(PurePosixPath(name).stem, file)) if is_java else [*_go(file), *_rust(file)]
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
