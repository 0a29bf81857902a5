"""A release as a tree: what is in it, under which name, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor
from nexus_oci.transfer.ends import Source


@dataclass(frozen=True, kw_only=True)
class Node:
    """A manifest or blob. `size` is in bytes and counts everything below, shared content once per place."""

    label: str
    descriptor: Descriptor
    size: int
    children: tuple[Node, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The node as plain data."""
        data: dict[str, Any] = {
            "label": self.label,
            "digest": self.descriptor.digest,
            "mediaType": self.descriptor.media_type,
            "size": self.size,
        }
        return data | {"children": [child.to_json() for child in self.children]} if self.children else data


def describe(source: Source, name: str, root: Descriptor) -> Node:
    """The tree below a manifest; `name` is what the root is called."""
    manifest = source.manifest(root)
    if manifest.is_index:
        children = tuple(describe(source, _child_name(child), child) for child in manifest.manifests)
    else:
        children = tuple(
            Node(label=_blob_name(blob, index), descriptor=blob, size=blob.size) for index, blob in enumerate(manifest.blobs)
        )
    size = root.size + sum(child.size for child in children)
    return Node(label=name, descriptor=root, size=size, children=children)


def _child_name(child: Descriptor) -> str:
    notes = child.annotations
    if media_types.REPOSITORY in notes:
        return f"{notes[media_types.REPOSITORY]}:{notes[media_types.TAG]}"
    if media_types.FORMAT in notes:
        return f"{notes[media_types.FORMAT]} {notes.get(media_types.PLATFORM, '')} {notes.get(media_types.TITLE, '')}".rstrip()
    return str(child.platform) if child.platform else child.media_type


def _blob_name(blob: Descriptor, index: int) -> str:
    if media_types.TITLE in blob.annotations:
        return blob.annotations[media_types.TITLE]
    known = {
        media_types.CONFIG: "config",
        media_types.EMPTY: "empty config",
        media_types.HELM_CONFIG: "chart's metadata",
        media_types.HELM_CHART: "chart",
        media_types.HELM_PROVENANCE: "chart's provenance",
    }
    return known.get(blob.media_type, f"layer {index}")
