"""Layers of a base that is an image in a registry: taken as the registry has them, so that a push to it mounts them."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping

from nexus_oci.errors import BuildError, NotFoundError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.layer import Layer, folder_links
from nexus_oci.oci.reference import Reference, is_loopback
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest, Platform

_BLOCK = 1 << 20


def pull_base_layers(
    store: Store, reference: Reference, platform: Platform, environment: Mapping[str, str]
) -> tuple[Descriptor, tuple[Layer, ...]]:
    """Bring the image of one platform into the store; returns its manifest's descriptor and its layers, the lowest first.

    Every blob is checked against its digest as it arrives. Raises `NotFoundError` where the index lacks the platform.
    """
    from nexus_oci.pipeline.registries import registry_end
    from nexus_oci.transfer.copy import copy_graph
    from nexus_oci.transfer.store_end import StoreEnd

    root = platform_manifest(reference, platform, environment)
    copy_graph(registry_end(reference, environment, plain_http=is_loopback(reference.host)), StoreEnd(store), root)
    manifest = store.manifest(root)
    assert manifest.config is not None  # noqa: S101  an image manifest has a config
    config = json.loads(store.read(manifest.config))
    diff_ids = [Digest(value) for value in config["rootfs"]["diff_ids"]]
    layers = tuple(_layer(store, descriptor, diff_id) for descriptor, diff_id in zip(manifest.layers, diff_ids, strict=True))
    return root, layers


def platform_manifest(reference: Reference, platform: Platform, environment: Mapping[str, str]) -> Descriptor:
    """The manifest of one platform that a reference names; an engine keeps only one image under the digest of an index.

    Raises `NotFoundError` where an index lacks the platform.
    """
    from nexus_oci.pipeline.registries import registry_end

    end = registry_end(reference, environment, plain_http=is_loopback(reference.host))
    root = end.resolve(reference.target)
    return _of_platform(end.manifest(root), platform, reference) if root.is_index else root


def _of_platform(index: Manifest, platform: Platform, reference: Reference) -> Descriptor:
    for child in index.manifests:
        if child.platform and Platform.parse(str(child.platform)) == platform:
            return child
    raise NotFoundError(
        f"{reference} has no image for {platform}",
        why="it has " + ", ".join(str(child.platform) for child in index.manifests if child.platform),
        hint="choose another base, or leave that platform out of the definition",
    )


def _layer(store: Store, descriptor: Descriptor, diff_id: Digest) -> Layer:
    """The layer with its links; the tar inside is read once, which also proves the diff_id."""
    if descriptor.media_type not in (media_types.LAYER_GZIP, media_types.DOCKER_LAYER_GZIP):
        raise BuildError(
            f"base layer {descriptor.digest.short} is {descriptor.media_type}",
            why="only gzip layers of bases are read",
            hint="choose a base with gzip layers",
        )
    counted = _Counted()
    links = folder_links(counted.passing(_inflated(store, descriptor)), origin=f"base layer {descriptor.digest.short}")
    if counted.digest != diff_id:
        raise VerificationError(
            f"base layer {descriptor.digest.short} is not what its config says", why=f"it unpacks to {counted.digest}"
        )
    shown = Descriptor(media_type=media_types.LAYER_GZIP, digest=descriptor.digest, size=descriptor.size)
    return Layer(descriptor=shown, diff_id=diff_id, size=counted.size, links=links)


def _inflated(store: Store, descriptor: Descriptor) -> Iterator[bytes]:
    """The tar in a gzip blob, in pieces of at most four MiB however well it was compressed."""
    unzip = zlib.decompressobj(31)
    with store.open_blob(descriptor) as reader:
        while block := reader.read(_BLOCK):
            while block:
                yield unzip.decompress(block, 4 * _BLOCK)
                block = unzip.unconsumed_tail or _next_member(unzip)
                if unzip.eof and block:
                    unzip = zlib.decompressobj(31)


def _next_member(unzip: zlib._Decompress) -> bytes:
    """What follows a finished gzip member: gzip files may have several."""
    return unzip.unused_data if unzip.eof else b""


class _Counted:
    """Hashes and counts what passes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> Digest:
        """The digest of what has passed."""
        return Digest("sha256:" + self._hash.hexdigest())

    def passing(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The blocks, unchanged."""
        for block in blocks:
            self._hash.update(block)
            self.size += len(block)
            yield block
