"""Values that the registry's tests share: time that never passes, and blobs."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.retry import Pace

ClientMaker = Callable[..., RegistryClient]
"""Makes a client of the test's server; keyword arguments are settings."""


@dataclass
class Time:
    """A clock that stands still but for the waits, which it writes down."""

    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    @property
    def pace(self) -> Pace:
        return Pace(clock=lambda: self.now, wall=lambda: self.now, sleep=self.sleep, jitter=lambda: 1.0)


@dataclass(frozen=True)
class Blob:
    data: bytes

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type="application/octet-stream", digest=digest_of(self.data), size=len(self.data))

    def on_disk(self, folder: Path) -> Path:
        path = folder / self.descriptor.digest.hex
        path.write_bytes(self.data)
        return path


def self_signed(path: Path) -> Path:
    """Write a key and a certificate that it signed itself, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, path.stem)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
