"""What is served, by repository: names, manifests, blobs, and who refers to what; made once from what a store or bundle lists.

A repository holds what its names lead to and what refers to that, and nothing else: a name on another registry that is a copy of
this one then means the same here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import BlobStream

_ATTACHED = re.compile(r"sha256-[0-9a-f]{64}\.(?:sig|att|sbom)\Z")
"""Tags under which cosign keeps what belongs to another manifest; a layout names each once, for all repositories of that one."""


class Content(Protocol):
    """What a store or a bundle offers to be served. Used by several threads at once."""

    def stamp(self) -> object:
        """Something that is another value once names or entries have changed."""
        ...

    def names(self) -> Mapping[str, Descriptor]:
        """Every name, `REPOSITORY:TAG`, and what it points at."""
        ...

    def entries(self) -> Iterable[Descriptor]:
        """Every manifest that is listed, with a name or without."""
        ...

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, its digest and size checked."""
        ...

    def open_from(self, descriptor: Descriptor, start: int) -> BlobStream:
        """The bytes of an undamaged blob or manifest from `start` on. Where it is a real file, the kernel may send it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One repository: its tags, and every manifest and blob that may be had by digest."""

    tags: Mapping[str, Descriptor]
    manifests: Mapping[Digest, Descriptor]
    blobs: Mapping[Digest, Descriptor]

    def referrers(self, of: Mapping[Digest, tuple[Descriptor, ...]], digest: Digest) -> tuple[Descriptor, ...]:
        """What refers to a manifest and is in this repository too, by digest."""
        return tuple(one for one in of.get(digest, ()) if one.digest in self.manifests)


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All repositories by name, and for each subject the descriptors of what refers to it, as the referrers API lists them."""

    repositories: Mapping[str, Repository]
    referrers: Mapping[Digest, tuple[Descriptor, ...]]


@dataclass(kw_only=True)
class _Reading:
    """Manifests as they are met, each read once."""

    content: Content
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    referrers: defaultdict[Digest, dict[Digest, Descriptor]] = field(default_factory=lambda: defaultdict(dict))

    def read(self, roots: Iterable[Descriptor]) -> None:
        """Everything from these manifests down."""
        pending = [root for root in roots if root.is_manifest]
        while pending:
            descriptor = pending.pop()
            if descriptor.digest in self.manifests:
                continue
            manifest = self.manifests[descriptor.digest] = self.content.manifest(descriptor)
            pending += [child for child in manifest.manifests if child.is_manifest]
            if manifest.subject is not None:
                described = replace(
                    manifest.descriptor, artifact_type=manifest.artifact_type, annotations=dict(manifest.annotations)
                )
                self.referrers[manifest.subject.digest][descriptor.digest] = described

    def repository(self, tags: Mapping[str, Descriptor], more: Iterable[Descriptor]) -> Repository:
        """What the tags, and what else is listed, lead to, with everything that refers to it."""
        pending = [*tags.values(), *more]
        held: dict[Digest, Descriptor] = {}
        blobs: dict[Digest, Descriptor] = {}
        while pending:
            descriptor = pending.pop()
            manifest = self.manifests.get(descriptor.digest)
            if manifest is None or descriptor.digest in held:
                continue
            held[descriptor.digest] = manifest.descriptor
            blobs |= {blob.digest: blob for blob in manifest.blobs}
            pending += [*manifest.manifests, *self.referrers.get(descriptor.digest, {}).values()]
        return Repository(tags=dict(sorted(tags.items())), manifests=held, blobs=blobs)


def catalogue(content: Content, namespace: str = "") -> Catalogue:
    """Read every manifest that is listed, and sort all of it into repositories below `namespace`.

    What is listed without a name, and is not reached from one, is in no repository, except where nothing has a name: then all of
    it is in the repository `releases`. Raises what reading a manifest raises.
    """
    names = content.names()
    reading = _Reading(content=content)
    reading.read([*names.values(), *content.entries()])
    tags: defaultdict[str, dict[str, Descriptor]] = defaultdict(dict)
    for name, descriptor in names.items():
        repository, _, tag = name.rpartition(":")
        tags[f"{namespace}/{repository}" if namespace else repository][tag] = descriptor
    loose = () if names else tuple(content.entries())
    if loose:
        tags[f"{namespace}/releases" if namespace else "releases"] = {}
    held = {name: reading.repository(found, loose) for name, found in sorted(tags.items())}
    attached = {tag: entry for found in tags.values() for tag, entry in found.items() if _ATTACHED.match(tag)}
    for name, found in held.items():
        lacking = {tag: entry for tag, entry in attached.items() if _subject(tag) in found.manifests}
        if lacking.keys() - found.tags.keys():
            held[name] = reading.repository({**lacking, **found.tags}, loose)
    referrers = {subject: tuple(found[key] for key in sorted(found)) for subject, found in reading.referrers.items()}
    return Catalogue(repositories=held, referrers=referrers)


def _subject(tag: str) -> str:
    """The digest that the tag of a signature names."""
    return tag.partition(".")[0].replace("-", ":", 1)
