"""Where a bundle is made from: a store or a registry, with the names that lead to what is in it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nexus_oci.bundle.collect import Locate
from nexus_oci.errors import NotFoundError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.push import find_release
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.subjects import RELEASES, is_release, place_of, store_repository
from nexus_oci.pipeline.verify import ReadOnce
from nexus_oci.transfer.ends import Source
from nexus_oci.transfer.store_end import StoreEnd

_SUFFIXES = ("sig", "att", "sbom")
"""What cosign puts under tags made from a digest."""
_ATTACHED = re.compile(r"(sha256|sha512)-([0-9a-f]{64,128})\.(?:sig|att|sbom)\Z")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A release, or an image, and everything that is needed to take it along.

    `prefix` is the HOST/NAMESPACE that images are known by, `repository` the root's own below it; `names` are as in a store.
    `other` finds a further release at the same place by its version.
    """

    source: Source
    root: Descriptor
    repository: str
    prefix: str
    names: Mapping[str, Descriptor]
    locate: Locate
    other: Callable[[str], Descriptor]


def attached_to(tag: str) -> Digest | None:
    """The manifest that a tag of cosign's kind belongs to; None for other tags."""
    found = _ATTACHED.match(tag)
    return Digest(f"{found[1]}:{found[2]}") if found and len(found[2]) == (64 if found[1] == "sha256" else 128) else None


def origin_in_store(store: Store, root: Descriptor, prefix: str) -> Origin:
    """A release or image of a store; `prefix` is what it was built for."""
    tags = store.tags()
    manifest = store.manifest(root)
    repository = store_repository(tags, root)
    names = {name: root for name, entry in tags.items() if entry.digest == root.digest}
    names = names or {root.digest.short if repository == RELEASES else f"{repository}:{root.digest.short}": root}
    if is_release(manifest):
        names |= {
            f"{child.annotations[media_types.REPOSITORY]}:{child.annotations[media_types.TAG]}": child
            for child in manifest.manifests
            if media_types.REPOSITORY in child.annotations
        }
    found: dict[Digest, dict[str, Descriptor]] = {}
    for name, entry in tags.items():
        digest = attached_to(name.rpartition(":")[2])
        if digest is not None:
            found.setdefault(digest, {})[name] = entry

    def other(version: str) -> Descriptor:
        with contextlib.suppress(NotFoundError):
            return store.resolve(version if repository == RELEASES else f"{repository}:{version}")
        return find_release(store, version)[0]

    return Origin(
        source=ReadOnce(StoreEnd(store)),
        root=root,
        repository=repository,
        prefix=prefix,
        names=names,
        locate=lambda digest: tuple(sorted(found.get(digest, {}).items(), key=lambda item: item[0])),
        other=other,
    )


def origin_in_registry(reference: Reference, access: Access) -> Origin:
    """What a reference names; it is resolved to a digest once."""
    end = access.end(reference)
    root = end.resolve(reference.target)
    manifest = end.manifest(root)
    prefix, repository = place_of(reference, manifest)
    released = is_release(manifest) and repository == RELEASES
    if not released and "/" in repository:
        namespace, _, repository = repository.rpartition("/")
        prefix = f"{prefix}/{namespace}"
    version = manifest.annotations.get(media_types.VERSION, root.digest.short).replace("+", "_")
    tag = reference.tag or version
    names = {tag if released else f"{repository}:{tag}": root}
    if is_release(manifest):
        names |= {
            f"{child.annotations[media_types.REPOSITORY]}:{child.annotations[media_types.TAG]}": child
            for child in manifest.manifests
            if media_types.REPOSITORY in child.annotations
        }

    def locate(digest: Digest) -> Sequence[tuple[str, Descriptor]]:
        stem = f"{digest.algorithm}-{digest.hex}"
        found = []
        for suffix in _SUFFIXES:
            with contextlib.suppress(NotFoundError):
                found.append((f"{stem}.{suffix}", end.resolve(f"{stem}.{suffix}")))
        return found

    return Origin(
        source=ReadOnce(end),
        root=root,
        repository=repository,
        prefix=prefix,
        names=names,
        locate=locate,
        other=lambda version: end.resolve(version.replace("+", "_")),
    )
