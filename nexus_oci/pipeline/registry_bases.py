"""Layers of a base that is an image in a registry: taken as the registry has them, so that a push to it mounts them."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping

from nexus_oci.errors import NotFoundError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.layer import Layer
from nexus_oci.oci.reference import Reference, is_loopback
from nexus_oci.oci.store import Store
from nexus_oci.oci.tar import TarReader
from nexus_oci.oci.values import Descriptor, Digest, Manifest, Platform

_OCI_LAYERS = {media_types.DOCKER_LAYER_GZIP: media_types.LAYER_GZIP}


def pull_base_layers(
    store: Store, reference: Reference, platform: Platform, environment: Mapping[str, str]
) -> tuple[Descriptor, tuple[Layer, ...]]:
    """Bring the image of one platform into the store; returns its manifest's descriptor and its layers, the lowest first.

    Every blob is checked against its digest as it arrives. Raises `NotFoundError` where the index lacks the platform.
    """
    from nexus_oci.pipeline.registries import registry_end
    from nexus_oci.transfer.copy import copy_graph
    from nexus_oci.transfer.store_end import StoreEnd

    end = registry_end(reference, environment, plain_http=is_loopback(reference.host))
    root = end.resolve(reference.target)
    if root.is_index:
        index = end.manifest(root)
        root = _of_platform(index, platform, reference)
    copy_graph(end, StoreEnd(store), root)
    manifest = store.manifest(root)
    assert manifest.config is not None  # noqa: S101  an image manifest has a config
    config = json.loads(store.read(manifest.config))
    diff_ids = [Digest(value) for value in config["rootfs"]["diff_ids"]]
    layers = tuple(
        _layer(store, descriptor, diff_id) for descriptor, diff_id in zip(manifest.layers, diff_ids, strict=True)
    )
    return root, layers


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
    digest = hashlib.sha256()
    size = 0

    def inflated() -> list[bytes]:
        return []

    del inflated
    unzip = zlib.decompressobj(31)

    def chunks():  # type: ignore[no-untyped-def]
        nonlocal size
        with store.open_blob(descriptor) as reader:
            for block in reader:
                data = unzip.decompress(block)
                digest.update(data)
                size += len(data)
                yield data

    from nexus_oci.oci.layer import _folder_links
    from nexus_oci.oci.tar import Source

    tar = TarReader(Source(chunks()), origin=f"base layer {descriptor.digest.short}", allow_devices=True)
    for _ in tar.entries():
        pass
    if "sha256:" + digest.hexdigest() != diff_id:
        raise VerificationError(f"base layer {descriptor.digest.short} is not what its config says", why=f"not {diff_id}")
    media_type = _OCI_LAYERS.get(descriptor.media_type, descriptor.media_type)
    shown = Descriptor(media_type=media_type, digest=descriptor.digest, size=descriptor.size)
    return Layer(descriptor=shown, diff_id=diff_id, size=size, links=_folder_links(tar.tree))
