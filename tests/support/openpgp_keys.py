"""OpenPGP keys made for one test: with a passphrase where one is wanted, which pysequoia itself does not offer."""

from __future__ import annotations

import hashlib
import os
import struct

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from pysequoia import ArmorKind, CipherSuite, Profile, Tsk, armor
from pysequoia.packet import PacketPile, Tag

USER = "Test <test@nexus.example>"


def make_key(
    suite: CipherSuite = CipherSuite.RSA2k, *, user: str = USER, seconds: int | None = None, passphrase: str = ""
) -> Tsk:
    """A version 4 key with a subkey that signs; it lives for `seconds`, or for ever."""
    key = Tsk.generate(user, profile=Profile.RFC4880, cipher_suite=suite, validity_seconds=seconds)
    return Tsk.from_bytes(_protected(key, passphrase.encode())) if passphrase else key


def armored(key: Tsk) -> bytes:
    """The secret key as a file has it."""
    return armor(bytes(key), ArmorKind.SecretKey).encode()


def _protected(key: Tsk, passphrase: bytes) -> bytes:
    """The key with each secret part encrypted (RFC 4880, section 5.5.3: AES-256, iterated and salted SHA-256, SHA-1 checksum)."""
    public = list(PacketPile.from_bytes(bytes(key.extract_certificate())))
    result = b""
    for packet, open_part in zip(PacketPile.from_bytes(bytes(key)), public, strict=True):
        if packet.tag not in (Tag.SecretKey, Tag.SecretSubkey):
            result += bytes(packet)
            continue
        usage, secret = packet.body[len(open_part.body)], packet.body[len(open_part.body) + 1 : -2]
        assert usage == 0
        salt, vector = os.urandom(8), os.urandom(16)
        material = (salt + passphrase) * (65536 // len(salt + passphrase) + 1)
        cipher = Cipher(AES(hashlib.sha256(material[:65536]).digest()), CFB(vector)).encryptor()
        body = open_part.body + bytes([254, 9, 3, 8]) + salt + b"\x60" + vector
        body += cipher.update(secret + hashlib.sha1(secret).digest()) + cipher.finalize()
        kind = 5 if packet.tag == Tag.SecretKey else 7
        result += bytes([0xC0 | kind, 0xFF]) + struct.pack(">I", len(body)) + body
    return result
