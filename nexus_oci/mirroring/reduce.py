"""Leaving out what a destination is not to have: an index with some of its children only.

Such an index is another manifest, with another digest: the signatures of the whole one do not go along, those of the children
do. An index that loses nothing stays as it is, byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from nexus_oci.errors import NotFoundError
from nexus_oci.mirroring.survey import Keep, ReadOnce
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Manifest, Platform

_ATTESTED = "vnd.docker.reference.digest"
"""By which BuildKit's attestations name the image beside them."""


def for_platforms(platforms: Sequence[Platform]) -> Keep:
    """Keeps what is for one of the platforms, and what is for none in particular."""
    names = {str(platform) for platform in platforms}
    wide = {(platform.os, platform.architecture) for platform in platforms if platform.variant is None}

    def keep(child: Descriptor, _: Callable[[], Mapping[str, str]]) -> bool:
        if media_types.PLATFORM in child.annotations:
            return child.annotations[media_types.PLATFORM] in names
        platform = child.platform
        if platform is None or platform.os == "unknown":
            return True
        return str(platform) in names or (platform.os, platform.architecture) in wide

    return keep


def for_tier(distributions: Collection[str], formats: Mapping[str, Collection[str]]) -> Keep:
    """Keeps the distributions that a tier may carry, and of each the formats that are meant for it, where those are listed.

    What belongs to no distribution stays.
    """

    def keep(child: Descriptor, annotations: Callable[[], Mapping[str, str]]) -> bool:
        if media_types.REPOSITORY not in child.annotations and media_types.DISTRIBUTION not in child.annotations:
            return True
        distribution = child.annotations.get(media_types.DISTRIBUTION) or annotations().get(media_types.DISTRIBUTION)
        if distribution is None:
            return True
        kind = child.annotations.get(media_types.FORMAT)
        return distribution in distributions and (kind is None or kind in formats.get(distribution, (kind,)))

    return keep


def both(one: Keep, other: Keep) -> Keep:
    """Keeps what both keep."""
    return lambda child, annotations: one(child, annotations) and other(child, annotations)


def reduced(source: ReadOnce, root: Descriptor, keep: Keep) -> Descriptor:
    """The root with only what is to be kept, at any depth. Raises `NotFoundError` where nothing is."""
    found = _reduced(source, root, keep)
    if found is None:
        raise NotFoundError(
            f"nothing of {root.digest} is left",
            why="everything in it is for another platform, or not for that tier",
            hint="check --platform and --tier",
        )
    return found


def _reduced(source: ReadOnce, descriptor: Descriptor, keep: Keep) -> Descriptor | None:
    """A descriptor of what stays; None for an index that has nothing left."""
    manifest = source.manifest(descriptor)
    if not manifest.is_index or not manifest.manifests:
        return descriptor
    before = list(zip(manifest.manifests, manifest.data["manifests"], strict=True))
    kept = [(child, entry) for child, entry in before if keep(child, partial(_annotations, source, child))]
    pairs: list[dict[str, Any]] = []
    for child, entry in kept:
        smaller = _reduced(source, child, keep) if child.is_index else child
        if smaller is not None:
            pairs.append({**entry, "digest": str(smaller.digest), "size": smaller.size})
    there = {str(entry["digest"]) for entry in pairs}
    pairs = [entry for entry in pairs if (entry.get("annotations") or {}).get(_ATTESTED, entry["digest"]) in there]
    if not pairs:
        return None
    if pairs == [entry for _, entry in before]:
        return descriptor
    made = source.make(Manifest.build({**manifest.data, "manifests": pairs}))
    return made.descriptor


def _annotations(source: ReadOnce, descriptor: Descriptor) -> Mapping[str, str]:
    return source.manifest(descriptor).annotations
