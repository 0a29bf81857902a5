"""Making a base's root filesystem: an offline repository of the locked packages, mmdebstrap, cleaning, one tar.

The repository's index is written from the lock and names no dependencies, so exactly the locked packages are
unpacked. It is trusted because every package's sha256 was checked against the lock just before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus_oci.bases.cleaning import FORMAT, Metadata, clean
from nexus_oci.bases.commands import disk_errors, no_space, require
from nexus_oci.bases.deb import read_metadata
from nexus_oci.bases.fetch import cached, fetch
from nexus_oci.bases.host import Host
from nexus_oci.bases.values import DebianBase, LockedPackage
from nexus_oci.errors import BuildError
from nexus_oci.oci.values import Digest, canonical_json, digest_of

_STAMP = 315532800
"""Modification time of a finished tar in the cache, in seconds: 1980-01-01. Whoever changes the file changes it too."""


@dataclass(frozen=True, kw_only=True)
class RootFs:
    """A finished root filesystem: an uncompressed tar in the cache, its digest and size (bytes), and its key."""

    path: Path
    digest: Digest
    size: int
    key: Digest


def rootfs_key(architecture: str, packages: Sequence[LockedPackage], epoch: int) -> Digest:
    """The digest of all that a root filesystem is made from. It is known without making it."""
    return digest_of(
        canonical_json(
            {
                "format": FORMAT,
                "architecture": architecture,
                "epoch": epoch,
                "packages": sorted(package.sha256 for package in packages),
            }
        )
    )


def make_rootfs(
    name: str, base: DebianBase, packages: Sequence[LockedPackage], *, architecture: str, epoch: int, host: Host
) -> RootFs:
    """The root filesystem of a locked base for a Debian architecture, from the cache where it is there already.

    Raises what `fetch` raises, and `BuildError` where it cannot be put together.
    """
    key = rootfs_key(architecture, packages, epoch)
    target = host.cache / "rootfs" / f"{key.hex}.tar"
    known = _known(target, key)
    if known:
        return known
    fetch(base, packages, host)
    require("dpkg-deb", purpose="read Debian packages")
    host.progress(f"unpacking {len(packages)} packages of base {name!r} for {architecture}")
    with host.scratch() as scratch, disk_errors(f"making base {name!r} for {architecture}"):
        metadata = tuple(read_metadata(package, cached(package, host.cache)) for package in packages)
        raw = _unpack(name, packages, architecture, host, scratch)
        return _finish(raw, metadata, epoch, target, key)


def _known(target: Path, key: Digest) -> RootFs | None:
    """The tar of an earlier run, if it is there and nobody touched it since."""
    try:
        facts = json.loads(target.with_suffix(".json").read_bytes())
        state = target.stat()
        if (state.st_size, int(state.st_mtime)) == (facts["size"], _STAMP):
            return RootFs(path=target, digest=Digest(facts["digest"]), size=state.st_size, key=key)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _unpack(name: str, packages: Sequence[LockedPackage], architecture: str, host: Host, scratch: Path) -> Path:
    """Let mmdebstrap unpack the packages; the path of its tar."""
    repository = scratch / "repository"
    repository.mkdir()
    index = []
    for package in sorted(packages):
        file = f"{package.sha256}.deb"
        _link(cached(package, host.cache), repository / file)
        fields = {
            "Package": package.name,
            "Version": package.version,
            "Architecture": package.architecture,
            "Filename": f"./{file}",
            "Size": package.size,
            "SHA256": package.sha256,
            "Maintainer": "none",
            "Description": "locked",
        }
        index.append("".join(f"{field}: {value}\n" for field, value in fields.items()))
    (repository / "Packages").write_text("\n".join(index))
    raw = scratch / "raw.tar"
    arguments = [
        f"--architectures={architecture}",
        "--include=" + ",".join(sorted({package.name for package in packages})),
        '--aptopt=APT::Sandbox::User "root"',
        "--format=tar",
        "locked",
        str(raw),
        f"deb [trusted=yes] copy:{repository} ./",
    ]
    done = host.mmdebstrap(arguments, scratch)
    if done.code:
        if done.disk_full:
            raise no_space(f"unpacking base {name!r}", done.disk_full)
        raise BuildError(f"mmdebstrap could not unpack base {name!r} for {architecture}", why=done.last_lines())
    return raw


def _link(source: Path, target: Path) -> None:
    """A second name for a file of the cache, which costs nothing; a copy where the file system has no second names."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _finish(raw: Path, metadata: tuple[Metadata, ...], epoch: int, target: Path, key: Digest) -> RootFs:
    """Clean mmdebstrap's tar into the cache, under its name only once it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = raw.with_name("clean.tar")
    with raw.open("rb") as source, partial.open("w+b") as output:
        clean(source, output, metadata, epoch)
        output.flush()
        os.fsync(output.fileno())
        output.seek(0)
        digest = Digest("sha256:" + hashlib.file_digest(output, "sha256").hexdigest())
    size = partial.stat().st_size
    os.utime(partial, (_STAMP, _STAMP))
    facts = raw.with_name("clean.json")
    facts.write_bytes(canonical_json({"digest": str(digest), "size": size}))
    partial.rename(target)
    facts.rename(target.with_suffix(".json"))
    return RootFs(path=target, digest=digest, size=size, key=key)
