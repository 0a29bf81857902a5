"""X.509 certificates that sign releases: chains, and what the Notary Project demands of each certificate in one.

A chain begins with the certificate of the key that signs (the leaf) and ends with a self-signed root; each is issued by the next.
The demands are those of the Notary Project's signature specification, "Certificate Requirements", over RFC 5280.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from nexus_oci.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

_LONGEST: Final = 10
"""Certificates of the longest chain that is looked at."""
_RSA: Final = {2048: "PS256", 3072: "PS384", 4096: "PS512"}
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_OTHER_USES: Final = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
_HASHES: Final = ("sha256", "sha384", "sha512")


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A chain of certificates, DER, the leaf first. Reading it says nothing yet of whether it is any good."""

    der: tuple[bytes, ...]

    @cached_property
    def certificates(self) -> tuple[Certificate, ...]:
        """The same, parsed; raises `VerificationError` for what is no certificate."""
        from cryptography.x509 import load_der_x509_certificate

        try:
            return tuple(map(load_der_x509_certificate, self.der))
        except ValueError as error:
            raise VerificationError("a certificate cannot be read", why=str(error).partition("\n")[0]) from None

    @property
    def leaf(self) -> Certificate:
        """The certificate of the key that signs."""
        return self.certificates[0]

    @property
    def thumbprints(self) -> tuple[str, ...]:
        """SHA-256 of each certificate, hexadecimal, the leaf's first."""
        return tuple(hashlib.sha256(one).hexdigest() for one in self.der)

    @property
    def subject(self) -> str:
        """Whom the leaf names (RFC 4514)."""
        return named(self.leaf)

    def faults(self) -> list[str]:
        """What the Notary Project's requirements refuse in it, all of it; nothing of time."""
        try:
            certificates = self.certificates
        except VerificationError as error:
            return [f"{error.what}: {error.why}"]
        if not 1 <= len(certificates) <= _LONGEST:
            return [f"it has {len(certificates)} certificates"]
        found = [*_leaf_faults(certificates[0])]
        for below, one in enumerate(certificates[1:]):
            found += _authority_faults(one, below)
        return found + _order_faults(certificates)

    def untimely(self, moment: datetime) -> str | None:
        """Which certificate is not valid at a moment, and why; None where all are."""
        for one in self.certificates:
            if moment < one.not_valid_before_utc:
                return f"the certificate {named(one)} is valid from {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only"
            if moment > one.not_valid_after_utc:
                return f"the certificate {named(one)} expired on {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        return None


def read_certificates(data: bytes, name: str) -> tuple[bytes, ...]:
    """The certificates of a file, PEM (one or several) or DER, as DER; raises `UsageError` where there are none."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificates

    if b"PRIVATE KEY-----" in data:
        raise UsageError(
            f"{name} holds a private key", why="certificates are for everybody to read", hint="keep keys in a file of their own"
        )
    try:
        found = load_pem_x509_certificates(data) if b"-----BEGIN" in data else [load_der_x509_certificate(data)]
    except ValueError as error:
        raise UsageError(
            f"{name} holds no certificates that can be read",
            why=str(error).partition("\n")[0],
            hint="give X.509 certificates in PEM, or one in DER",
        ) from None
    return tuple(one.public_bytes(Encoding.DER) for one in found)


def algorithm_of(key: Any) -> str:
    """How a public key signs (RFC 7518 names, by the specification's "Algorithm Selection"); raises `VerificationError`."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size in _RSA:
            return _RSA[key.key_size]
        why = f"it is RSA of {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name in _CURVES:
            return _CURVES[key.curve.name]
        why = f"it is over the curve {key.curve.name}"
    else:
        why = f"it is {type(key).__name__.removeprefix('_')}"
    raise VerificationError(
        "a key is of a kind that Notation does not know",
        why=f"{why}; known are RSA of 2048, 3072 and 4096 bits, P-256, P-384 and P-521",
    )


def parse_subject(text: str) -> tuple[tuple[str, str], ...]:
    """The attributes of a distinguished name (RFC 4514), as pairs of an OID and a value; raises `UsageError`.

    As in the Notary Project's trust policies country, state and organisation have to be among them (`S` is `ST`).
    """
    from cryptography.x509 import Name
    from cryptography.x509.oid import NameOID

    words = {"S": NameOID.STATE_OR_PROVINCE_NAME, "SERIALNUMBER": NameOID.SERIAL_NUMBER, "E": NameOID.EMAIL_ADDRESS}
    try:
        found = _attributes(Name.from_rfc4514_string(re.sub(r"(?<!\\),\s+", ",", text.strip()), words))
    except ValueError as error:
        raise UsageError(f"{text!r} is no subject of a certificate", why=str(error) or "it is no distinguished name") from None
    lacking = {
        word
        for word, oid in (("C", NameOID.COUNTRY_NAME), ("ST", NameOID.STATE_OR_PROVINCE_NAME), ("O", NameOID.ORGANIZATION_NAME))
        if oid.dotted_string not in dict(found)
    }
    if lacking:
        raise UsageError(f"the subject {text!r} says too little", why=f"it lacks {', '.join(sorted(lacking))}")
    return found


def has_subject(certificate: Certificate, wanted: Sequence[tuple[str, str]]) -> bool:
    """Whether a certificate's subject has every attribute that is wanted."""
    try:
        return set(wanted) <= set(_attributes(certificate.subject))
    except ValueError:
        return False


def named(certificate: Certificate) -> str:
    """What messages call a certificate: its subject."""
    return certificate.subject.rfc4514_string() or f"number {certificate.serial_number}"


def _attributes(name: Name) -> tuple[tuple[str, str], ...]:
    """Raises `ValueError` for a name that could be understood in two ways: two of a kind, or two in one place."""
    if any(len(list(rdn)) != 1 for rdn in name.rdns):
        raise ValueError("it has several attributes in one place")
    found = tuple((attribute.oid.dotted_string, str(attribute.value)) for attribute in name)
    if len(dict(found)) != len(found):
        raise ValueError("it has an attribute twice")
    return found


def _leaf_faults(leaf: Certificate) -> list[str]:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID as Use

    name, found = named(leaf), []
    usage, critical = _extension(leaf, x509.KeyUsage)
    if usage is None or not critical:
        found.append(f"{name} has no critical key usage")
    elif not usage.digital_signature:
        found.append(f"{name} is not for digital signatures: its key usage lacks digitalSignature")
    else:
        others = [word for word in _OTHER_USES if word != "content_commitment" and getattr(usage, word)]
        if others:
            found.append(f"{name} is for other things too: {', '.join(others)}")
    purposes, _ = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is not None:
        foreign = {Use.SERVER_AUTH, Use.CLIENT_AUTH, Use.EMAIL_PROTECTION, Use.TIME_STAMPING, Use.OCSP_SIGNING}
        foreign.add(Use.ANY_EXTENDED_KEY_USAGE)
        if Use.CODE_SIGNING not in purposes or foreign & set(purposes):
            found.append(f"{name} is not for code signing alone, by its extended key usage")
    constraints, _ = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        found.append(f"{name} is a certificate authority's, which signs certificates only")
    return found + _algorithm_faults(leaf)


def _authority_faults(one: Certificate, below: int) -> list[str]:
    """`below` is how many authorities stand between it and the leaf."""
    from cryptography import x509

    name, found = named(one), []
    usage, critical = _extension(one, x509.KeyUsage)
    if usage is None or not critical or not usage.key_cert_sign:
        found.append(f"{name} may not sign certificates: it has no critical key usage with keyCertSign")
    constraints, critical = _extension(one, x509.BasicConstraints)
    if constraints is None or not critical or not constraints.ca:
        found.append(f"{name} is no certificate authority's: it has no critical basic constraint that says so")
    elif constraints.path_length is not None and constraints.path_length < below:
        found.append(f"{name} allows {constraints.path_length} authorities below it, and there are {below}")
    return found + _algorithm_faults(one)


def _algorithm_faults(one: Certificate) -> list[str]:
    from cryptography.exceptions import UnsupportedAlgorithm

    found = []
    try:
        algorithm_of(one.public_key())
    except VerificationError as error:
        found.append(f"the key of {named(one)}: {error.why}")
    except (ValueError, UnsupportedAlgorithm) as error:
        found.append(f"the key of {named(one)} cannot be read: {error}")
    try:
        hashed = one.signature_hash_algorithm
    except UnsupportedAlgorithm:
        hashed = None
    if hashed is None or hashed.name not in _HASHES:
        found.append(f"{named(one)} is signed with {hashed.name if hashed else 'an unknown algorithm'}; SHA-256 is the least")
    return found


def _order_faults(certificates: Sequence[Certificate]) -> list[str]:
    """Whether each is issued by the next, and the last by itself, and only that."""
    found = []
    for one, issuer in pairwise(certificates):
        if _issued(one, one):
            found.append(f"{named(one)} is self-signed, and not the last: the order is from the leaf to the root")
        elif not _issued(one, issuer):
            found.append(
                f"{named(one)} is not issued by {named(issuer)}, which follows it: the order is from the leaf to the root"
            )
    if not _issued(certificates[-1], certificates[-1]):
        found.append(f"it ends with {named(certificates[-1])}, which is not self-signed: the root is missing")
    return found


def _issued(one: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        one.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _extension(certificate: Certificate, kind: Any) -> tuple[Any, bool]:
    """An extension's value, and whether it is critical; (None, False) where it is not there or cannot be read."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(kind)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None, False
    return found.value, found.critical
