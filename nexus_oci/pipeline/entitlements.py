"""Entitlements and the keys that sign them: the wiring of `nexus_oci.entitlement` with key files and the definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.entitlement.claims import Claims
from nexus_oci.entitlement.token import LARGEST, SPKI, claims_of, issue, key_id, opened, read
from nexus_oci.errors import UsageError

if TYPE_CHECKING:
    from nexus_oci.trust.keys import Signer


def issue_token(claims: Claims, signer: Signer) -> str:
    """A token with those claims, read back as an engine will.

    Raises `UsageError` for claims that are none and for a key of another kind than Ed25519, `Refused` where what the key signs is
    not verified by its public part: devices may know Ed25519 and sign a hash instead.
    """
    public = raw_key(signer.public.der, "the signing key")
    token = issue(claims, key_id(public), signer.sign)
    read(token.encode(), {key_id(public): public})
    return token


def read_keys(files: Iterable[Path]) -> dict[str, bytes]:
    """The public keys in PEM files, 32 bytes each, by their ids; raises `UsageError`."""
    keys = [read_key(file, str(file)) for file in files]
    return {key_id(key): key for key in keys}


def read_key(file: Path, name: str) -> bytes:
    """The 32 bytes of the Ed25519 public key in a PEM file; `name` is what messages call it. Raises `UsageError`."""
    from nexus_oci.trust.keys import read_public_key, read_small

    return raw_key(read_public_key(read_small(file, "the key"), name).der, name)


def raw_key(der: bytes, name: str) -> bytes:
    """The 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410); raises `UsageError` for a key of another kind."""
    if not der.startswith(SPKI) or len(der) != len(SPKI) + 32:
        raise UsageError(
            f"{name} is no Ed25519 key",
            why="entitlements are signed with Ed25519 and nothing else",
            hint="make one with `nexus-oci keygen --type ed25519`",
        )
    return der[len(SPKI) :]


def read_token(file: Path) -> bytes:
    """What is in a token's file, at most one byte more than a token may have; raises `UsageError` where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read", why=error.strerror) from error


def token_place(file: Path) -> str:
    """Where the engine that a token is for looks for it on a host. Nothing is verified; raises `Refused` for what is no token."""
    return f"/etc/{claims_of(opened(read_token(file))).engine}/entitlement.token"


def described(claims: Claims) -> Mapping[str, str]:
    """The claims for people: each with its name, in the order in which they are read."""
    from nexus_oci.entitlement.claims import moment

    grace = f", and {_length(claims.grace)} of grace" if claims.grace else ""
    return {
        "id": claims.id,
        "customer": claims.customer,
        "engine": claims.engine,
        "tier": claims.tier,
        "distributions": ", ".join(claims.distributions),
        "features": ", ".join(claims.features) or "none named",
        "limits": ", ".join(f"{name} {most}" for name, most in sorted(claims.limits.items())) or "none",
        "issued": moment(claims.issued),
        "holds from": moment(claims.not_before),
        "until": moment(claims.not_after) + grace,
    }


def _length(seconds: int) -> str:
    """A length of time in its largest whole unit: `14 days`."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
