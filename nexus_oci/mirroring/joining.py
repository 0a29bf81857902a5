"""Signatures that a destination has of its own, beside those of the source: neither replaces the other.

Under cosign's tags stands an image with a layer for each signature or statement. A site that signs what it mirrors adds layers
there; what the source has is then added to those, not put in their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Manifest, canonical_json, digest_of

_NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Joined:
    """An image with the layers of two: its manifest, and its config."""

    manifest: Manifest
    config: Descriptor
    config_bytes: bytes


def has_all(theirs: Manifest, ours: Manifest) -> bool:
    """Whether every layer of ours, with its annotations, is among theirs."""
    there = _layers(theirs)
    return all(layer in there for layer in _layers(ours))


def joined(theirs: Manifest, ours: Manifest) -> Joined:
    """Their layers, then those of ours that they lack; the same two give the same image."""
    layers = [*theirs.data.get("layers", ()), *(one for one in ours.data.get("layers", ()) if _key(one) not in _layers(theirs))]
    config = canonical_json(
        {
            "architecture": "",
            "config": {},
            "created": _NEVER,
            "history": [{"created": _NEVER} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )
    descriptor = Descriptor(media_type=media_types.CONFIG, digest=digest_of(config), size=len(config))
    manifest = Manifest.build({**theirs.data, "config": descriptor.to_json(), "layers": layers})
    return Joined(manifest=manifest, config=descriptor, config_bytes=config)


def _layers(manifest: Manifest) -> set[bytes]:
    return {_key(layer) for layer in manifest.data.get("layers", ())}


def _key(layer: Any) -> bytes:
    return canonical_json([layer["digest"], layer.get("annotations") or {}])
