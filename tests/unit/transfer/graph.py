"""A small release to copy: two images in an index, and a signature and an SBOM that refer to it."""

from __future__ import annotations

from dataclasses import dataclass

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What `make_graph` wrote, by role."""

    root: Descriptor
    images: tuple[Descriptor, ...]
    layers: tuple[Descriptor, ...]
    referrers: tuple[Descriptor, ...]


def image(store: Store, *layers: Descriptor, **extra: object) -> Descriptor:
    """Write an image manifest over the layers."""
    config = store.put(repr((layers, extra)).encode(), media_types.CONFIG)
    data = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        **extra,
    }
    return store.put_manifest(Manifest.build(data))


def index(store: Store, *children: Descriptor) -> Descriptor:
    """Write an index over the children."""
    data = {
        "schemaVersion": 2,
        "mediaType": media_types.INDEX,
        "manifests": [child.to_json() for child in children],
    }
    return store.put_manifest(Manifest.build(data))


def make_graph(store: Store, *, size: int = 5000, seed: str = "") -> Graph:
    """Write it to the store, tagged `1.0`; the images share a layer."""
    layers = tuple(store.put(f"{seed}{name}".encode().ljust(size, b"."), media_types.LAYER_GZIP) for name in ("shared", "a", "b"))
    images = (image(store, layers[0], layers[1]), image(store, layers[0], layers[2]))
    root = index(store, *images)
    subject = {"subject": root.to_json()}
    sbom = image(store, store.put(f"{seed}sbom".encode(), "text/plain"), artifactType="application/vnd.sbom", **subject)
    about_sbom = {"subject": sbom.to_json()}
    signature = image(store, store.put(f"{seed}sig".encode(), "text/plain"), artifactType="application/vnd.sig", **about_sbom)
    store.replace_tags({"1.0": root}, (sbom, signature))
    return Graph(root=root, images=images, layers=layers, referrers=(sbom, signature))
