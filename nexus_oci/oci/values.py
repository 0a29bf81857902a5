"""The small frozen values that the rest of the program is written in: Digest, Platform, Descriptor, Manifest.

OCI image-spec 1.1: descriptor.md, manifest.md, image-index.md. A manifest keeps the bytes it was read from;
they are what is hashed, signed and sent, and the parsed form is only a view.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, cast

from nexus_oci.errors import VerificationError
from nexus_oci.oci import media_types

Algorithm = Literal["sha256", "sha512"]
_DIGEST = re.compile(r"(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\Z")
_ARCHITECTURE_ALIASES = {"x86_64": "amd64", "aarch64": "arm64"}
MAX_MANIFEST_SIZE = 4 * 1024 * 1024
"""Bytes. The distribution-spec asks registries to take manifests up to 4 MiB; nothing larger is parsed."""


class Digest(str):
    """A content digest, `sha256:<64 hex>` or `sha512:<128 hex>` (image-spec, descriptor.md#digests).

    Raises `VerificationError` when made from anything else, so that a digest from outside can be used in a path.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Digest:
        """Check the form, then keep the text as it is."""
        if isinstance(value, Digest):
            return value
        if not isinstance(value, str) or not _DIGEST.match(value):
            raise VerificationError(
                f"{str(value)[:100]!r} is not a digest", why="a digest reads sha256: and 64 hexadecimal digits"
            )
        return super().__new__(cls, value)

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether the text is a digest."""
        return bool(_DIGEST.match(text))

    @property
    def algorithm(self) -> Algorithm:
        """`sha256` or `sha512`."""
        return cast(Algorithm, self.partition(":")[0])

    @property
    def hex(self) -> str:
        """The hexadecimal part."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, for people."""
        return self.hex[:12]


def digest_of(data: bytes | memoryview, algorithm: Algorithm = "sha256") -> Digest:
    """The digest of `data`."""
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


@dataclass(frozen=True, kw_only=True, order=True)
class Platform:
    """What an image runs on (image-spec, image-index.md): operating system, architecture and CPU variant."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture[/variant]`; raises `ValueError` for anything else."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(re.fullmatch(r"[a-z0-9][a-z0-9_.]*", part) for part in parts):
            raise ValueError(f"{text!r} is not a platform: write os/architecture, as in linux/amd64")
        variant = parts[2] if len(parts) == 3 else None
        architecture = _ARCHITECTURE_ALIASES.get(parts[1], parts[1])
        if (architecture, variant) == ("arm64", "v8"):
            variant = None
        return cls(os=parts[0], architecture=architecture, variant=variant)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Platform:
        """Read the `platform` object of a descriptor, or an image config."""
        variant = data.get("variant")
        return cls(os=str(data["os"]), architecture=str(data["architecture"]), variant=str(variant) if variant else None)

    def to_json(self) -> dict[str, str]:
        """The `platform` object of a descriptor."""
        data = {"architecture": self.architecture, "os": self.os}
        return data | {"variant": self.variant} if self.variant else data

    def __str__(self) -> str:
        """`os/architecture[/variant]`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def slug(self) -> str:
        """A form for file and tag names: `linux-amd64`."""
        return str(self).replace("/", "-")


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What names content: media type, digest, size in bytes (image-spec, descriptor.md)."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    platform: Platform | None = None
    artifact_type: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Descriptor:
        """Read a descriptor; raises `VerificationError` where a required field is missing or of the wrong type."""
        try:
            size, kind, artifact_type = data["size"], data["mediaType"], data.get("artifactType")
            if type(size) is not int or size < 0 or not isinstance(kind, str) or not isinstance(artifact_type, str | None):
                raise VerificationError(
                    "a descriptor is malformed", why="a media type is no text, or the size no number of bytes"
                )
            platform = Platform.from_json(data["platform"]) if data.get("platform") else None
            return cls(
                media_type=kind,
                digest=Digest(data["digest"]),
                size=size,
                annotations=MappingProxyType({str(k): str(v) for k, v in (data.get("annotations") or {}).items()}),
                platform=platform,
                artifact_type=artifact_type or None,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise VerificationError("a descriptor is malformed", why=f"{type(error).__name__}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """The descriptor as a JSON object, with empty fields left out."""
        data: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.artifact_type:
            data["artifactType"] = self.artifact_type
        if self.platform:
            data["platform"] = self.platform.to_json()
        if self.annotations:
            data["annotations"] = dict(sorted(self.annotations.items()))
        return data

    @property
    def is_index(self) -> bool:
        """Whether the content is an image index (or Docker's manifest list)."""
        return self.media_type in media_types.INDEX_TYPES

    @property
    def is_manifest(self) -> bool:
        """Whether the content is a manifest of any kind, and so has children."""
        return self.media_type in media_types.MANIFEST_TYPES


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An image manifest or index: its raw bytes, and a parsed view of them."""

    raw: bytes
    descriptor: Descriptor
    data: Mapping[str, Any]

    @classmethod
    def parse(cls, raw: bytes, media_type: str | None = None, algorithm: Algorithm = "sha256") -> Manifest:
        """Read manifest bytes; `algorithm` is that of the digest which they are known by.

        `media_type` is what the transport said; the body's own `mediaType` must agree with it where both exist.
        Raises `VerificationError` for bytes that are no manifest.
        """
        if len(raw) > MAX_MANIFEST_SIZE:
            raise VerificationError(
                f"a manifest has {len(raw)} bytes", why=f"manifests over {MAX_MANIFEST_SIZE} bytes are refused"
            )
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise VerificationError("a manifest is not JSON", why=str(error)[:200]) from error
        if not isinstance(data, dict) or data.get("schemaVersion") != 2:
            raise VerificationError("a manifest has no schemaVersion 2", why="it is no OCI or Docker v2 manifest")
        inner = data.get("mediaType")
        if inner and media_type and inner != media_type:
            raise VerificationError(f"a manifest was served as {media_type}", why=f"its own mediaType says {inner}")
        _check_shape(data)
        if ("manifests" in data) and ("layers" in data or "config" in data):
            raise VerificationError("a manifest is an image and an index at once", why="image-spec forbids the mix")
        kind = inner or media_type or (media_types.INDEX if "manifests" in data else media_types.MANIFEST)
        descriptor = Descriptor(
            media_type=kind, digest=digest_of(raw, algorithm), size=len(raw), artifact_type=data.get("artifactType") or None
        )
        return cls(raw=raw, descriptor=descriptor, data=MappingProxyType(data))

    @classmethod
    def build(cls, data: Mapping[str, Any]) -> Manifest:
        """Serialise `data` once, canonically (sorted keys, no spaces), and keep those bytes for good."""
        return cls.parse(canonical_json(data))

    @property
    def is_index(self) -> bool:
        """Whether this is an image index."""
        return self.descriptor.is_index

    @property
    def annotations(self) -> Mapping[str, str]:
        """The manifest's own annotations."""
        return self.data.get("annotations") or {}

    @property
    def artifact_type(self) -> str | None:
        """`artifactType`, else the config's media type (image-spec, manifest.md#guidelines-for-artifact-usage)."""
        return self.data.get("artifactType") or (self.data.get("config") or {}).get("mediaType")

    @cached_property
    def subject(self) -> Descriptor | None:
        """The manifest that this one refers to."""
        subject = self.data.get("subject")
        return Descriptor.from_json(subject) if subject else None

    @cached_property
    def manifests(self) -> tuple[Descriptor, ...]:
        """The children of an index; empty for an image."""
        return tuple(Descriptor.from_json(child) for child in self.data.get("manifests") or ())

    @cached_property
    def config(self) -> Descriptor | None:
        """The config of an image; None for an index."""
        config = self.data.get("config")
        return Descriptor.from_json(config) if config else None

    @cached_property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers of an image; empty for an index."""
        return tuple(Descriptor.from_json(layer) for layer in self.data.get("layers") or ())

    @cached_property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers: what must be present before this manifest may be."""
        return ((self.config,) if self.config else ()) + self.layers


_SHAPE: Mapping[str, tuple[type, str]] = {
    "mediaType": (str, "text"),
    "artifactType": (str, "text"),
    "config": (dict, "an object"),
    "subject": (dict, "an object"),
    "annotations": (dict, "an object"),
    "layers": (list, "a list"),
    "manifests": (list, "a list"),
}


def _check_shape(data: Mapping[str, Any]) -> None:
    """Refuse a manifest whose known fields are of another JSON type than the image-spec says."""
    for name, (kind, words) in _SHAPE.items():
        value = data.get(name)
        if value is not None and not isinstance(value, kind):
            raise VerificationError("a manifest is malformed", why=f"its {name} is not {words}")
    if not all(isinstance(value, str) for value in (data.get("annotations") or {}).values()):
        raise VerificationError("a manifest is malformed", why="its annotations are not all text")


def canonical_json(data: Any) -> bytes:
    """One JSON encoding for everything that is hashed: sorted keys, no white space, UTF-8."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
