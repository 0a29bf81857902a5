"""Indexes, artifacts, chart and release: small manifests over blobs that are in the store already.

OCI image-spec 1.1 (image-index.md; manifest.md, "Guidelines for Artifact Usage"). All of it is a pure function of its
arguments, so it is made anew each time and comes out the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, Platform


@dataclass(frozen=True, kw_only=True)
class BuiltFile:
    """A file, or a folder of files, that is no image: its name, what it consists of, and where it belongs.

    `platform` is missing where it is for every one. `files` are pairs of a path and a blob of the store; a single file's path is
    its title, and those of a folder begin with it.
    """

    distribution: str
    platform: Platform | None
    format: str
    title: str
    files: tuple[tuple[str, Descriptor], ...]


@dataclass(frozen=True, kw_only=True)
class Named:
    """A manifest and its friendly name: repository below the namespace, and tag."""

    descriptor: Descriptor
    repository: str
    tag: str


def store_index(store: Store, images: Sequence[Descriptor], annotations: Mapping[str, str]) -> Descriptor:
    """The image index of one distribution; platforms in order."""
    ordered = sorted(images, key=lambda image: str(image.platform))
    return store.put_manifest(
        Manifest.build(
            {
                "schemaVersion": 2,
                "mediaType": media_types.INDEX,
                "manifests": [replace(image, annotations={}).to_json() for image in ordered],
                "annotations": dict(annotations),
            }
        )
    )


def store_artifact(store: Store, file: BuiltFile, subject: Descriptor, annotations: Mapping[str, str]) -> Descriptor:
    """The manifest of a non-container file or folder, referring to the image index that it came from.

    A folder has a layer for each file, whose title is the file's path: readers of ORAS artifacts lay the tree out again.
    """
    artifact_type, _ = media_types.ARTIFACTS[file.format]
    empty = store.put(b"{}", media_types.EMPTY)
    details = {
        **annotations,
        media_types.TITLE: file.title,
        media_types.DISTRIBUTION: file.distribution,
        media_types.FORMAT: file.format,
        **({media_types.PLATFORM: str(file.platform)} if file.platform else {}),
    }
    layers = [replace(blob, annotations={media_types.TITLE: path}) for path, blob in file.files]
    manifest = Manifest.build(
        {
            "schemaVersion": 2,
            "mediaType": media_types.MANIFEST,
            "artifactType": artifact_type,
            "config": empty.to_json(),
            "layers": [layer.to_json() for layer in layers],
            "subject": Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size).to_json(),
            "annotations": details,
        }
    )
    return replace(store.put_manifest(manifest), annotations=details)


def store_chart(
    store: Store, *, config: bytes, archive: bytes, annotations: Mapping[str, str], provenance: Descriptor | None = None
) -> Descriptor:
    """The manifest of a packaged chart, as Helm pushes it; `provenance` is the blob of its signed provenance file, if any."""
    layers = [store.put(archive, media_types.HELM_CHART), *([provenance] if provenance else [])]
    manifest = Manifest.build(
        {
            "schemaVersion": 2,
            "mediaType": media_types.MANIFEST,
            "config": store.put(config, media_types.HELM_CONFIG).to_json(),
            "layers": [layer.to_json() for layer in layers],
            "annotations": dict(annotations),
        }
    )
    return store.put_manifest(manifest)


def store_release(
    store: Store,
    *,
    images: Sequence[Named],
    artifacts: Sequence[Descriptor],
    charts: Sequence[Named],
    annotations: Mapping[str, str],
) -> Descriptor:
    """The release index: one digest that pins every image, artifact and chart of a version.

    Each child says where its friendly name is, so that a copy of this one index is enough to make the names again elsewhere.
    """
    children = [_with_name(named) for named in (*images, *charts)]
    children += [replace(artifact, platform=None) for artifact in artifacts]
    index = Manifest.build(
        {
            "schemaVersion": 2,
            "mediaType": media_types.INDEX,
            "artifactType": media_types.RELEASE,
            "manifests": [child.to_json() for child in children],
            "annotations": dict(annotations),
        }
    )
    return store.put_manifest(index)


def _with_name(named: Named) -> Descriptor:
    names = {media_types.REPOSITORY: named.repository, media_types.TAG: named.tag}
    return replace(named.descriptor, annotations={**named.descriptor.annotations, **names})
