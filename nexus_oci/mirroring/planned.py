"""A repository that is asked and never written: what a run would do to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import BlobStream, Outcome
from nexus_oci.transfer.places import Repository


class Planned:
    """Stands before a repository. What was «written» counts as being there from then on."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._written: set[Digest] = set()
        self._named: dict[str, Descriptor] = {}
        self.name = repository.name
        self.verifies = True
        self.keeps_graphs_whole = repository.keeps_graphs_whole

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is there, or would be by now."""
        return descriptor.digest in self._written or self._repository.has(descriptor)

    def put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],  # noqa: ARG002 - nothing is read
        *,
        mount_from: str | None = None,
        progress: Callable[[int], None],
    ) -> Outcome:
        """Say what would become of the blob: a neighbour that has it would lend it."""
        if self.has(descriptor):
            return Outcome.PRESENT
        self._written.add(descriptor.digest)
        if mount_from is not None:
            return Outcome.MOUNTED
        progress(descriptor.size)
        return Outcome.SENT

    def put_manifest(self, manifest: Manifest) -> None:
        """Count it as written."""
        self._written.add(manifest.descriptor.digest)

    def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
        """Count it as named."""
        self._named |= dict.fromkeys(names, manifest.descriptor)

    def peek(self, name: str) -> Descriptor | None:
        """What the tag names, or would by now."""
        return self._named.get(name) or self._repository.peek(name)

    def neighbour(self, name: str) -> str | None:
        """As the repository."""
        return self._repository.neighbour(name)

    def tags(self) -> tuple[str, ...]:
        """As the repository."""
        return self._repository.tags()

    def resolve(self, name: str) -> Descriptor:
        """As the repository."""
        return self._repository.resolve(name)

    def read(self, name: str) -> Manifest:
        """As the repository."""
        return self._repository.read(name)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """As the repository."""
        return self._repository.manifest(descriptor)

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """As the repository."""
        return self._repository.open_blob(descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """As the repository."""
        return self._repository.referrers(digest)

    def referrers_among(self, digest: Digest, tags: Collection[str]) -> tuple[Descriptor, ...]:
        """As the repository."""
        return self._repository.referrers_among(digest, tags)

    def remove(self, name: str) -> bool:  # noqa: ARG002 - it is only counted
        """Nothing is removed."""
        return True
