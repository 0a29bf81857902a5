"""What a base is, and what the lock says of it: small frozen values, with no input or output.

A base is asked for by the definition (`DebianBase`, `RegistryBase`) and answered by the lock (`LockedDebian`,
`LockedImage`). The answer carries a checksum of the question, so that a changed question is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from nexus_oci.errors import LockError
from nexus_oci.oci.values import Digest, canonical_json, digest_of

Purpose = Literal["runtime", "build"]
"""What a base is for: the final stage of an image, or stages that run on the build platform only."""


@dataclass(frozen=True, kw_only=True)
class DebianBase:
    """A root filesystem of Debian packages.

    `packages` are taken from `suite` and, where the mirror has them, its updates and security suites. With
    `dependencies` they bring what they depend on, but for `exclude`, which is taken as if it were installed;
    without, exactly the packages listed are taken.
    """

    suite: str
    packages: tuple[str, ...]
    components: tuple[str, ...] = ("main",)
    exclude: tuple[str, ...] = ()
    dependencies: bool = True
    purpose: Purpose = "runtime"


@dataclass(frozen=True, kw_only=True)
class RegistryBase:
    """A base that is an image in a registry, `HOST/REPOSITORY:TAG`."""

    image: str
    purpose: Purpose = "runtime"


Base = DebianBase | RegistryBase


@dataclass(frozen=True, kw_only=True, order=True)
class LockedPackage:
    """One binary package, pinned. `filename` is its path below the archive's root; `size` is in bytes."""

    name: str
    version: str
    architecture: str
    filename: str
    size: int
    sha256: str

    def __str__(self) -> str:
        """`name version (architecture)`."""
        return f"{self.name} {self.version} ({self.architecture})"


@dataclass(frozen=True, kw_only=True)
class LockedDebian:
    """The packages that answer a `DebianBase`, per Debian architecture.

    `epoch` (seconds since 1970) is the archive's date when the packages were chosen: no file in the base is younger.
    """

    definition: Digest
    epoch: int
    packages: Mapping[str, tuple[LockedPackage, ...]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class LockedImage:
    """The digest that answers a `RegistryBase`."""

    definition: Digest
    image: str
    digest: Digest


LockedBase = LockedDebian | LockedImage


@dataclass(frozen=True, kw_only=True)
class BaseLock:
    """Every locked base by name."""

    bases: Mapping[str, LockedBase] = field(default_factory=lambda: MappingProxyType({}))

    def over(self, other: BaseLock) -> BaseLock:
        """This lock, with what it does not name taken from `other`."""
        return BaseLock(bases=MappingProxyType({**other.bases, **self.bases}))

    def with_bases(self, bases: Mapping[str, LockedBase]) -> BaseLock:
        """This lock with some bases replaced or added."""
        return BaseLock(bases=MappingProxyType({**self.bases, **bases}))

    def debian(self, name: str, base: DebianBase, architecture: str) -> tuple[LockedDebian, tuple[LockedPackage, ...]]:
        """What the lock has for `base` on `architecture`: the entry, and its packages for that architecture.

        Raises `LockError` where the base is not locked, is locked for another definition, or not for the architecture.
        """
        entry = self._answer(name, base)
        if not isinstance(entry, LockedDebian) or architecture not in entry.packages:
            raise LockError(
                f"base {name!r} is not locked for {architecture}",
                why="the lock was made for other platforms",
                hint=f"run `nexus-oci lock` to pin its packages for {architecture} too",
            )
        return entry, entry.packages[architecture]

    def image(self, name: str, base: RegistryBase) -> LockedImage:
        """What the lock has for a registry's image; raises `LockError` where it has nothing, or something else."""
        entry = self._answer(name, base)
        if not isinstance(entry, LockedImage):
            raise _stale(name)
        return entry

    def _answer(self, name: str, base: Base) -> LockedBase:
        entry = self.bases.get(name)
        if entry is None:
            raise LockError(
                f"base {name!r} is not in images/bases.lock",
                why=f"it holds {', '.join(sorted(self.bases)) or 'nothing'}",
                hint="run `nexus-oci lock` to choose and pin what it needs",
            )
        if entry.definition != definition_checksum(base):
            raise _stale(name)
        return entry


def _stale(name: str) -> LockError:
    return LockError(
        f"base {name!r} has changed since images/bases.lock was made",
        why="the lock answers another definition of this base",
        hint="run `nexus-oci lock` and commit the new lock",
    )


def definition_checksum(base: Base) -> Digest:
    """The digest of everything in `base` that its lock entry answers; the order of names does not count."""
    if isinstance(base, RegistryBase):
        return digest_of(canonical_json({"image": base.image}))
    return digest_of(
        canonical_json(
            {
                "debian": {
                    "suite": base.suite,
                    "components": sorted(base.components),
                    "packages": sorted(base.packages),
                    "exclude": sorted(base.exclude),
                    "dependencies": base.dependencies,
                }
            }
        )
    )
