"""Entitlement tokens: JSON Web Signatures in compact form (RFC 7515), signed with Ed25519 (RFC 8032, RFC 8037).

A token is `HEADER.CLAIMS.SIGNATURE`, each in base64url without padding. The header is exactly
`{"alg":"EdDSA","kid":"KEY","typ":"nexus-entitlement+jwt"}`, where KEY is the SHA-256 of the public key's SubjectPublicKeyInfo in
hexadecimal, as `nexus-oci keygen` prints it. There is one algorithm and it is never chosen by what the token says; `typ` keeps a
signature over a token from being one over anything else (RFC 8725, section 3.11). A token has one spelling: what decodes to the
same bytes but is written differently is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from nexus_oci.entitlement.claims import Claims, decoded, encoded
from nexus_oci.entitlement.refusals import Refused
from nexus_oci.errors import UsageError

LARGEST: Final = 8192
"""Bytes of the largest token, and of the largest file that is read as one."""
_SIGNATURE: Final = 64
SPKI: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410, section 4)."""
_HEADER = re.compile(rb'\{"alg":"EdDSA","kid":"([0-9a-f]{64})","typ":"nexus-entitlement\+jwt"\}')


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A token taken apart, with nothing verified: the id of its key, what is signed, the signature, and the claims' JSON."""

    key: str
    signed: bytes
    signature: bytes
    payload: bytes


def key_id(public: bytes) -> str:
    """The id of an Ed25519 public key, given as its 32 bytes."""
    return hashlib.sha256(SPKI + public).hexdigest()


def issue(claims: Claims, key: str, sign: Callable[[bytes], bytes]) -> str:
    """A token with those claims. `key` is the id of the key that `sign` signs with, as pure Ed25519.

    Raises `UsageError` for claims with faults, and where the token would be larger than any reader takes.
    """
    faults = claims.faults()
    if faults:
        raise UsageError("this is no entitlement", why="; ".join(faults))
    header = b'{"alg":"EdDSA","kid":"%s","typ":"nexus-entitlement+jwt"}' % key.encode()
    signed = b".".join((_base64(header), _base64(encoded(claims))))
    token = b".".join((signed, _base64(sign(signed))))
    if len(token) > LARGEST:
        raise UsageError(f"the token would have {len(token)} bytes", why=f"the engines read at most {LARGEST}")
    return token.decode()


def opened(token: bytes) -> Envelope:
    """A token taken apart; blanks and line ends around it are none of it. Raises `Refused` for what is no token."""
    text = token.strip(b" \t\r\n")
    if len(token) > LARGEST:
        raise _malformed(f"it has more than {LARGEST} bytes")
    parts = text.split(b".")
    if len(parts) != 3:
        raise _malformed("a token has three parts with dots between them")
    header, payload, signature = map(_plain, parts)
    found = _HEADER.fullmatch(header)
    if found is None:
        raise _malformed("its header is not that of an entitlement")
    if len(signature) != _SIGNATURE:
        raise _malformed("its signature has not 64 bytes")
    return Envelope(key=found[1].decode(), signed=b".".join(parts[:2]), signature=signature, payload=payload)


def claims_of(envelope: Envelope) -> Claims:
    """The claims of a token, verified or not; raises `Refused` where they are none."""
    try:
        return decoded(envelope.payload)
    except ValueError as error:
        raise _malformed(str(error)) from error


def read(token: bytes, keys: Mapping[str, bytes]) -> Claims:
    """The claims of a token that one of `keys` signed: public keys of 32 bytes by their ids.

    1. The token is taken apart; its spelling has to be the one.  2. Its header names one of the keys.  3. The signature over
    header and claims is that key's.  4. Only then are the claims read.  Whether they fit is `judge`'s question. Raises `Refused`.
    """
    envelope = opened(token)
    public = keys.get(envelope.key)
    if public is None:
        known = ", ".join(f"{key[:16]}…" for key in sorted(keys)) or "none"
        raise Refused(
            "wrong-key",
            "the entitlement was signed with another key",
            why=f"it names the key {envelope.key[:16]}…; known: {known}",
            hint="use an entitlement that was issued for this engine by its vendor",
        )
    if not _verified(public, envelope):
        raise Refused(
            "edited",
            "the entitlement was changed after it was signed",
            why=f"its signature is not that of key {envelope.key[:16]}…",
            hint="use the file as the vendor sent it, or ask for it again",
        )
    return claims_of(envelope)


def _verified(public: bytes, envelope: Envelope) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(envelope.signature, envelope.signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _plain(part: bytes) -> bytes:
    """What a part stands for; it has to be the one spelling of that."""
    try:
        data = base64.b64decode(part + b"=" * (-len(part) % 4), b"-_")
    except (binascii.Error, ValueError):
        data = b""
    if not data or _base64(data) != part:
        raise _malformed("a part of it is no base64url")
    return data


def _malformed(why: str) -> Refused:
    return Refused(
        "malformed",
        "this is no entitlement",
        why=why,
        hint="use the file as the vendor sent it: one line, with nothing added or left out",
    )
