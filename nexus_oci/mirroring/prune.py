"""Taking away what a destination no longer needs, and nothing that anything else there does.

Only tags that are versions go, and only those that are neither mirrored nor kept. What is left then decides what else may go:
every manifest that a remaining tag leads to stays, whoever wrote that tag; so do the signatures and statements of it. If any of
that cannot be read, nothing is taken away from that repository.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nexus_oci.mirroring.selection import Retention, attached_tags, is_attached
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.places import Place, Repository


@dataclass(kw_only=True)
class Pruned:
    """What was taken away (or would be): names, and how many manifests. `stayed` are tags that could not go alone."""

    tags: list[str] = field(default_factory=list)
    manifests: int = 0
    bytes_freed: int = 0
    stayed: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report's part."""
        return {"tags": self.tags, "manifests": self.manifests, "bytes_freed": self.bytes_freed, "stayed": self.stayed}


def prune(place: Place, name: str, wanted: Sequence[str], retention: Retention, *, plan: bool) -> Pruned:
    """Take the versions from a repository that are not `wanted` nor kept, and what stands beside a release under other names.

    With `plan` nothing is touched. Raises what reading and removing raise.
    """
    result = Pruned()
    repository = place.repository(name)
    there = repository.tags()
    doomed = retention.doomed(there, wanted)
    if not doomed:
        return result
    staying = [tag for tag in there if tag not in doomed and not is_attached(tag)]
    friendly = _names_of(repository, doomed)
    for other, tags in _names_of(repository, staying).items():
        friendly[other] -= tags
    _Removal(repository, there, doomed, plan, result).run()
    for other, tags in sorted(friendly.items()):
        beside = place.repository(other)
        present = beside.tags()
        _Removal(beside, present, sorted(tags & set(present)), plan, result).run()
    if not plan:
        result.bytes_freed = place.sweep()
    return result


def _names_of(repository: Repository, tags: Iterable[str]) -> defaultdict[str, set[str]]:
    """The repositories and tags by which the parts of releases are known beside them."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for tag in tags:
        for child in repository.read(tag).manifests:
            if media_types.REPOSITORY in child.annotations and media_types.TAG in child.annotations:
                found[child.annotations[media_types.REPOSITORY]].add(child.annotations[media_types.TAG])
    return found


class _Removal:
    """The removal of some tags from one repository."""

    def __init__(self, repository: Repository, there: Sequence[str], doomed: Sequence[str], plan: bool, result: Pruned) -> None:
        self._repository = repository
        self._there = there
        self._doomed = doomed
        self._plan = plan
        self._result = result

    def run(self) -> None:
        """Work out what is still needed, then remove the rest: what names others before what is named."""
        if not self._doomed:
            return
        needed: dict[Digest, None] = {}
        for tag in self._there:
            if tag not in self._doomed and not is_attached(tag):
                self._gather(self._repository.read(tag), needed)
        for tag in self._doomed:
            root = self._repository.read(tag)
            if root.descriptor.digest in needed:
                self._untag(tag)
                continue
            self._result.tags.append(f"{self._repository.name}:{tag}" if self._repository.name else tag)
            loose: dict[Digest, None] = {}
            self._gather(root, loose)
            for digest in loose:
                if digest not in needed:
                    self._remove(digest)
            # What was removed once need not be removed for another tag.
            needed |= loose

    def _untag(self, tag: str) -> None:
        name = f"{self._repository.name}:{tag}" if self._repository.name else tag
        if self._plan or self._repository.remove(tag):
            self._result.tags.append(name)
        else:
            self._result.stayed.append(name)

    def _gather(self, manifest: Manifest, found: dict[Digest, None]) -> None:
        """Every manifest below one, parents first, and what refers to any of them."""
        pending = [manifest.descriptor]
        known = {manifest.descriptor.digest: manifest}
        while pending:
            descriptor = pending.pop(0)
            if descriptor.digest in found:
                continue
            found[descriptor.digest] = None
            held = known.get(descriptor.digest) or self._repository.manifest(descriptor)
            pending += held.manifests
            pending += self._repository.referrers_among(descriptor.digest, self._there)
            pending += self._attached(descriptor.digest)

    def _attached(self, digest: Digest) -> list[Descriptor]:
        tags = [*attached_tags(digest), f"{digest.algorithm}-{digest.hex[:64]}"]
        return [self._repository.read(tag).descriptor for tag in tags if tag in self._there]

    def _remove(self, digest: Digest) -> None:
        self._result.manifests += 1
        if not self._plan:
            self._repository.remove(str(digest))
