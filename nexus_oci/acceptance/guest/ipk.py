"""A package of OpenWrt: a tar.gz of debian-binary, control.tar.gz and data.tar.gz (opkg's libopkg/pkg_extract.c)."""

from __future__ import annotations

import gzip
import tarfile

from .byhand import ByHand, Contents
from .lifecycle import Lifecycle
from .report import Failure, Report, listed
from .subject import Subject

_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
_FIELDS = ("Package", "Version", "Architecture", "Maintainer", "Description")


class Ipk(ByHand):
    """opkg, played."""

    suffix = "-opkg"

    def read(self, file: str) -> Contents:
        """Check the three members and the control fields."""
        with tarfile.open(file) as archive:
            parts = {
                member.name.removeprefix("./"): content.read() for member in archive if (content := archive.extractfile(member))
            }
        if sorted(parts) != ["control.tar.gz", "data.tar.gz", "debian-binary"]:
            raise Failure(f"it has the members {', '.join(sorted(parts))}")
        if parts["debian-binary"] != b"2.0\n":
            raise Failure(f"debian-binary says {parts['debian-binary']!r}")
        control = _files(parts["control.tar.gz"])
        if "control" not in control:
            raise Failure("there is no control file in control.tar.gz")
        fields: dict[str, list[str]] = {}
        for line in control["control"].decode().splitlines():
            key, sign, value = line.partition(": ")
            if sign and not line.startswith((" ", "\t")):
                fields[key] = [value]
        listed([f"{name} is missing in control" for name in _FIELDS if name not in fields])
        config = frozenset(control.get("conffiles", b"").decode().split("\n")) - {""}
        scripts = {name: text for name, text in control.items() if name in _SCRIPTS}
        data = gzip.decompress(parts["data.tar.gz"])
        return Contents(
            name=fields["Package"][0], version=fields["Version"][0], fields=fields, scripts=scripts, data=data, config=config
        )

    def around(self, old: Contents | None, new: Contents | None) -> tuple[list[tuple[Contents, str, list[str]]], ...]:
        """opkg's order (libopkg/opkg_install.c, opkg_remove.c)."""
        if new and old:
            before = [(old, "prerm", ["upgrade", new.version]), (new, "preinst", ["upgrade", old.version])]
            after = [(old, "postrm", ["upgrade", new.version]), (new, "postinst", ["configure", old.version])]
            return before, after
        if new:
            return [(new, "preinst", ["install"])], [(new, "postinst", ["configure"])]
        assert old is not None  # noqa: S101  something is removed
        return [(old, "prerm", ["remove"])], [(old, "postrm", ["remove"])]


def _files(data: bytes) -> dict[str, bytes]:
    """The files of a compressed tar, by name."""
    import io

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name.removeprefix("./"): content.read() for member in archive if (content := archive.extractfile(member))}


def test(report: Report, subject: Subject) -> None:
    """Make every check of an ipk."""
    Lifecycle(report=report, subject=subject, manager=Ipk(subject)).run()
