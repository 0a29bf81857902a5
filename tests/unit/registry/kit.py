"""Values that the registry's tests share: time that never passes, and blobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

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
