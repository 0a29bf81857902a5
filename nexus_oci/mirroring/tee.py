"""One sink that is many: what is written goes to every destination that lacks it, and is read once for all of them.

A destination that fails is left out from then on and keeps its error; the others go on. When none is left, the error of the first
ends the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from nexus_oci.errors import NexusError
from nexus_oci.mirroring.hands import Hands
from nexus_oci.mirroring.joining import has_all
from nexus_oci.mirroring.ledger import Ledger
from nexus_oci.mirroring.tally import Tally
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import BlobStream, Outcome
from nexus_oci.transfer.flow import Gates
from nexus_oci.transfer.places import Repository
from nexus_oci.transfer.spool import Spool

_R = TypeVar("_R")
_HANDS = 64
"""Destinations that are served at once; the others follow from what is kept for them."""


@dataclass(kw_only=True, eq=False)
class Branch:
    """One destination of a copy: its number, its repository, and what is known to be there."""

    number: int
    repository: Repository
    tally: Tally
    known: set[Digest] = field(default_factory=set)
    """Manifests that need not be asked for."""
    names: dict[str, Digest | None] = field(default_factory=dict)
    """Tags that were asked for, and what they named."""
    failure: NexusError | None = None


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all copies of a run have in common. `spool`: the folder for content that several destinations wait for."""

    spool: Path
    ledger: Ledger = field(default_factory=Ledger)
    gates: Gates = field(default_factory=Gates)
    hands: Hands = field(default_factory=lambda: Hands(_HANDS))


class Tee:
    """A `Sink` over several branches. Used by several threads at once."""

    def __init__(self, branches: Sequence[Branch], shared: Shared) -> None:
        self._branches = branches
        self._shared = shared
        self.verifies = all(branch.repository.verifies for branch in branches)
        self.keeps_graphs_whole = all(branch.repository.keeps_graphs_whole for branch in branches)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether every branch has it; which ones do is remembered."""

        def ask(branch: Branch) -> bool:
            if descriptor.digest not in branch.known and branch.repository.has(descriptor):
                branch.known.add(descriptor.digest)
            return descriptor.digest in branch.known

        return all(answer is not False for answer in self._each(ask))

    def put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], None],
    ) -> Outcome:
        """Write a blob to the branches that lack it. `mount_from` is the name of a repository in each of their places."""
        with self._shared.gates.through(descriptor.digest):
            live = [branch for branch in self._live() if not self._noted(branch, descriptor)]
            if len(live) > 1:
                with Spool(self._shared.spool, descriptor, open_stream) as spool:
                    outcomes = self._each(partial(self._put_blob, descriptor, spool.open, mount_from, progress), live)
            else:
                outcomes = self._each(partial(self._put_blob, descriptor, open_stream, mount_from, progress), live)
        found = set(outcomes)
        return next((one for one in (Outcome.SENT, Outcome.MOUNTED) if one in found), Outcome.PRESENT)

    def put_manifest(self, manifest: Manifest) -> None:
        """Write a manifest to the branches that lack it; whether it is there then has to be asked."""

        def put(branch: Branch) -> None:
            branch.repository.put_manifest(manifest)
            branch.tally.add(manifests_sent=1, bytes_sent=manifest.descriptor.size)

        self._each(put, [branch for branch in self._live() if manifest.descriptor.digest not in branch.known])

    def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
        """Let the names point at the manifest, where they do not yet."""

        def name(branch: Branch) -> None:
            new = [one for one in names if not _points(branch, one, manifest.descriptor.digest)]
            if new or not (names or branch.repository.keeps_graphs_whole):
                branch.repository.tag(manifest, new)
                branch.tally.add(tags_written=len(new))
                branch.names |= dict.fromkeys(new, manifest.descriptor.digest)

        self._each(name)

    def without(self, name: str, digest: Digest) -> list[Branch]:
        """The branches where a tag does not name that manifest."""
        found = self._each(lambda branch: None if _points(branch, name, digest) else branch)
        return [branch for branch in found if branch is not None]

    def differing(self, name: str, image: Manifest) -> list[tuple[Branch, Manifest | None]]:
        """The branches where what stands under a tag lacks layers of the image; with what stands there if that has others."""

        def look(branch: Branch) -> list[tuple[Branch, Manifest | None]]:
            if _points(branch, name, image.descriptor.digest):
                return []
            if branch.names[name] is None:
                return [(branch, None)]
            theirs = branch.repository.read(name)
            if has_all(theirs, image):
                return []
            return [(branch, None if has_all(image, theirs) else theirs)]

        return [one for found in self._each(look) for one in found]

    def _live(self) -> list[Branch]:
        return [branch for branch in self._branches if branch.failure is None]

    def _noted(self, branch: Branch, descriptor: Descriptor) -> bool:
        """Whether this run has seen the blob there; it counts as present."""
        return branch.repository.name in self._shared.ledger.repositories(branch.number, descriptor.digest)

    def _put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        mount_from: str | None,
        progress: Callable[[int], None],
        branch: Branch,
    ) -> Outcome:
        def moved(count: int) -> None:
            branch.tally.add(bytes_sent=count)
            progress(count)

        there = self._shared.ledger.repositories(branch.number, descriptor.digest)
        neighbour = there[-1] if there else mount_from
        outcome = branch.repository.put_blob(
            descriptor,
            open_stream,
            mount_from=None if neighbour is None else branch.repository.neighbour(neighbour),
            progress=moved,
        )
        self._shared.ledger.note(branch.number, descriptor.digest, branch.repository.name)
        branch.tally.blob(descriptor, outcome)
        return outcome

    def _each(self, work: Callable[[Branch], _R], branches: Iterable[Branch] | None = None) -> list[_R]:
        """`work` for every branch; the results of those that did not fail. Raises the first failure when nobody is left."""
        chosen = list(self._live() if branches is None else branches)

        def attempt(branch: Branch) -> list[_R]:
            try:
                return [work(branch)]
            except NexusError as error:
                branch.failure = error
                return []

        results = [result for found in self._shared.hands.map(attempt, chosen) for result in found]
        if not self._live():
            raise next(branch.failure for branch in self._branches if branch.failure is not None)
        return results


def _points(branch: Branch, name: str, digest: Digest) -> bool:
    """Whether a tag names that manifest; it is asked for once."""
    if name not in branch.names:
        held = branch.repository.peek(name)
        branch.names[name] = held.digest if held else None
    return branch.names[name] == digest
