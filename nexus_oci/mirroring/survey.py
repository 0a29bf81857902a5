"""What belongs to a manifest at the source: what is below it, what refers to any of it, and what cosign's tags hold.

Each manifest is read once for all that follows: the verification, the plan, and the copies to every destination.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from nexus_oci.errors import NotFoundError, VerificationError
from nexus_oci.mirroring.selection import attached_tags
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import BlobStream
from nexus_oci.transfer.places import Repository

Keep = Callable[[Descriptor, Callable[[], Mapping[str, str]]], bool]
"""Whether a child of an index, or a referrer, goes along; the second gives the annotations of its own manifest, which may have to
be read."""
_MOST = 100_000
"""Manifests below and around one root; more is no release but an attempt to keep us busy."""
_LARGEST = 64 << 20
"""Bytes of manifests that one root may have."""


class ReadOnce:
    """A `Source` over a repository whose manifests and referrers are each read once. Used by several threads at once.

    With `keep`, referrers that are not to go along are left out.

    `tags` are all of the repository's. `content` is where manifests and blobs come from: another
    repository may have them too.
    """

    def __init__(self, repository: Repository, tags: Collection[str], content: Repository) -> None:
        self.repository = repository
        self.tags = tags
        self._content = content
        self._manifests: dict[Digest, Manifest] = {}
        self._referrers: dict[Digest, tuple[Descriptor, ...]] = {}
        self._size = 0
        self.keep: Keep | None = None
        self._lock = threading.Lock()

    def resolve(self, name: str) -> Descriptor:
        """What a tag or digest names."""
        return self.read(name).descriptor

    def read(self, name: str) -> Manifest:
        """The manifest that a tag or digest names; a tag is asked for each time."""
        return self.hold(self.repository.read(name))

    def hold(self, manifest: Manifest) -> Manifest:
        """Remember a manifest; raises `VerificationError` where there are more than any release has."""
        with self._lock:
            if manifest.descriptor.digest not in self._manifests:
                self._size += len(manifest.raw)
                if self._size > _LARGEST or len(self._manifests) >= _MOST:
                    raise VerificationError("far too much belongs to one manifest", why="no release does; it is refused")
            return self._manifests.setdefault(manifest.descriptor.digest, manifest)

    def make(self, manifest: Manifest) -> Manifest:
        """Take in a manifest that the source does not have; nothing refers to it."""
        self._referrers[manifest.descriptor.digest] = ()
        return self.hold(manifest)

    def adopt(self, other: ReadOnce) -> None:
        """Take over the manifests that another one has read."""
        for manifest in tuple(other._manifests.values()):
            self.hold(manifest)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, its digest and size checked."""
        held = self._manifests.get(descriptor.digest)
        if held is None:
            held = self.hold(self._content.manifest(descriptor))
        if held.descriptor.size != descriptor.size:
            raise VerificationError(
                f"manifest {descriptor.digest.short} is not as long as its descriptor says",
                why=f"expected {descriptor.size} bytes, got {held.descriptor.size}",
            )
        return held

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """The blob's bytes."""
        return self._content.open_blob(descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """The manifests whose subject is `digest`."""
        held = self._referrers.get(digest)
        if held is None:
            found = self.repository.referrers_among(digest, self.tags)
            held = self._referrers[digest] = tuple(one for one in found if self.keep is None or self._keeps(one))
        return held

    def _keeps(self, referrer: Descriptor) -> bool:
        """Whether a referrer goes along; not every registry's list says of one what its own manifest does."""
        assert self.keep is not None  # noqa: S101  asked only then
        annotations = self.manifest(referrer).annotations
        return self.keep(replace(referrer, annotations={**annotations, **referrer.annotations}), lambda: annotations)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What belongs to a root. `below`: the manifests that it pins, itself too. `attached`: tags, and what they name."""

    root: Descriptor
    below: frozenset[Digest]
    attached: tuple[tuple[str, Descriptor], ...]
    blobs: int
    size: int
    """Bytes of all blobs, each counted once."""


def survey(source: ReadOnce, root: Descriptor, jobs: int) -> Survey:
    """Read everything that belongs to a root, several manifests at once; raises what reading one raises."""
    crew = Crew(jobs)
    seen: dict[Digest, Descriptor] = {}
    below: set[Digest] = set()
    attached: dict[str, Descriptor] = {}
    level: Sequence[tuple[Descriptor, bool]] = [(root, True)]
    while level:
        seen |= {descriptor.digest: descriptor for descriptor, _ in level}
        below |= {descriptor.digest for descriptor, pinned in level if pinned}
        found: dict[Digest, tuple[Descriptor, bool]] = {}
        for children, others, tags in crew.map(lambda entry: _around(source, entry[0]), level):
            attached |= tags
            for descriptor in children:
                found[descriptor.digest] = descriptor, True
            for descriptor in (*others, *tags.values()):
                found.setdefault(descriptor.digest, (descriptor, False))
        level = [entry for digest, entry in found.items() if digest not in seen]
    blobs = {blob.digest: blob.size for descriptor in seen.values() for blob in source.manifest(descriptor).blobs}
    return Survey(
        root=root,
        below=frozenset(below),
        attached=tuple(sorted(attached.items())),
        blobs=len(blobs),
        size=sum(blobs.values()),
    )


def _around(source: ReadOnce, descriptor: Descriptor) -> tuple[Sequence[Descriptor], Sequence[Descriptor], dict[str, Descriptor]]:
    """The children of a manifest, what refers to it, and what stands under its tags."""
    manifest = source.manifest(descriptor)
    tagged = {}
    for tag in attached_tags(descriptor.digest):
        if tag in source.tags:
            try:
                tagged[tag] = source.read(tag).descriptor
            except NotFoundError:
                continue  # it went between the list of tags and now
    return manifest.manifests, source.referrers(descriptor.digest), tagged
