"""A repository of a registry as an end of a transfer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nexus_oci.errors import VerificationError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import BlobStream, Outcome

if TYPE_CHECKING:
    from nexus_oci.registry.reading import RegistryReader
    from nexus_oci.registry.writing import RegistryWriter


class ReadingEnd:
    """A `Source` over one repository. Used by several threads at once."""

    def __init__(self, reader: RegistryReader, repository: str) -> None:
        self._reader = reader
        self.repository = repository
        self._base = Reference(host=reader.hostname, repository=repository)

    def resolve(self, name: str) -> Descriptor:
        """The manifest that a tag or digest names; raises `NotFoundError`."""
        return self._reader.resolve(self._named(name))

    def read(self, name: str) -> Manifest:
        """The manifest that a tag or digest names, in one question where `resolve` and `manifest` take two."""
        return self._reader.manifest(self._named(name))

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, its digest and size checked."""
        manifest = self._reader.manifest(self._base.at(descriptor.digest))
        if manifest.descriptor.size != descriptor.size:
            raise VerificationError(
                f"manifest {descriptor.digest.short} is not as long as its descriptor says",
                why=f"expected {descriptor.size} bytes, got {manifest.descriptor.size}",
            )
        return manifest

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """The blob's bytes, streamed."""
        return self._reader.open_blob(self.repository, descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """The manifests whose subject is `digest`."""
        return self._reader.referrers(self.repository, digest)

    def close(self) -> None:
        """Close the idle connections."""
        self._reader.close()

    def embedded(self, digest: Digest) -> Manifest | None:
        """A referrer's manifest that came with the list of referrers, if it did."""
        return self._reader.embedded(digest)

    def _named(self, name: str) -> Reference:
        return self._base.at(Digest(name)) if ":" in name else self._base.tagged(name)


class RegistryEnd(ReadingEnd):
    """Both a `Source` and a `Sink` over one repository. Used by several threads at once."""

    verifies = False
    """The registry checks digests, but it may lie or be lax: what goes in is checked on our side too."""
    keeps_graphs_whole = True

    def __init__(self, client: RegistryWriter, repository: str) -> None:
        super().__init__(client, repository)
        self.client = client

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob or manifest is there."""
        if descriptor.is_manifest:
            return self.client.has_manifest(self.repository, descriptor, pushing=True)
        return self.client.has_blob(self.repository, descriptor, pushing=True)

    def put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], None],
    ) -> Outcome:
        """Write a blob unless it is there, mounted if that works."""
        return self.client.put_blob(self.repository, descriptor, open_stream, mount_from=mount_from, progress=progress)

    def put_manifest(self, manifest: Manifest) -> None:
        """Write a manifest by its digest."""
        self.client.put_manifest(self.repository, manifest)

    def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
        """Write the manifest under each name, when what refers to it is sure to be found."""
        if names:
            self.client.settle_referrers(self.repository)
        for name in names:
            self.client.put_manifest(self.repository, manifest, name)
