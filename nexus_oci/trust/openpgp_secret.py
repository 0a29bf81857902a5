"""The secret part of an OpenPGP key, opened: RFC 4880, sections 5.5.3 (secret keys) and 3.7 (from a passphrase to a key).

Known are the kinds of keys that gpg, apt and rpm know, plain or protected with AES as gpg exports them. Nothing secret is in a
message or a `repr`.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nexus_oci.errors import UsageError
from nexus_oci.trust.openpgp import PassphraseError, SigningKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

RSA, RSA_SIGN, ECDSA, EDDSA = 1, 3, 19, 22
"""Kinds of public keys (section 9.1; RFC 6637; EdDSA as gpg numbers it)."""
_PLAIN, _SHA1_CHECKED, _SUM_CHECKED = 0, 254, 255
_SIMPLE, _SALTED, _ITERATED = 0, 1, 3
_HASHES: Final = {2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
_AES: Final = {7: 16, 8: 24, 9: 32}
"""The number of each kind of AES, and the size of its key in bytes."""
_BLOCK: Final = 16
_CURVES: Final = {
    "2a8648ce3d030107": "SECP256R1",
    "2b81040022": "SECP384R1",
    "2b81040023": "SECP521R1",
    "2b2403030208010107": "BrainpoolP256R1",
    "2b240303020801010b": "BrainpoolP384R1",
    "2b240303020801010d": "BrainpoolP512R1",
}
_ED25519: Final = "2b06010401da470f01"


@dataclass(frozen=True, kw_only=True)
class RsaSecret:
    """An RSA key; `algorithm` is its number."""

    algorithm: int
    key: RSAPrivateKey = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class EddsaSecret:
    """A key on the curve Ed25519."""

    key: Ed25519PrivateKey = field(repr=False)
    algorithm: int = EDDSA


@dataclass(frozen=True, kw_only=True)
class EcdsaSecret:
    """A key on a curve of NIST or Brainpool."""

    key: EllipticCurvePrivateKey = field(repr=False)
    algorithm: int = ECDSA


Secret = RsaSecret | EddsaSecret | EcdsaSecret


def open_secret(key: SigningKey) -> Secret:
    """The part of `key` that signs; raises `UsageError` where it is protected in a way, or of a kind, that is not known here."""
    from nexus_oci.trust.openpgp import packets_of

    body = next((packet.body for packet in packets_of(key.secret) if (packet.fingerprint or "").upper() == key.signer), b"")
    name = f"the OpenPGP key {key.signer[-16:]}"
    passphrase = key.passphrase.encode(errors="surrogateescape") if key.passphrase is not None else None
    try:
        return _secret(_Reader(body), passphrase, name)
    except (IndexError, struct.error, ValueError):
        raise UsageError(
            f"{name} cannot be read", why="its secret part is damaged", hint="export it again: `gpg --export-secret-keys --armor`"
        ) from None


@dataclass(kw_only=False)
class _Reader:
    """Reads a packet's body from its start to its end."""

    data: bytes = field(repr=False)
    position: int = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        piece = self.data[self.position : self.position + size]
        if len(piece) < size:
            raise IndexError(size)
        self.position += size
        return piece

    def byte(self) -> int:
        """The next byte as a number."""
        return self.take(1)[0]

    def mpi(self) -> int:
        """The next number (section 3.2)."""
        (bits,) = struct.unpack(">H", self.take(2))
        return int.from_bytes(self.take((bits + 7) // 8), "big")

    def rest(self) -> bytes:
        """All that follows."""
        return self.take(len(self.data) - self.position)


def _secret(body: _Reader, passphrase: bytes | None, name: str) -> Secret:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    body.take(5)  # the version and the time
    algorithm = body.byte()
    if algorithm in (RSA, RSA_SIGN):
        n, e = body.mpi(), body.mpi()
        secret = _opened(body, passphrase, name)
        d, p, q = secret.mpi(), secret.mpi(), secret.mpi()
        numbers = rsa.RSAPrivateNumbers(
            p=p, q=q, d=d, dmp1=d % (p - 1), dmq1=d % (q - 1), iqmp=pow(q, -1, p), public_numbers=rsa.RSAPublicNumbers(e, n)
        )
        return RsaSecret(algorithm=algorithm, key=numbers.private_key())
    curve = body.take(body.byte()).hex() if algorithm in (ECDSA, EDDSA) else ""
    if algorithm == ECDSA and curve in _CURVES:
        body.mpi()
        return EcdsaSecret(key=ec.derive_private_key(_opened(body, passphrase, name).mpi(), getattr(ec, _CURVES[curve])()))
    if algorithm == EDDSA and curve == _ED25519:
        body.mpi()
        return EddsaSecret(
            key=ed25519.Ed25519PrivateKey.from_private_bytes(_opened(body, passphrase, name).mpi().to_bytes(32, "big"))
        )
    raise UsageError(
        f"{name} is of a kind that cannot sign texts here",
        why=f"it is of kind {algorithm}{f' on the curve {curve}' if curve else ''}",
        hint="use an RSA key, or one on Ed25519 or a curve of NIST",
    )


def _opened(body: _Reader, passphrase: bytes | None, name: str) -> _Reader:
    """The secret numbers, decrypted where they are not plain; what checks them must fit."""
    usage = body.byte()
    if usage == _PLAIN:
        data = body.rest()
        return _summed(data)
    if usage not in (_SHA1_CHECKED, _SUM_CHECKED):
        raise _unknown_protection(name, f"its protection is of kind {usage}")
    cipher = body.byte()
    size = _AES.get(cipher)
    if size is None:
        raise _unknown_protection(name, f"its cipher is number {cipher}")
    key = _derived(body, passphrase or b"", size, name)
    data = _decrypted(key, body.take(_BLOCK), body.rest())
    if usage == _SUM_CHECKED:
        return _summed(data)
    if hashlib.sha1(data[:-20], usedforsecurity=False).digest() != data[-20:]:
        raise PassphraseError(f"the passphrase of {name} is wrong", why="the key does not open with it")
    return _Reader(data[:-20])


def _summed(data: bytes) -> _Reader:
    """Numbers that are followed by the sum of their bytes."""
    if sum(data[:-2]) % (1 << 16) != int.from_bytes(data[-2:], "big"):
        raise ValueError("sum")
    return _Reader(data[:-2])


def _unknown_protection(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name} is protected in a way that is not known here",
        why=why,
        hint="import it into gpg and export it from there: `gpg --export-secret-keys --armor`",
    )


def _derived(body: _Reader, passphrase: bytes, size: int, name: str) -> bytes:
    """The key that a passphrase stands for (section 3.7.1)."""
    kind, algorithm = body.byte(), body.byte()
    if kind not in (_SIMPLE, _SALTED, _ITERATED) or algorithm not in _HASHES:
        raise _unknown_protection(name, f"its key derivation is of kind {kind}, with hash number {algorithm}")
    material = (body.take(8) if kind != _SIMPLE else b"") + passphrase
    total = len(material)
    if kind == _ITERATED:
        coded = body.byte()
        total = max(total, (16 + (coded & 15)) << ((coded >> 4) + 6))
    if not material:
        raise PassphraseError(f"the passphrase of {name} is wrong", why="it is empty")
    several = material * (1 + (1 << 16) // len(material))
    found = b""
    while len(found) < size:
        digest = hashlib.new(_HASHES[algorithm], b"\0" * (len(found) // hashlib.new(_HASHES[algorithm]).digest_size))
        for _ in range(total // len(several)):
            digest.update(several)
        digest.update(several[: total % len(several)])
        found += digest.digest()
    return found[:size]


def _decrypted(key: bytes, vector: bytes, data: bytes) -> bytes:
    """Cipher feedback (NIST SP 800-38A, 6.3), by way of the bare cipher: the library's own mode moves from place to place."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    before = (vector + data)[: (len(data) + _BLOCK - 1) // _BLOCK * _BLOCK]
    stream = Cipher(AES(key), ECB()).encryptor().update(before)  # noqa: S305  of blocks that are never the same twice
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))
