"""Mach-O files, trees and signers for tests of packages of macOS."""

from __future__ import annotations

import io
import stat
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nexus_oci.formats.macos.signature import ProductSigner
from nexus_oci.formats.macos.tree import Entry

EPOCH = 1_700_000_000
PROCESSORS = {"x86_64": (0x01000007, 3), "arm64": (0x0100000C, 0)}


def mach_o(path: Path, architecture: str, filling: bytes = b"") -> Path:
    """The header of an executable, and something after it."""
    processor, subtype = PROCESSORS[architecture]
    path.write_bytes(struct.pack("<8I", 0xFEEDFACF, processor, subtype, 2, 0, 0, 0, 0) + filling)
    return path


def file_entry(path: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path=path, mode=stat.S_IFREG | mode, size=len(data), open=lambda: io.BytesIO(data))


def link_entry(path: str, target: str) -> Entry:
    return Entry(path=path, mode=stat.S_IFLNK | 0o755, size=len(target.encode()), target=target)


def authority_and_signer(*, days: int = 100, key_bits: int = 2048, usage: bool = True) -> tuple[x509.Certificate, ProductSigner]:
    """A self-signed authority, and a signer whose certificate it issued."""
    root_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=bits) for bits in (2048, key_bits))
    now = datetime.now(UTC)
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def builder(name: x509.Name, public: rsa.RSAPublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
        )

    root = builder(root_name, root_key.public_key())
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    authority = root.sign(root_key, hashes.SHA256())
    leaf = builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Developer ID Installer: Test")]), key.public_key())
    uses = ExtendedKeyUsageOID.CODE_SIGNING if usage else ExtendedKeyUsageOID.SERVER_AUTH
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([uses]), critical=True)
    certificate = leaf.sign(root_key, hashes.SHA256())
    return authority, ProductSigner(key=key, chain=[certificate], now=now)
