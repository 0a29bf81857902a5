"""Archives and programs for the tests, made here byte by byte."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping

from nexus_oci.sbom.layers import Layer, Tree, lay_over, read_layer


def tar(entries: Mapping[str, bytes | str | None]) -> bytes:
    """A tar: bytes are a file, a text is where a symbolic link points, None is a folder."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = (tarfile.DIRTYPE, "") if content is None else (tarfile.SYMTYPE, content)
                archive.addfile(info)
    return made.getvalue()


def layer(entries: Mapping[str, bytes | str | None]) -> Layer:
    return read_layer([tar(entries)], origin="a layer")


def tree(*layers: Mapping[str, bytes | str | None], base: int = 0) -> Tree:
    return lay_over([layer(entries) for entries in layers], base)


def go_program(*lines: str, version: str = "go1.24.4") -> bytes:
    """What debug/buildinfo finds in a program: magic, flags, two strings with their length in front."""
    text = ("\n".join(lines) + "\n").encode()
    whole = b"0" * 16 + text + b"1" * 16
    return b"\x7fELF" + b"\0" * 28 + b"\xff Go buildinf:\x08\x02" + b"\0" * 16 + _text(version.encode()) + _text(whole)


def _text(data: bytes) -> bytes:
    length, size = b"", len(data)
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return length + bytes([size]) + data


def rust_program(packages: object, *, wide: bool = True) -> bytes:
    """An ELF file of three sections, one of which is what `cargo auditable` writes."""
    content = zlib.compress(json.dumps({"packages": packages}).encode())
    names = b"\0.shstrtab\0.dep-v0\0"
    start = 64
    table = start + len(names) + len(content)
    form = "<IIQQQQ16x" if wide else "<IIIIII16x"
    sections = [(0, 0, 0, 0, 0, 0), (1, 3, 0, 0, start, len(names)), (11, 1, 0, 0, start + len(names), len(content))]
    if wide:
        head = b"\x7fELF\x02\x01\x01" + b"\0" * 33 + struct.pack("<Q", table) + b"\0" * 10 + struct.pack("<HHH", 64 - 8, 3, 1)
    else:
        head = b"\x7fELF\x01\x01\x01" + b"\0" * 25 + struct.pack("<I", table) + b"\0" * 10 + struct.pack("<HHH", 40, 3, 1)
    return head.ljust(start, b"\0") + names + content + b"".join(struct.pack(form, *section) for section in sections)


def jar(members: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return made.getvalue()
