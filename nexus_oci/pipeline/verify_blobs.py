"""Verify: every blob of a release is read once and hashed, and images are what their configs say.

1. Each blob is streamed; its size and digest are compared when its end is reached.
2. Where that is wanted, a layer is unpacked on the way, and its uncompressed bytes hashed too: the config of its image says what
   comes out (image-spec, config.md, `rootfs.diff_ids`).
3. A config's platform is the one by which an index names the image.

A signature over an image covers its config and its layers: that they fit is then the word of who signed, and no attack is left
that unpacking would find. A runtime compares them again when it unpacks. So signed images need not be unpacked here, at twice the
cost of all the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from nexus_oci.errors import NexusError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.hashing import hashed
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Digest, Manifest
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import Source

_GZIP = frozenset({media_types.LAYER_GZIP, media_types.DOCKER_LAYER_GZIP})


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A manifest, and the descriptor that led to it, which may name its platform."""

    descriptor: Descriptor
    manifest: Manifest

    @property
    def config(self) -> Descriptor | None:
        """The config, if this is an image."""
        config = None if self.manifest.is_index else self.manifest.config
        return config if config is not None and config.media_type == media_types.CONFIG else None


@dataclass(frozen=True, kw_only=True)
class Config:
    """What of a config is compared: the platform, and the list of diff_ids, as the hash of it, since it may be long."""

    system: str
    architecture: str
    diff_ids: bytes


@dataclass(kw_only=True)
class Blobs:
    """What reading the blobs brought: how many, their size in bytes, and what was wrong."""

    count: int = 0
    size: int = 0
    faults: list[str] = field(default_factory=list)
    diff_ids: dict[Digest, Digest] = field(default_factory=dict)
    """Of each layer that was unpacked, by its own digest, the digest of what came out."""
    configs: dict[Digest, Config] = field(default_factory=dict)


def check_blobs(source: Source, placed: Sequence[Placed], *, unpack: Collection[Digest], jobs: int) -> Blobs:
    """Read every blob of the manifests once. Those images among them whose digests are in `unpack` have their layers unpacked."""
    wanted = {blob.digest: blob for one in placed for blob in one.manifest.blobs}
    layers = {layer.digest for one in placed if one.config and one.descriptor.digest in unpack for layer in one.manifest.layers}
    configs = {one.config.digest for one in placed if one.config is not None}
    found = Blobs()

    def check(blob: Descriptor) -> tuple[Descriptor, Digest | Config | None, str]:
        try:
            return blob, _checked(source, blob, blob.digest in layers, blob.digest in configs), ""
        except NexusError as error:
            return blob, None, f"{'config' if blob.digest in configs else 'blob'} {blob.digest}: {error}"

    for blob, learned, fault in Crew(jobs).map(check, sorted(wanted.values(), key=lambda blob: -blob.size)):
        if fault:
            found.faults.append(fault)
            continue
        found.count += 1
        found.size += blob.size
        if isinstance(learned, Config):
            found.configs[blob.digest] = learned
        elif learned is not None:
            found.diff_ids[blob.digest] = learned
    found.faults += [fault for one in placed for fault in _image_faults(one, found)]
    return found


def _checked(source: Source, blob: Descriptor, unpack: bool, is_config: bool) -> Digest | Config | None:
    with closing(source.open_blob(blob, verify=False)) as stream:
        if is_config:
            if blob.size > MAX_MANIFEST_SIZE:
                raise VerificationError("it is too large to be a config", why=f"it has {blob.size} bytes")
            return _config(b"".join(bytes(block) for block in hashed(stream, blob)))
        if unpack and blob.media_type in _GZIP:
            from nexus_oci.oci.gzip import inflated

            digest = hashlib.sha256()
            for block in inflated(hashed(stream, blob), "the layer"):
                digest.update(block)
            return Digest("sha256:" + digest.hexdigest())
        for _ in hashed(stream, blob):
            pass
    return None


def _config(data: bytes) -> Config:
    try:
        document: Any = json.loads(data)
        stated = (document.get("rootfs") or {}).get("diff_ids") or []
        return Config(system=document.get("os"), architecture=document.get("architecture"), diff_ids=_list_hash(stated))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise VerificationError("it is no config of an image", why=str(error)[:200]) from None


def _list_hash(diff_ids: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(diff_ids).encode()).digest()


def _image_faults(one: Placed, found: Blobs) -> Iterator[str]:
    config = found.configs.get(one.config.digest) if one.config else None
    if config is None:
        return
    digest, platform = one.descriptor.digest, one.descriptor.platform
    unpacked = [found.diff_ids[layer.digest] for layer in one.manifest.layers if layer.digest in found.diff_ids]
    if len(unpacked) == len(one.manifest.layers) and _list_hash(unpacked) != config.diff_ids:
        yield f"image {digest}: its layers do not unpack to its config's diff_ids"
    if platform and (config.system, config.architecture) != (platform.os, platform.architecture):
        yield f"image {digest}: its config is not for {platform}"
