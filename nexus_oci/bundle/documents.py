"""The documents by which other tools find their way in a bundle: index.json of an image layout, manifest.json of docker-archives.

image-spec, image-layout.md. containerd and k3s import every entry of index.json that has a name and expect an image to run, so
only such ones, and the release, have one there; charts and signatures have theirs in the inventory, and in an annotation of ours.
`docker load` reads manifest.json, which knows no platforms: each image is listed there once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nexus_oci.bundle.layout import entry_name
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Digest, Manifest, Platform, canonical_json

NAME = "dev.nexus-oci.name"
"""On an entry of index.json that other tools should not import: its name in a store."""
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_IMAGE_CONFIGS = (media_types.CONFIG, media_types.DOCKER_CONFIG)
_FALLBACK = "localhost"
"""The host that images get in other tools' eyes where none is known."""


def index_document(
    names: Mapping[str, Descriptor],
    manifests: Mapping[Digest, Manifest],
    runnable: Callable[[str, Descriptor], bool],
    prefix: str,
) -> bytes:
    """The index.json: what has a name, then what refers to something of it and has none."""
    entries = []
    for name, descriptor in sorted(names.items()):
        entry: dict[str, Any] = _plain(descriptor, manifests)
        if runnable(name, descriptor):
            annotations = {media_types.REF_NAME: name, media_types.CONTAINERD_NAME: full_name(name, prefix)}
        elif ":" not in name and entry.get("artifactType") == media_types.RELEASE:
            annotations = {media_types.REF_NAME: name}
        else:
            annotations = {NAME: name}
        entries.append({**entry, "annotations": annotations})
    named = {descriptor.digest for descriptor in names.values()}
    referring = [one.descriptor for digest, one in sorted(manifests.items()) if one.subject is not None and digest not in named]
    entries += [_plain(one, manifests) for one in referring]
    return canonical_json({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": entries})


def _plain(descriptor: Descriptor, manifests: Mapping[Digest, Manifest]) -> dict[str, Any]:
    kind = manifests[descriptor.digest].descriptor.artifact_type
    entry: dict[str, Any] = {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
    return entry | {"artifactType": kind} if kind else entry


def full_name(name: str, prefix: str) -> str:
    """The name with a host, without which Docker and containerd would take it for one of Docker Hub's."""
    return f"{prefix or _FALLBACK}/{name}"


def is_runnable(manifest: Manifest, manifests: Mapping[Digest, Manifest]) -> bool:
    """Whether a container can be made of it: an image, or an index of images."""
    if manifest.descriptor.artifact_type:
        return False
    if manifest.is_index:
        children = [manifests[child.digest] for child in manifest.manifests if child.digest in manifests]
        return bool(children) and all(not child.is_index and is_runnable(child, manifests) for child in children)
    return manifest.config is not None and manifest.config.media_type in _IMAGE_CONFIGS and manifest.subject is None


def docker_document(
    names: Mapping[str, Descriptor],
    manifests: Mapping[Digest, Manifest],
    runnable: Callable[[str, Descriptor], bool],
    prefix: str,
    platform: Platform | None,
    held: Callable[[Digest], bool],
) -> bytes:
    """The manifest.json: each image that is here with all its layers, for `platform` where it has several."""
    entries: dict[Digest, dict[str, Any]] = {}
    for name, descriptor in sorted(names.items()):
        image = _for_platform(manifests[descriptor.digest], manifests, platform) if runnable(name, descriptor) else None
        if image is None or image.config is None or not all(held(blob.digest) for blob in image.blobs):
            continue
        entry = entries.setdefault(
            image.config.digest,
            {
                "Config": entry_name(image.config.digest),
                "RepoTags": [],
                "Layers": [entry_name(layer.digest) for layer in image.layers],
            },
        )
        entry["RepoTags"].append(full_name(name, prefix))
    return canonical_json(list(entries.values()))


def _for_platform(manifest: Manifest, manifests: Mapping[Digest, Manifest], platform: Platform | None) -> Manifest | None:
    if not manifest.is_index:
        return manifest
    children = [child for child in manifest.manifests if child.digest in manifests]
    for child in children:
        if platform is not None and child.platform is not None and child.platform == platform:
            return manifests[child.digest]
    return manifests[children[0].digest] if children and platform is None else None


def docker_platform(names: Sequence[Descriptor], manifests: Mapping[Digest, Manifest]) -> Platform | None:
    """The platform for `docker load` where nobody chose: linux/amd64 where there is such an image, else the first in order."""
    stated = [
        child.platform
        for descriptor in names
        for child in manifests[descriptor.digest].manifests
        if child.platform is not None and child.digest in manifests
    ]
    found = sorted(stated, key=str)
    usual = Platform(os="linux", architecture="amd64")
    return usual if usual in found else next(iter(found), None)
