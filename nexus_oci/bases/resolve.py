"""Making the lock: which packages, in which versions, answer a base. apt decides; its answer is written down."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

from nexus_oci.bases.apt import PrivateApt, Source
from nexus_oci.bases.commands import disk_errors
from nexus_oci.bases.host import Host
from nexus_oci.bases.values import BaseLock, DebianBase, LockedDebian, LockedPackage, definition_checksum
from nexus_oci.errors import LockError

ARCHITECTURES = MappingProxyType({"amd64": "amd64", "arm64": "arm64", "386": "i386", "ppc64le": "ppc64el"})
"""OCI's name of an architecture to Debian's, where a name is known to be right; others have one name in both."""


def debian_architecture(architecture: str, variant: str | None = None) -> str:
    """Debian's name of an OCI architecture and variant: `arm` is `armhf` from `v7` on, and `armel` below."""
    if architecture == "arm":
        return "armhf" if variant in (None, "v7", "v8") else "armel"
    return ARCHITECTURES.get(architecture, architecture)


def resolve(
    bases: Mapping[str, DebianBase], architectures: Sequence[str], host: Host, previous: BaseLock | None = None
) -> dict[str, LockedDebian]:
    """Choose today's packages for every base and Debian architecture; fetches the archive's signed indexes.

    An entry of `previous` whose packages are still the same is kept with its epoch, so nothing built on it changes.
    Raises `LockError` where a base cannot be satisfied, `UnreachableError` or `VerificationError` for the archive.
    """
    shared: dict[tuple[str, tuple[str, ...]], dict[str, DebianBase]] = defaultdict(dict)
    for name, base in sorted(bases.items()):
        shared[base.suite, tuple(sorted(base.components))][name] = base
    chosen: dict[str, dict[str, tuple[LockedPackage, ...]]] = defaultdict(dict)
    epochs: dict[str, int] = {}
    for (suite, components), group in shared.items():
        sources = host.sources(suite, components)
        with ThreadPoolExecutor(max(len(architectures), 1)) as pool:
            jobs = {arch: pool.submit(_choose_all, group, suite, arch, sources, host) for arch in architectures}
            for architecture, job in jobs.items():
                answers, released = job.result()
                for name, packages in answers.items():
                    chosen[name][architecture] = packages
                    epochs[name] = max(epochs.get(name, 0), released)
    return {name: _entry(base, chosen[name], epochs[name], previous, name) for name, base in bases.items()}


def _choose_all(
    group: Mapping[str, DebianBase], suite: str, architecture: str, sources: Sequence[Source], host: Host
) -> tuple[dict[str, tuple[LockedPackage, ...]], int]:
    """The packages of every base of one suite for one architecture, and the date of the archive."""
    host.progress(f"fetching the package lists of {suite} for {architecture}")
    with disk_errors("choosing packages"):
        apt = PrivateApt(host.cache / "apt" / _directory(suite, architecture, sources), architecture)
        with apt.locked():
            apt.set_sources(sources)
            apt.update()
            return {name: choose(apt, name, base) for name, base in group.items()}, apt.released()


def _directory(suite: str, architecture: str, sources: Sequence[Source]) -> str:
    origin = "\n".join(source.stanza() for source in sources)
    return f"{suite}-{architecture}-{hashlib.sha256(origin.encode()).hexdigest()[:12]}"


def _entry(
    base: DebianBase,
    packages: Mapping[str, tuple[LockedPackage, ...]],
    epoch: int,
    previous: BaseLock | None,
    name: str,
) -> LockedDebian:
    before = previous.bases.get(name) if previous else None
    entry = LockedDebian(definition=definition_checksum(base), epoch=epoch, packages=MappingProxyType(dict(packages)))
    if isinstance(before, LockedDebian) and before.packages == entry.packages:
        return LockedDebian(definition=entry.definition, epoch=before.epoch, packages=entry.packages)
    return entry


def choose(apt: PrivateApt, name: str, base: DebianBase) -> tuple[LockedPackage, ...]:
    """The packages of one base for the architecture of `apt`, whose lists are there already. Raises `LockError`."""
    known = apt.candidates([*base.packages, *base.exclude])
    unknown = sorted({*base.packages, *base.exclude} - known.keys())
    if unknown:
        raise LockError(
            f"base {name!r}: {base.suite} has no package {', '.join(map(repr, unknown))} for {apt.architecture}",
            hint="check the names in its `packages` and `exclude`",
        )
    if not base.dependencies:
        return tuple(sorted(_locked(known[package]) for package in set(base.packages)))
    apt.set_status([_pretended(known[package]) for package in sorted(set(base.exclude))])
    try:
        closure = apt.closure(sorted(set(base.packages)), f"base {name!r} for {apt.architecture}")
        fields = apt.versions(closure)
    finally:
        apt.set_status(())
    lost = [f"{package} {version}" for package, version in closure if (package, version) not in fields]
    if lost:
        raise LockError(f"base {name!r}: apt chose {', '.join(lost)}, but does not say where it is")
    return tuple(sorted(_locked(fields[pinned]) for pinned in closure))


def _pretended(fields: Mapping[str, str]) -> str:
    """A stanza of dpkg's status file that says an excluded package is installed as it would be, and held there."""
    kept = ("Package", "Version", "Architecture", "Multi-Arch", "Provides")
    lines = [f"{name}: {fields[name]}" for name in kept if name in fields]
    return "\n".join([*lines, "Status: hold ok installed", "Maintainer: none", "Description: excluded"]) + "\n"


def _locked(fields: Mapping[str, str]) -> LockedPackage:
    return LockedPackage(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        filename=fields["Filename"],
        size=int(fields["Size"]),
        sha256=fields["SHA256"],
    )
