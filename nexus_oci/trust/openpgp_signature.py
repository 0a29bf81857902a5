"""OpenPGP signatures of small texts, made on this machine: detached ones, and texts with their signature around them.

The same key, text and time give the same bytes: RSA and EdDSA signatures have no random part, and are those that gpg makes; the
random part of ECDSA comes from the key and the text (RFC 6979). RFC 4880, sections 5.2.3 (signatures of version 4), 6.2 (armor)
and 7 (cleartext); RFC 6637 for ECDSA. What was made is verified with Sequoia before it is handed out.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator
from typing import Final

from nexus_oci.errors import VerificationError
from nexus_oci.trust.openpgp import SigningKey
from nexus_oci.trust.openpgp_secret import EcdsaSecret, EddsaSecret, RsaSecret, Secret, open_secret

_BINARY, _TEXT = 0x00, 0x01
_SHA512: Final = 10
_CREATED, _ISSUER, _ISSUER_FINGERPRINT = 2, 16, 33
_SPACES: Final = b" \t\r"
_ESCAPED: Final = (b"-", b"From ")
"""What a line of a signed text may not begin with as it is: the first must be escaped, the second is so by gpg."""


def sign_detached(key: SigningKey, data: bytes, time: int) -> bytes:
    """An armored signature of `data`, over SHA-512, dated `time` in seconds since 1970.

    Raises `UsageError` for a key that is protected in a way that is not known here, and `VerificationError` where the signature
    does not verify.
    """
    made = _armored(_packet(key, _BINARY, data, time))
    _check(key, data, made)
    return made


def sign_clear(key: SigningKey, text: bytes, time: int) -> bytes:
    """`text` with its signature around it; raises as `sign_detached` does. Blanks at the ends of lines are not kept."""
    lines = [line.rstrip(_SPACES) for line in text.removesuffix(b"\n").split(b"\n")]
    signature = _armored(_packet(key, _TEXT, b"\r\n".join(lines), time))
    shown = b"".join((b"- " if line.startswith(_ESCAPED) else b"") + line + b"\n" for line in lines)
    made = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + shown + signature
    _check(key, None, made)
    return made


def _check(key: SigningKey, data: bytes | None, made: bytes) -> None:
    """Verify with Sequoia what was signed here."""
    from nexus_oci.trust.openpgp_verification import clear_makers, detached_makers, read_certificates

    (certificate,) = read_certificates(key.certificate, "the key's certificate")
    found = clear_makers(made, [certificate])[1] if data is None else detached_makers(made, data, [certificate])
    if not any(maker.signer == key.signer for maker in found):
        raise VerificationError(
            f"the signature that the OpenPGP key {key.signer[-16:]} made does not verify",
            hint="the key may be damaged: compare its fingerprint with what gpg says of it",
        )


def _packet(key: SigningKey, kind: int, data: bytes, time: int) -> bytes:
    """A signature packet of version 4 (section 5.2.3)."""
    secret = open_secret(key)
    fingerprint = bytes.fromhex(key.signer)
    hashed = _subpacket(_ISSUER_FINGERPRINT, b"\x04" + fingerprint) + _subpacket(_CREATED, struct.pack(">I", time))
    open_part = _subpacket(_ISSUER, fingerprint[-8:])
    head = bytes([4, kind, secret.algorithm, _SHA512]) + struct.pack(">H", len(hashed)) + hashed
    signed = data + head + b"\x04\xff" + struct.pack(">I", len(head))
    digest = hashlib.sha512(signed).digest()
    numbers = b"".join(map(_mpi, _numbers(secret, signed, digest)))
    body = head + struct.pack(">H", len(open_part)) + open_part + digest[:2] + numbers
    return _header(len(body)) + body


def _numbers(secret: Secret, signed: bytes, digest: bytes) -> Iterator[bytes]:
    """The numbers of which a signature consists, by the key's kind."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if isinstance(secret, RsaSecret):
        yield secret.key.sign(signed, padding.PKCS1v15(), hashes.SHA512())
    elif isinstance(secret, EddsaSecret):
        made = secret.key.sign(digest)
        yield from (made[:32], made[32:])
    elif isinstance(secret, EcdsaSecret):
        made = secret.key.sign(signed, ec.ECDSA(hashes.SHA512(), deterministic_signing=True))
        yield from (number.to_bytes(66, "big") for number in decode_dss_signature(made))


def _subpacket(kind: int, data: bytes) -> bytes:
    return bytes([len(data) + 1, kind]) + data


def _mpi(number: bytes) -> bytes:
    """A number as section 3.2 writes it: its length in bits, and no zero before it."""
    number = number.lstrip(b"\0")
    return struct.pack(">H", int.from_bytes(number, "big").bit_length()) + number


def _header(length: int) -> bytes:
    """The old header of a signature packet (section 4.2.1), which is what gpg writes."""
    return b"\x88" + bytes([length]) if length < 1 << 8 else b"\x89" + struct.pack(">H", length)


def _armored(packet: bytes) -> bytes:
    text = base64.b64encode(packet)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    check = base64.b64encode(_crc24(packet).to_bytes(3, "big"))
    return b"\n".join([b"-----BEGIN PGP SIGNATURE-----", b"", *lines, b"=" + check, b"-----END PGP SIGNATURE-----", b""])


def _crc24(data: bytes) -> int:
    """The checksum of armor (section 6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc
