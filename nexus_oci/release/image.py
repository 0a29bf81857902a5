"""The config and manifest of one image, made from what the engine says of its config and from normalised layers.

OCI image-spec 1.1 (config.md, manifest.md). The healthcheck is Docker's extension of the config, which its clients read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest, Platform, canonical_json

_KEPT = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "Healthcheck",
)
"""Fields of an engine's config that describe the image; the others describe the build that made it."""


@dataclass(frozen=True, kw_only=True)
class ImageLayer:
    """A layer as an image config needs it: its blob, the digest of its uncompressed tar, and one line of history."""

    descriptor: Descriptor
    diff_id: Digest
    created_by: str


def timestamp(epoch: int) -> str:
    """Seconds since 1970 in RFC 3339, UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def store_image(
    store: Store,
    *,
    platform: Platform,
    config: Mapping[str, Any],
    layers: Sequence[ImageLayer],
    labels: Mapping[str, str],
    epoch: int,
) -> Descriptor:
    """Write config and manifest of an image whose layers are in the store; returns the manifest's descriptor with platform.

    `config` is the engine's own view of the built image; only the fields that describe the image are kept. `labels` are
    written both as labels, for those who inspect a running image, and as annotations, for those who read the registry.
    """
    kept = {key: config[key] for key in _KEPT if config.get(key)}
    kept["Labels"] = {**(config.get("Labels") or {}), **labels}
    created = timestamp(epoch)
    document = {
        **platform.to_json(),
        "created": created,
        "config": kept,
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        "history": [{"created": created, "created_by": layer.created_by} for layer in layers],
    }
    blob = store.put(canonical_json(document), media_types.CONFIG)
    manifest = Manifest.build(
        {
            "schemaVersion": 2,
            "mediaType": media_types.MANIFEST,
            "config": blob.to_json(),
            "layers": [layer.descriptor.to_json() for layer in layers],
            "annotations": dict(labels),
        }
    )
    found = store.put_manifest(manifest)
    return Descriptor(media_type=found.media_type, digest=found.digest, size=found.size, platform=platform)
