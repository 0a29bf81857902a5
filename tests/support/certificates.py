"""Chains of X.509 certificates for tests: an authority, one below it, and leaves, right or wrong in any way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)
KEYS: dict[str, Callable[[], Any]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS384": lambda: rsa.generate_private_key(65537, 3072),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA 1024": lambda: rsa.generate_private_key(65537, 1024),
}
USAGE = {
    "digital_signature": False, "content_commitment": False, "key_encipherment": False, "data_encipherment": False,
    "key_agreement": False, "key_cert_sign": False, "crl_sign": False, "encipher_only": False, "decipher_only": False,
}  # fmt: skip


def name(common: str) -> x509.Name:
    return x509.Name.from_rfc4514_string(f"CN={common},O=Example,ST=BE,C=DE")


@dataclass(frozen=True)
class Certified:
    """A key, its certificate, and who issued that; None for a root."""

    key: Any
    certificate: x509.Certificate
    issuer: Certified | None = None

    @property
    def chain(self) -> list[x509.Certificate]:
        """From this one to the root."""
        return [self.certificate, *(self.issuer.chain if self.issuer else [])]

    @property
    def pem(self) -> bytes:
        """The chain, PEM."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS#8, PEM."""
        pem: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem

    def write(self, folder: Path, stem: str) -> tuple[Path, Path]:
        """Write `stem`.key and `stem`.pem, the chain; both paths."""
        key, chain = folder / f"{stem}.key", folder / f"{stem}.pem"
        key.write_bytes(self.key_pem)
        chain.write_bytes(self.pem)
        return key, chain


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a certificate should be like. Extensions that are None are left out."""

    common: str = "release"
    kind: str = "ES256"
    usage: tuple[str, ...] | None = ("digital_signature",)
    critical: bool = True
    purposes: tuple[x509.ObjectIdentifier, ...] | None = (ExtendedKeyUsageOID.CODE_SIGNING,)
    authority: bool | None = None
    path_length: int | None = None
    begins: dt.datetime = NOW - DAY
    ends: dt.datetime = NOW + 365 * DAY
    hashed: Any = field(default_factory=hashes.SHA256)


ROOT = Wish(
    common="root",
    usage=("key_cert_sign", "crl_sign"),
    purposes=None,
    authority=True,
    begins=NOW - 9000 * DAY,
    ends=NOW + 9000 * DAY,
)


def issue(wish: Wish = Wish(), issuer: Certified | None = None, key: Any = None) -> Certified:
    """A certificate; without an issuer one that signs itself."""
    key = key or KEYS[wish.kind]()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(wish.common))
        .issuer_name(issuer.certificate.subject if issuer else name(wish.common))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(wish.begins)
        .not_valid_after(wish.ends)
    )
    if wish.usage is not None:
        usage: Any = x509.KeyUsage(**{**USAGE, **dict.fromkeys(wish.usage, True)})
        builder = builder.add_extension(usage, critical=wish.critical)
    if wish.purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wish.purposes), critical=False)
    if wish.authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=wish.authority, path_length=wish.path_length), critical=True)
    signing = issuer.key if issuer else key
    hashed = None if isinstance(signing, ed25519.Ed25519PrivateKey) else wish.hashed
    return Certified(key, builder.sign(signing, hashed), issuer)


def authority(common: str = "root") -> Certified:
    """A root."""
    return issue(Wish(common=common, usage=ROOT.usage, purposes=None, authority=True, begins=ROOT.begins, ends=ROOT.ends))


def intermediate(root: Certified, path_length: int | None = None) -> Certified:
    """An authority below a root."""
    return issue(
        Wish(common="between", usage=ROOT.usage, purposes=None, authority=True, path_length=path_length, begins=ROOT.begins), root
    )
