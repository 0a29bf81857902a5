"""A package of Alpine Linux: up to three gzip members of tar beside each other (apk-package(5), apk-v2(5))."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from pathlib import Path

from .byhand import ByHand, Contents
from .lifecycle import Lifecycle
from .report import Failure, Report, listed
from .subject import Subject

_SCRIPTS = (".pre-install", ".post-install", ".pre-upgrade", ".post-upgrade", ".pre-deinstall", ".post-deinstall")
_SHA1 = "APK-TOOLS.checksum.SHA1"
_FIELDS = ("pkgname", "pkgver", "arch", "pkgdesc", "size")


class Apk(ByHand):
    """apk-tools, played."""

    suffix = ".apk-new"

    def read(self, file: str) -> Contents:
        """Check every digest that the format has."""
        members = _members(Path(file).read_bytes())
        if len(members) not in (2, 3):
            raise Failure(f"it has {len(members)} gzip members, and not a control and a data member")
        control, (raw, data) = members[-2][1], members[-1]
        with tarfile.open(fileobj=io.BytesIO(control + bytes(1024))) as archive:
            scripts = {member.name: content.read() for member in archive if (content := archive.extractfile(member))}
        info = scripts.pop(".PKGINFO", None)
        if info is None:
            raise Failure(".PKGINFO is not in its control member")
        fields: dict[str, list[str]] = {}
        for line in info.decode().splitlines():
            key, sign, value = line.partition(" = ")
            if sign and not line.startswith("#"):
                fields.setdefault(key, []).append(value)
        listed([f"{name} is missing in .PKGINFO" for name in _FIELDS if name not in fields])
        if fields.get("datahash") != [hashlib.sha256(raw).hexdigest()]:
            raise Failure(f"datahash is {fields.get('datahash')}, and the data's is {hashlib.sha256(raw).hexdigest()}")
        listed([f"there is no script {name}" for name in scripts if name not in _SCRIPTS])
        paths = _checked(data)
        config = frozenset(path for path in paths if path.startswith("/etc/"))
        return Contents(
            name=fields["pkgname"][0], version=fields["pkgver"][0], fields=fields, scripts=scripts, data=data, config=config
        )

    def around(self, old: Contents | None, new: Contents | None) -> tuple[list[tuple[Contents, str, list[str]]], ...]:
        """apk-tools' order (src/package.c): the new version, and on an upgrade the old one too, are arguments."""
        if new and old:
            arguments = [new.version, old.version]
            return [(new, ".pre-upgrade", arguments)], [(new, ".post-upgrade", arguments)]
        if new:
            return [(new, ".pre-install", [new.version])], [(new, ".post-install", [new.version])]
        assert old is not None  # noqa: S101  something is removed
        return [(old, ".pre-deinstall", [old.version])], [(old, ".post-deinstall", [old.version])]


def _members(data: bytes) -> list[tuple[bytes, bytes]]:
    """Each gzip member: its compressed bytes, and what is in it."""
    found = []
    while data:
        reader = zlib.decompressobj(wbits=31)
        text = reader.decompress(data)
        if not reader.eof:
            raise Failure("its last gzip member is cut off")
        found.append((data[: len(data) - len(reader.unused_data)], text))
        data = reader.unused_data
    return found


def _checked(data: bytes) -> list[str]:
    """The files of the data; each has its SHA-1 in an extended header."""
    paths = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            paths.append("/" + member.name.strip("/"))
            if member.pax_headers.get(_SHA1) != hashlib.sha1(content.read(), usedforsecurity=False).hexdigest():
                raise Failure(f"{member.name} has another SHA-1 than its header says")
    return paths


def test(report: Report, subject: Subject) -> None:
    """Make every check of an apk."""
    Lifecycle(report=report, subject=subject, manager=Apk(subject)).run()
