"""Which keys are believed, when, and for what. `trust_file` reads it from a file.

Signatures made with a plain key bear no time that could be trusted, so validity is judged by the time of verification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.oci.values import Digest
from nexus_oci.trust.keys import PublicKey, read_public_key, read_small

if TYPE_CHECKING:
    from nexus_oci.trust.authorities import TrustedAuthority
    from nexus_oci.trust.keyless import TrustedIdentity
    from nexus_oci.trust.openpgp_verification import Certificate


_MOST_REVOKED = 16 << 20
"""Bytes of the longest list of what is revoked."""


@dataclass(frozen=True, kw_only=True)
class Limited:
    """What reports call a key, and the limits of what it may sign. Empty limits are none."""

    name: str
    not_before: datetime | None = None
    not_after: datetime | None = None
    repositories: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()

    def refusal(self, repositories: Iterable[str], distribution: str | None, now: datetime) -> str | None:
        """Why the key does not count for a manifest in these repositories now; None where it does.

        A pattern of `repositories` fits the end of a name, from a `/` on; one of several names is enough.
        """
        if self.not_before is not None and now < self.not_before:
            return f"the key {self.name} is valid from {self.not_before:%Y-%m-%d %H:%M} UTC only"
        if self.not_after is not None and now >= self.not_after:
            return f"the key {self.name} expired on {self.not_after:%Y-%m-%d %H:%M} UTC"
        if self.repositories and not any(_fits(name, pattern) for name in repositories for pattern in self.repositories):
            return f"the key {self.name} is for the repositories {', '.join(self.repositories)}"
        if self.distributions and distribution not in self.distributions:
            return f"the key {self.name} is for the distributions {', '.join(self.distributions)}"
        return None


@dataclass(frozen=True, kw_only=True)
class TrustedKey(Limited):
    """A public key that is believed within its limits."""

    key: PublicKey

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the key, in hexadecimal digits."""
        return self.key.fingerprint


@dataclass(frozen=True, kw_only=True)
class TrustedCertificate(Limited):
    """An OpenPGP certificate that is believed within its limits, and its own."""

    certificate: Certificate

    @property
    def fingerprint(self) -> str:
        """The certificate's fingerprint, in hexadecimal digits."""
        return self.certificate.fingerprint


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The keys of which any one is enough, and what is revoked: digests of manifests, fingerprints of keys.

    `certificates` are the same for what OpenPGP signs: lists of files, and charts. `builders` are who may have built what is
    verified, by the `builder.id` of its SLSA provenance, as patterns; where there are any, everything needs a provenance.
    `authorities` and `identities` are believed as keys are: for Notation's signatures, and for those by identity (keyless).
    """

    keys: tuple[TrustedKey, ...]
    certificates: tuple[TrustedCertificate, ...] = ()
    revoked: frozenset[Digest] = field(default_factory=frozenset)
    builders: tuple[str, ...] = ()
    authorities: tuple[TrustedAuthority, ...] = ()
    identities: tuple[TrustedIdentity, ...] = ()

    @property
    def of_manifests(self) -> bool:
        """Whether it says who signs manifests, or nothing at all; OpenPGP certificates alone are for files and charts."""
        return bool(self.keys or self.authorities or self.identities or not self.certificates)

    def usable(self) -> tuple[TrustedKey, ...]:
        """The keys that are not revoked."""
        return tuple(key for key in self.keys if f"sha256:{key.key.fingerprint}" not in self.revoked)

    def accepts_builder(self, builder: str) -> bool:
        """Whether that builder is expected; a `*` in a pattern stands for anything."""
        return any(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), builder) for pattern in self.builders)

    def with_builders(self, builders: Sequence[str]) -> Trust:
        """More builders beside those that are expected."""
        return replace(self, builders=(*self.builders, *builders))

    def with_revoked(self, digests: Iterable[Digest]) -> Trust:
        """More that is revoked."""
        return replace(self, revoked=self.revoked | set(digests))

    def with_certified(self, authorities: Sequence[TrustedAuthority], identities: Sequence[TrustedIdentity]) -> Trust:
        """More authorities of Notation's signatures, and identities."""
        return replace(self, authorities=(*self.authorities, *authorities), identities=(*self.identities, *identities))

    def with_keys(self, keys: Sequence[TrustedKey]) -> Trust:
        """More keys beside those that are there."""
        return replace(self, keys=(*self.keys, *keys))

    def with_certificates(self, certificates: Sequence[TrustedCertificate]) -> Trust:
        """More OpenPGP certificates beside those that are there."""
        return replace(self, certificates=(*self.certificates, *certificates))


def trusted_file(path: Path) -> TrustedKey:
    """A public key, believed whenever and whatever it signs; raises `UsageError` for what is none."""
    return TrustedKey(key=read_public_key(read_small(path, "the public key"), str(path)), name=path.name)


def trusted_certificates(path: Path) -> tuple[TrustedCertificate, ...]:
    """The OpenPGP certificates of a file, believed whenever and whatever they sign; raises `UsageError` where there is none."""
    from nexus_oci.trust.openpgp_verification import read_certificates

    data = read_small(path, "the OpenPGP certificate")
    return tuple(
        TrustedCertificate(certificate=found, name=found.user or found.fingerprint[-16:])
        for found in read_certificates(data, str(path))
    )


def load_trust(path: Path) -> Trust:
    """Read a trust file; raises `DefinitionError` with every fault, and `UsageError` for a key that cannot be read."""
    from nexus_oci.trust.trust_file import read_trust

    return read_trust(path)


def read_revoked(path: Path) -> frozenset[Digest]:
    """A list of what is revoked: a digest in each line, `#` before remarks. Raises `UsageError` where that is not what it is."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_REVOKED + 1)
    except OSError as error:
        raise UsageError(f"the list of what is revoked cannot be read: {path}", why=error.strerror or str(error)) from error
    if len(data) > _MOST_REVOKED:
        raise UsageError(f"{path} is too large for a list of what is revoked", why=f"it has more than {_MOST_REVOKED} bytes")
    found = set()
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        word = line.partition("#")[0].strip()
        if word:
            try:
                found.add(Digest(word))
            except VerificationError:
                raise UsageError(
                    f"{path}:{number} is no digest",
                    why=f"it says {word[:100]!r}",
                    hint="write sha256: and 64 hexadecimal digits: of a manifest, a blob, or a key's fingerprint",
                ) from None
    return frozenset(found)


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*/{pattern}")
