"""Verify: every digest and size of a release, recomputed; all faults are reported, not just the first.

1. The reference is resolved to a digest once. 2. Every manifest is read, and its raw bytes hashed. 3. Every blob below it is read and
hashed. 4. In an image, the config's platform is its descriptor's, and each layer's uncompressed digest is the config's diff_id.
5. Artifacts refer to an index of the release. Signatures and policies are not checked here.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from nexus_oci.errors import NexusError
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import BlobStream, Source

_BLOCK = 1 << 20


@dataclass(kw_only=True)
class Verification:
    """What was checked, and what was wrong; sizes in bytes."""

    root: Descriptor
    manifests: int = 0
    blobs: int = 0
    size: int = 0
    faults: list[str] = field(default_factory=list)


def verify_graph(source: Source, root: Descriptor, *, jobs: int = 4) -> Verification:
    """Check everything below `root`."""
    result = Verification(root=root)
    manifests: dict[Digest, Manifest] = {}
    platforms: dict[Digest, Descriptor] = {}
    queue = [root]
    while queue:
        descriptor = queue.pop()
        platforms.setdefault(descriptor.digest, descriptor)
        if descriptor.digest in manifests:
            continue
        try:
            manifest = source.manifest(descriptor)
        except NexusError as error:
            result.faults.append(f"manifest {descriptor.digest}: {error.what}")
            continue
        manifests[descriptor.digest] = manifest
        result.manifests += 1
        queue += manifest.manifests
    for manifest in manifests.values():
        subject = manifest.subject
        if subject is not None and subject.digest not in manifests:
            result.faults.append(f"artifact {manifest.descriptor.digest} refers to {subject.digest}, which is not in it")
    diff_ids = _check_blobs(source, manifests, result, jobs)
    for digest, manifest in manifests.items():
        _check_image(source, platforms[digest], manifest, diff_ids, result)
    return result


def _check_blobs(
    source: Source, manifests: dict[Digest, Manifest], result: Verification, jobs: int
) -> dict[Digest, Digest]:
    """Read every blob once; returns blob digest → digest of what a gzip layer unpacks to."""
    blobs = {blob.digest: blob for manifest in manifests.values() for blob in manifest.blobs}
    diff_ids: dict[Digest, Digest] = {}

    def check(blob: Descriptor) -> tuple[Descriptor, Digest | None, str]:
        try:
            with _closing(source.open_blob(blob)) as stream:
                return blob, _read(stream, blob.media_type == media_types.LAYER_GZIP), ""
        except (NexusError, zlib.error) as error:
            return blob, None, f"blob {blob.digest}: {error}"

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for blob, diff_id, fault in pool.map(check, sorted(blobs.values(), key=lambda blob: -blob.size)):
            if fault:
                result.faults.append(fault)
                continue
            result.blobs += 1
            result.size += blob.size
            if diff_id is not None:
                diff_ids[blob.digest] = diff_id
    return diff_ids


class _closing:
    """A context manager around a stream."""

    def __init__(self, stream: BlobStream) -> None:
        self._stream = stream

    def __enter__(self) -> BlobStream:
        return self._stream

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _read(stream: BlobStream, unpack: bool) -> Digest | None:
    """Read to the verified end; with `unpack`, the digest of the uncompressed bytes."""
    digest = hashlib.sha256()
    unzip = zlib.decompressobj(31)
    while block := stream.read(_BLOCK):
        if unpack:
            digest.update(unzip.decompress(block))
    return Digest("sha256:" + digest.hexdigest()) if unpack else None


def _check_image(
    source: Source, descriptor: Descriptor, manifest: Manifest, diff_ids: dict[Digest, Digest], result: Verification
) -> None:
    config = manifest.config
    if manifest.is_index or config is None or config.media_type != media_types.CONFIG:
        return
    try:
        with _closing(source.open_blob(config)) as stream:
            document = json.loads(b"".join(iter(lambda: stream.read(_BLOCK), b"")))
    except (NexusError, ValueError) as error:
        result.faults.append(f"config {config.digest}: {error}")
        return
    found = [diff_ids.get(layer.digest) for layer in manifest.layers]
    stated = (document.get("rootfs") or {}).get("diff_ids") or []
    if None not in found and found != stated:
        result.faults.append(f"image {manifest.descriptor.digest}: its layers do not unpack to its config's diff_ids")
    platform = descriptor.platform
    if platform and (document.get("os"), document.get("architecture")) != (platform.os, platform.architecture):
        result.faults.append(f"image {manifest.descriptor.digest}: its config is not for {platform}")
