"""Judges OpenPGP signatures, detached and around a text, by the certificates that are trusted: through Sequoia.

A signature counts where the certificate is good now, and not only when it was made: neither expired nor revoked, and the key in
it that signed neither. Sequoia refuses weak algorithms, signatures that have expired, and those from before their key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.trust.openpgp import Keys, packets_of, sequoia

SUFFIX: Final = ".asc"
"""How the file of a detached, armored signature ends."""
_FRAME: Final = [b"-----BEGIN PGP SIGNED MESSAGE-----", b"-----BEGIN PGP SIGNATURE-----", b"-----END PGP SIGNATURE-----"]
"""The only lines of a signed message that begin with a dash, unless the dash is escaped (RFC 4880, section 7)."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A public OpenPGP certificate: its fingerprint in upper-case digits, its first user ID, and its binary form."""

    fingerprint: str
    user: str
    data: bytes = field(repr=False)

    def unusable(self, signer: str, now: datetime) -> str | None:
        """Why signatures by its key `signer`, a fingerprint, do not count now; None where they do."""
        found = _sequoia_certificate(self.data)
        name = f"the OpenPGP key {self.fingerprint[-16:]}"
        if found.is_revoked:
            return f"{name} is revoked"
        if found.expiration is not None and found.expiration <= now:
            return f"{name} expired on {found.expiration:%Y-%m-%d %H:%M} UTC"
        if signer not in Keys.of(packets_of(self.data)).signing_at(now.timestamp()):
            return f"the key {signer[-16:]} of {name} is expired, revoked, or not meant for signing"
        return None


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Who made a good signature: a certificate, and the key in it, by its fingerprint."""

    certificate: Certificate
    signer: str


def read_certificates(data: bytes, name: str) -> tuple[Certificate, ...]:
    """The certificates in a file, armored or binary, one or a keyring; raises `UsageError` where there is none."""
    _, split = sequoia()
    try:
        found = split(data)
    except Exception as error:  # noqa: BLE001  pysequoia raises plain RuntimeErrors
        raise _no_certificate(name, str(error)) from None
    if not found:
        raise _no_certificate(name, "it is empty")
    return tuple(
        Certificate(fingerprint=one.fingerprint.upper(), user=next((str(user) for user in one.user_ids), ""), data=bytes(one))
        for one in found
    )


def _no_certificate(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name} holds no OpenPGP certificate",
        why=(why.splitlines() or [""])[0],
        hint="export it with `gpg --export --armor FINGERPRINT`",
    )


def detached_makers(signature: bytes, data: bytes, certificates: Iterable[Certificate]) -> list[Maker]:
    """Whose good signatures of `data` are among those in `signature`; whether they count now is not asked.

    Raises `VerificationError` where `signature` holds none at all.
    """
    from pysequoia import Sig, verify

    sequoia()
    try:
        packets = [Sig.from_bytes(bytes(packet)) for packet in packets_of(signature)]
    except Exception:  # noqa: BLE001  as above
        packets = []
    if not packets:
        raise VerificationError("there is no OpenPGP signature", why="what was given cannot be read as one")
    makers = []
    for certificate in certificates:
        known = [_sequoia_certificate(certificate.data)]
        for packet in packets:
            try:
                found = verify(bytes=data, store=lambda _, known=known: known, signature=packet)
            except Exception:  # noqa: BLE001, S112  as above: a signature that is not good is another's, or was changed
                continue
            makers += _makers(certificate, found)
    return makers


def clear_makers(message: bytes, certificates: Sequence[Certificate]) -> tuple[bytes, list[Maker]]:
    """The text in a signed message, and whose good signatures are around it; as `detached_makers` otherwise.

    The text is what was signed, and there is nothing before the message or after it. Without a maker the text is empty.
    """
    from pysequoia import verify

    sequoia()
    lines = message.strip().splitlines()
    dashed = [line.rstrip() for line in lines if line.startswith(b"-") and not line.startswith(b"- ")]
    if dashed != _FRAME or not (lines[0].startswith(b"-----") and lines[-1].startswith(b"-----")):
        raise VerificationError("there is no OpenPGP message", why="it does not begin and end as a signed text does")
    text, makers = b"", []
    for certificate in certificates:
        known = [_sequoia_certificate(certificate.data)]
        try:
            found = verify(bytes=message, store=lambda _, known=known: known)
        except Exception:  # noqa: BLE001, S112  as above
            continue
        makers += _makers(certificate, found)
        text = bytes(found.bytes or b"")
    return text, makers


def _makers(certificate: Certificate, found: Any) -> list[Maker]:
    return [Maker(certificate=certificate, signer=one.signing_key.upper()) for one in found.valid_sigs]


def _sequoia_certificate(data: bytes) -> Any:
    _, split = sequoia()
    (found,) = split(data)
    return found
