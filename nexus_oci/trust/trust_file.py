"""The file that says which keys are believed.

    keys:
      - key: release-2026.pub          # beside this file
        not-before: 2026-01-01         # UTC; a day alone is its midnight
        not-after: 2027-02-01          # the first moment at which the key no longer counts
        repositories: [engine, "charts/*"]
        distributions: [runtime, container]
    openpgp:
      - certificate: release.asc       # of the signatures of lists of files and of charts; limits as above
    notation:
      - roots: company-ca.pem          # of the signatures of Notation; limits as above
        subjects: ["C=DE, ST=BE, O=Example, CN=release"]      # of leaves; what is left out may be anything
    identities:
      - identity: https://ci.example/release@main             # of signatures by identity; limits as above
        issuer: https://ci.example
        trusted-root: trusted_root.json                       # of a Sigstore instance; the public one's unless given
    builders:
      - https://ci.example/release     # who may have built it, as its provenance says; `*` stands for anything
    revoked:
      - sha256:...                     # the digest of a manifest or blob, or a key's or certificate's fingerprint

A list of what is revoked may also be a file of its own, with a digest in each line, and `#` before remarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from nexus_oci.definition import yaml_nodes
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Digest
from nexus_oci.trust.verification import Limited, Trust, TrustedCertificate, TrustedKey, trusted_certificates, trusted_file

if TYPE_CHECKING:
    from nexus_oci.trust.authorities import TrustedAuthority
    from nexus_oci.trust.keyless import TrustedIdentity


def read_trust(path: Path) -> Trust:
    """Read a trust file; raises `DefinitionError` with every fault, and `UsageError` for a key that cannot be read."""
    node, problems = yaml_nodes.read(path, str(path))
    if node is None or problems:
        raise _faulty(path, [str(problem) for problem in problems] or ["it is empty"])
    try:
        document = _Document.model_validate(node.plain())
        revoked = frozenset(map(Digest, document.revoked))
    except ValidationError as error:
        raise _faulty(path, [f"{path}: {_place(fault['loc'])}: {fault['msg']}" for fault in error.errors()]) from None
    if not document.model_fields_set & {"keys", "openpgp", "notation", "identities"}:
        raise _faulty(path, ["it names no key: give `keys`, `openpgp`, `notation` or `identities` an entry"])
    return Trust(
        keys=tuple(_trusted(entry, path.parent) for entry in document.keys),
        certificates=tuple(one for entry in document.openpgp for one in _trusted_certificates(entry, path.parent)),
        revoked=revoked,
        builders=document.builders,
        authorities=tuple(_authority(entry, path.parent) for entry in document.notation),
        identities=tuple(_identity(entry, path.parent) for entry in document.identities),
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

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.not_before is not None and self.not_after is not None and self.not_before >= self.not_after:
            raise ValueError("not-before has to be earlier than not-after: the key would never count")
        return self


class _Entry(_Limits):
    key: str


class _OpenPgpEntry(_Limits):
    certificate: str


class _AuthorityEntry(_Limits):
    roots: str
    subjects: _Patterns = None


class _IdentityEntry(_Limits):
    identity: str
    issuer: str
    trusted_root: str | None = None


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[_Entry, ...] = ()
    openpgp: tuple[_OpenPgpEntry, ...] = ()
    notation: tuple[_AuthorityEntry, ...] = ()
    identities: tuple[_IdentityEntry, ...] = ()
    revoked: tuple[Annotated[str, AfterValidator(_hexadecimal)], ...] = ()
    builders: tuple[str, ...] = ()


def _trusted(entry: _Entry, folder: Path) -> TrustedKey:
    return _limited(trusted_file(folder / entry.key), entry)


def _trusted_certificates(entry: _OpenPgpEntry, folder: Path) -> list[TrustedCertificate]:
    return [_limited(found, entry) for found in trusted_certificates(folder / entry.certificate)]


def _authority(entry: _AuthorityEntry, folder: Path) -> TrustedAuthority:
    from nexus_oci.trust.authorities import trusted_authority

    return _limited(trusted_authority(folder / entry.roots, entry.subjects or ()), entry)


def _identity(entry: _IdentityEntry, folder: Path) -> TrustedIdentity:
    from nexus_oci.trust.keyless import trusted_identity

    root = folder / entry.trusted_root if entry.trusted_root is not None else None
    return _limited(trusted_identity(entry.identity, entry.issuer, root), entry)


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
