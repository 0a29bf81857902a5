"""Which keys are believed, when, and for what; and the file that says so.

    keys:
      - key: release-2026.pub          # beside this file
        not-before: 2026-01-01         # UTC; a day alone is its midnight
        not-after: 2027-02-01          # the first moment at which the key no longer counts
        repositories: [engine, "charts/*"]
        distributions: [runtime, container]
    openpgp:
      - certificate: release.asc       # of the signatures of lists of files and of charts; limits as above
    revoked:
      - sha256:...                     # a manifest's digest, or a key's fingerprint

Signatures made with a plain key bear no time that could be trusted, so validity is judged by the time of verification.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from nexus_oci.definition import yaml_nodes
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Digest
from nexus_oci.trust.keys import PublicKey, read_public_key, read_small
from nexus_oci.trust.openpgp_verification import Certificate, read_certificates


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

    `certificates` are the same for what OpenPGP signs: lists of files, and charts.
    """

    keys: tuple[TrustedKey, ...]
    certificates: tuple[TrustedCertificate, ...] = ()
    revoked: frozenset[Digest] = field(default_factory=frozenset)

    def usable(self) -> tuple[TrustedKey, ...]:
        """The keys that are not revoked."""
        return tuple(key for key in self.keys if f"sha256:{key.key.fingerprint}" not in self.revoked)

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
    data = read_small(path, "the OpenPGP certificate")
    return tuple(
        TrustedCertificate(certificate=found, name=found.user or found.fingerprint[-16:])
        for found in read_certificates(data, str(path))
    )


def load_trust(path: Path) -> Trust:
    """Read a trust file; raises `DefinitionError` with every fault, and `UsageError` for a key that cannot be read."""
    node, problems = yaml_nodes.read(path, str(path))
    if node is None or problems:
        raise _faulty(path, [str(problem) for problem in problems] or ["it is empty"])
    try:
        document = _Document.model_validate(node.plain())
        revoked = frozenset(map(Digest, document.revoked))
    except ValidationError as error:
        raise _faulty(path, [f"{path}: {_place(fault['loc'])}: {fault['msg']}" for fault in error.errors()]) from None
    if not document.model_fields_set & {"keys", "openpgp"}:
        raise _faulty(path, ["it names no key: give `keys` or `openpgp` an entry"])
    return Trust(
        keys=tuple(_trusted(entry, path.parent) for entry in document.keys),
        certificates=tuple(one for entry in document.openpgp for one in _trusted_certificates(entry, path.parent)),
        revoked=revoked,
    )


def _faulty(path: Path, problems: Sequence[str]) -> DefinitionError:
    return DefinitionError(f"{path} does not say which keys are trusted", problems=tuple(problems))


def _place(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location) or "the file"


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _filled(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if values == ():
        raise ValueError("an empty list would let the key sign nothing; leave it out, or leave the key out")
    return values


def _hexadecimal(text: str) -> str:
    name, colon, digits = text.partition(":")
    if not colon or name != "sha256" or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise ValueError("expected sha256: and 64 hexadecimal digits")
    return text


_Moment = Annotated[datetime, AfterValidator(_aware)]
_Patterns = Annotated[tuple[str, ...] | None, AfterValidator(_filled)]


class _Limits(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=lambda name: name.replace("_", "-"))

    name: str | None = None
    not_before: _Moment | None = None
    not_after: _Moment | None = None
    repositories: _Patterns = None
    distributions: _Patterns = None


class _Entry(_Limits):
    key: str


class _OpenPgpEntry(_Limits):
    certificate: str


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[_Entry, ...] = ()
    openpgp: tuple[_OpenPgpEntry, ...] = ()
    revoked: tuple[Annotated[str, AfterValidator(_hexadecimal)], ...] = ()


def _trusted(entry: _Entry, folder: Path) -> TrustedKey:
    return _limited(trusted_file(folder / entry.key), entry)


def _trusted_certificates(entry: _OpenPgpEntry, folder: Path) -> list[TrustedCertificate]:
    return [_limited(found, entry) for found in trusted_certificates(folder / entry.certificate)]


_L = TypeVar("_L", bound=Limited)


def _limited(found: _L, entry: _Limits) -> _L:
    return replace(
        found,
        name=entry.name or found.name,
        not_before=entry.not_before,
        not_after=entry.not_after,
        repositories=entry.repositories or (),
        distributions=entry.distributions or (),
    )


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*/{pattern}")
