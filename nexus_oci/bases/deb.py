"""Reading what a Debian package says of itself: its control file and the checksums of its files (deb(5))."""

from __future__ import annotations

import tarfile
from pathlib import Path

from nexus_oci.bases.cleaning import Metadata
from nexus_oci.bases.commands import piped
from nexus_oci.bases.values import LockedPackage
from nexus_oci.errors import BuildError

_MAX_MEMBER = 64 * 1024 * 1024


def read_metadata(package: LockedPackage, path: Path) -> Metadata:
    """The control file and md5sums of the package's file at `path`; raises `BuildError` where it is no package."""
    found: dict[str, bytes] = {}
    try:
        with (
            piped(["dpkg-deb", "--ctrl-tarfile", path], f"{package} cannot be read") as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            for member in archive:
                name = member.name.removeprefix("./")
                if name in ("control", "md5sums") and member.size <= _MAX_MEMBER:
                    content = archive.extractfile(member)
                    found[name] = content.read() if content else b""
    except tarfile.TarError as error:
        raise BuildError(f"{package} cannot be read", why=str(error)) from error
    return Metadata(name=package.name, control=found.get("control", b""), md5sums=found.get("md5sums", b""))
