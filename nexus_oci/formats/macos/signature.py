"""The product signature of a flat package: made with an RSA key and its certificate, judged by the authorities that are given.

Apple's «Developer ID Installer» certificates are RSA. The RSA signature is over the table's SHA-1 digest as it is (RFC 8017, 8.2,
the digest not hashed again). Beside it is a detached CMS (RFC 5652) with SHA-256 whose content is the digest: without it a
package cannot be stapled. Neither has a time of signing, so that the same package signed twice is the same to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.formats.macos.xar import Archive, Signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

_SMALLEST: Final = 2048
_INSTALLER: Final = "1.2.840.113635.100.4.13"
"""Apple's extended key usage of certificates that sign installers (Apple's Certification Practice Statement, Developer ID)."""


@dataclass(frozen=True, kw_only=True)
class ProductSigner:
    """A key and the chain of its certificate, the certificate itself first; a `TableSigner`. `repr` does not show the key.

    Raises `UsageError` where the two do not belong together, or the certificate cannot sign, or is expired at `now`.
    """

    key: RSAPrivateKey = field(repr=False)
    chain: Sequence[Certificate]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if not self.chain or self.chain[0].public_key() != self.key.public_key():
            raise UsageError(
                "the certificate is not that of the key that signs packages of macOS",
                why="the first certificate has another public key",
                hint="give the chain with the signer's own certificate first",
            )
        if self.key.key_size < _SMALLEST:
            raise UsageError("the key that signs packages of macOS is too weak", why=f"it has {self.key.key_size} bits")
        leaf = self.chain[0]
        if not leaf.not_valid_before_utc <= self.now <= leaf.not_valid_after_utc:
            raise UsageError(
                "the certificate that signs packages of macOS is not valid now",
                why=f"it is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}",
                hint="renew it, and sign with the new one",
            )
        fault = _usage_fault(leaf)
        if fault:
            raise UsageError(
                "the certificate cannot sign packages of macOS",
                why=fault,
                hint="use a «Developer ID Installer» certificate, or one for code signing by an authority of yours",
            )

    @cached_property
    def certificates(self) -> tuple[bytes, ...]:
        """The chain, DER."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return tuple(one.public_bytes(Encoding.DER) for one in self.chain)

    def rsa(self, digest: bytes) -> bytes:
        """PKCS #1 v1.5 over the digest."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, utils

        return self.key.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))  # noqa: S303  the format's own

    def cms(self, digest: bytes) -> bytes:
        """A detached CMS of the digest, DER, without attributes and so without a time."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

        builder = pkcs7.PKCS7SignatureBuilder().set_data(digest).add_signer(self.chain[0], self.key, hashes.SHA256())
        for one in self.chain[1:]:
            builder = builder.add_certificate(one)
        options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes]
        return builder.sign(Encoding.DER, options)


def _usage_fault(certificate: Certificate) -> str | None:
    """Why a certificate may not sign code or packages; None where it may. One that does not limit its use may."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    extensions = certificate.extensions
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            return "its key usage has no digitalSignature"
    except x509.ExtensionNotFound:
        pass
    try:
        uses = {one.dotted_string for one in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
    except x509.ExtensionNotFound:
        return None
    allowed = {
        _INSTALLER,
        ExtendedKeyUsageOID.CODE_SIGNING.dotted_string,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string,
    }
    return None if uses & allowed else "its extended key usage is for something else"


def verify_product(archive: Archive, authorities: Sequence[Certificate], now: datetime) -> Certificate:
    """Judge the RSA signature of an archive that was read; returns the signer's certificate.

    1. There is an RSA signature. 2. It is over this very table's digest, by the first certificate's key. 3. Each certificate was
    issued by the next, and the last, or its issuer, is one of the `authorities`. 4. All are valid `now`, and the issuing ones are
    authorities. 5. The first may sign packages. Raises `VerificationError` for the first that fails. Revocation is not checked.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

    signature = _rsa(archive)
    try:
        chain = [x509.load_der_x509_certificate(one) for one in signature.certificates]
    except ValueError as error:
        raise VerificationError("a certificate in the package cannot be read", why=str(error)) from error
    key = chain[0].public_key() if chain else None
    if not isinstance(key, rsa.RSAPublicKey):
        raise VerificationError("the package is not signed with an RSA key", why="it names no such certificate")
    try:
        key.verify(signature.data, archive.digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))  # noqa: S303
    except InvalidSignature as error:
        raise VerificationError("the package's signature is wrong", why="it is not over its table of contents") from error
    _judge_chain(chain, authorities, now)
    fault = _usage_fault(chain[0])
    if fault:
        raise VerificationError("the package is signed with a certificate that may not", why=fault)
    return chain[0]


def _rsa(archive: Archive) -> Signature:
    for one in archive.signatures:
        if one.style == "RSA":
            return one
    raise VerificationError("the package is not signed", why="there is no RSA signature in it")


def _judge_chain(chain: Sequence[Certificate], authorities: Sequence[Certificate], now: datetime) -> None:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    issuers = list(chain[1:])
    last = chain[-1]
    anchor = next((one for one in authorities if one == last), None)
    if anchor is None:
        anchor = next((one for one in authorities if one.subject == last.issuer), None)
        if anchor is None:
            raise VerificationError(
                "the package is signed by somebody whom nobody here vouches for",
                why=f"none of the given authorities issued {last.subject.rfc4514_string()}",
            )
        issuers.append(anchor)
    for one in (*chain, anchor):
        if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
            raise VerificationError(f"the certificate {one.subject.rfc4514_string()} is not valid now")
    for issued, issuer in zip(chain, issuers, strict=False):
        try:
            issued.verify_directly_issued_by(issuer)
            constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound) as error:
            raise VerificationError(f"{issued.subject.rfc4514_string()} was not issued by the next certificate") from error
        if not constraints.ca:
            raise VerificationError(f"{issuer.subject.rfc4514_string()} is no authority, and issued a certificate")
