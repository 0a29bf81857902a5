"""The signed site that tests of admission share. A plugin of its own, as nothing may import a plugin before pytest does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.admission_site import Site, signed_site


@pytest.fixture(scope="session")
def site(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A release that is signed and, on another host, mirrored."""
    from tests.support.registry import running_registry

    with running_registry() as second, signed_site(tmp_path_factory.mktemp("site"), registry, second.host) as made:
        yield made


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and leaf.key with chain.pem, which it issued to a signer."""
    folder = tmp_path_factory.mktemp("authority")
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name("Test Root")
    ca = (
        _certificate(issuer, issuer, root.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .sign(root, hashes.SHA256())
    )
    leaf = (
        _certificate(_name("Release"), issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(root, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "chain.pem").write_bytes(leaf.public_bytes(pem) + ca.public_bytes(pem))
    (folder / "leaf.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder


def _name(common: str) -> x509.Name:
    parts = {NameOID.COUNTRY_NAME: "CH", NameOID.STATE_OR_PROVINCE_NAME: "ZH", NameOID.ORGANIZATION_NAME: "Nexus"}
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in {**parts, NameOID.COMMON_NAME: common}.items()])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))
    )  # fmt: skip


def _usage(**wanted: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
        "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in names})
