"""Layers of a base that is an image in a registry: taken as the registry has them, so that a push to it mounts them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from nexus_oci.errors import BuildError, NotFoundError
from nexus_oci.oci import media_types
from nexus_oci.oci.layer import Layer, layer_in_store
from nexus_oci.oci.reference import Reference, is_loopback
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest, Platform


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
    """The layer as it came, under OCI's media type, with its links."""
    if descriptor.media_type not in (media_types.LAYER_GZIP, media_types.DOCKER_LAYER_GZIP):
        raise BuildError(
            f"base layer {descriptor.digest.short} is {descriptor.media_type}",
            why="only gzip layers of bases are read",
            hint="choose a base with gzip layers",
        )
    layer = layer_in_store(store, descriptor, diff_id=diff_id, origin=f"base layer {descriptor.digest.short}")
    shown = Descriptor(media_type=media_types.LAYER_GZIP, digest=descriptor.digest, size=descriptor.size)
    return replace(layer, descriptor=shown)
