"""mmdebstrap for a machine that has apt but not mmdebstrap: a root filesystem with it, out of the host's own archive.

The packages come from the host's sources and are verified with the host's keys; they are unpacked, not installed, and
nothing on the host changes.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import IO

from nexus_oci.bases.apt import PrivateApt
from nexus_oci.bases.commands import Progress, disk_errors, piped, require, run
from nexus_oci.errors import BuildError, UnreachableError

_PACKAGES = ("mmdebstrap", "debian-archive-keyring", "gpg", "?essential")
_ALIASED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Top-level directories that are links into usr/ (Debian's merged /usr); older packages still ship files below them."""


def tool_rootfs(cache: Path, progress: Progress) -> tuple[Path, str]:
    """A tar of a small system that has mmdebstrap, and the image name that goes with it.

    It is made once for a release of the host's system and kept. Raises `BuildError` or `UnreachableError`.
    """
    require("apt-get", "dpkg-deb", purpose="bring mmdebstrap into a container")
    architecture = run(["dpkg", "--print-architecture"]).output.strip()
    with disk_errors("reading /etc/os-release"):
        system = Path("/etc/os-release").read_bytes()
    key = hashlib.sha256(b"\0".join((system, architecture.encode(), " ".join(_PACKAGES).encode()))).hexdigest()[:12]
    target = cache / "tools" / f"mmdebstrap-{key}.tar"
    tag = f"nexus-oci-mmdebstrap:{key}"
    if target.is_file():
        return target, tag
    with disk_errors("making a system that has mmdebstrap"):
        target.parent.mkdir(parents=True, exist_ok=True)
        apt = PrivateApt(cache / "apt" / "host", architecture, host_sources=True)
        with apt.locked():
            progress("fetching mmdebstrap from this machine's package archive")
            archives = download(apt, _PACKAGES)
            partial = target.with_suffix(".partial")
            try:
                with partial.open("wb") as file:
                    merge(archives, file)
                partial.rename(target)
            finally:
                partial.unlink(missing_ok=True)
                shutil.rmtree(apt.directory / "archives", ignore_errors=True)
    return target, tag


def debian_keyring(cache: Path, progress: Progress) -> Path:
    """The keyring out of the package `debian-archive-keyring` of the host's archive; raises `BuildError`."""
    require("apt-get", "dpkg-deb", purpose="get the keys of Debian's archive")
    directory = cache / "tools" / "debian-archive-keyring"
    for attempt in (0, 1):
        found = sorted((directory / "usr/share/keyrings").glob("debian-archive-keyring.[gp]*"))
        if found:
            return found[0]
        if attempt:
            break
        progress("fetching the keys of Debian's archive from this machine's package archive")
        architecture = run(["dpkg", "--print-architecture"]).output.strip()
        apt = PrivateApt(cache / "apt" / "host", architecture, host_sources=True)
        with apt.locked(), disk_errors("unpacking the keys of Debian's archive"):
            for archive in download(apt, ("debian-archive-keyring",)):
                run(["dpkg-deb", "--extract", archive, directory])
            shutil.rmtree(apt.directory / "archives", ignore_errors=True)
    raise BuildError(
        "the keys of Debian's archive are not on this machine",
        hint="install the package debian-archive-keyring",
    )


def download(apt: PrivateApt, packages: tuple[str, ...]) -> tuple[Path, ...]:
    """Fetch packages and what they depend on, checked by apt against its signed indexes; the files, by name."""
    apt.update()
    done = apt.run("apt-get", "install", "--download-only", "-q", "-o", "Debug::NoLocking=true", *packages)
    if done.code:
        kind = UnreachableError if "Failed to fetch" in done.errors else BuildError
        raise kind(
            f"{packages[0]} could not be fetched from this machine's package archive",
            why=done.last_lines(),
            hint="install it with the machine's package manager, or check apt's sources",
        )
    return tuple(sorted((apt.directory / "archives").glob("*.deb")))


def merge(archives: tuple[Path, ...], output: IO[bytes]) -> None:
    """Write one tar of the packages' files, with merged /usr, as a container's root filesystem."""
    seen: set[str] = set()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as merged:
        for name in _ALIASED:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            merged.addfile(link)
        for name, mode in (("tmp", 0o1777), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("root", 0o700)):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, mode
            merged.addfile(directory)
            seen.add(name)
        for path in archives:
            with (
                piped(["dpkg-deb", "--fsys-tarfile", path], f"{path.name} cannot be unpacked") as stream,
                tarfile.open(fileobj=stream, mode="r|") as package,
            ):
                for member in package:
                    _copy(package, member, merged, seen)


def _copy(package: tarfile.TarFile, member: tarfile.TarInfo, merged: tarfile.TarFile, seen: set[str]) -> None:
    """Carry one member over, unless it is there: directories are in many packages."""
    member.name = _merged_usr(member.name)
    if not member.name or member.name in _ALIASED or member.name in seen:
        return
    seen.add(member.name)
    if member.islnk():
        member.linkname = _merged_usr(member.linkname)
    merged.addfile(member, package.extractfile(member) if member.isreg() else None)


def _merged_usr(name: str) -> str:
    path = name.removeprefix("./").strip("/")
    path = "" if path == "." else path
    return f"usr/{path}" if "/" in path and path.partition("/")[0] in _ALIASED else path
