"""Writing to one registry by the OCI distribution-spec 1.1; what reads is `reading`, and `client` is both in oras-py's terms."""

from __future__ import annotations

from collections.abc import Callable

from nexus_oci.errors import RegistryError, VerificationError
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.registry.auth import delete_scope, push_scope
from nexus_oci.registry.body import nothing
from nexus_oci.registry.journal import Journal
from nexus_oci.registry.reading import RegistryReader
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.registry.transport import Call
from nexus_oci.registry.uploads import Upload
from nexus_oci.transfer.ends import BlobStream, Outcome
from nexus_oci.transfer.flow import Flow, Gates


class RegistryWriter(RegistryReader):
    """Reads from one registry host and writes to it. Used by several threads at once. Raises what `RegistryReader` does."""

    def __init__(self, host: str, settings: RegistrySettings | None = None) -> None:
        super().__init__(host, settings)
        chosen = self.transport.settings
        self._gates = Gates()
        self._flow = Flow(chosen.uploads, chosen.bytes_at_once)
        self._journal = Journal(chosen.journal, chosen.pace.wall)

    def put_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], None] = nothing,
    ) -> Outcome:
        """Write a blob unless the repository has it: mounted from another repository if that works, else uploaded.

        `open_stream` is called again for every new try. `progress` hears of the bytes sent, repeated ones too. Of threads with
        one blob the first writes and the others wait: a registry on a file system may take a blob that is written a second
        time for damaged, and refuse a manifest with it.
        """
        upload = Upload(
            self.transport,
            self._api(repository),
            descriptor,
            open_stream,
            lambda: self.has_blob(repository, descriptor, pushing=True),
            progress,
            self._journal,
            self._flow,
        )
        with self._gates.through((repository, descriptor.digest)):
            return upload.run(self._api(mount_from) if mount_from else None)

    def put_manifest(self, repository: str, manifest: Manifest, tag: str | None = None) -> None:
        """Write a manifest's raw bytes under its digest, or a tag, and see that its subject's referrers list it."""
        name, digest = self._api(repository), manifest.descriptor.digest
        call = Call(
            method="PUT",
            url=self._manifest_url(name, tag or str(digest)),
            doing=f"writing manifest {tag or digest.short} to {repository}",
            expect=frozenset({200, 201, 202}),
            headers={"Content-Type": manifest.descriptor.media_type},
            scope=push_scope(name),
            body=manifest.raw,
        )
        answer = self.transport.fetch(call)
        stored = answer.headers.get("docker-content-digest")
        if stored and stored.startswith(digest.algorithm + ":") and Digest(stored) != digest:
            raise VerificationError(
                f"{self.hostname} stored another manifest than was sent to {repository}",
                why=f"{digest} became {stored}",
            )
        if manifest.subject is not None:
            self._referrers.add(name, manifest, announced="oci-subject" in answer.headers)

    def settle_referrers(self, repository: str) -> None:
        """See that the fallback tags still list what this client added to them; to be called before anything is named."""
        self._referrers.settle(self._api(repository))

    def delete_manifest(self, repository: str, target: str) -> bool:
        """Take away a manifest by digest, and with it all its tags, or a tag alone (distribution-spec, "Deleting tags").

        What is not there is no error. Returns False where the registry cannot take away a tag; raises `RegistryError` where
        it takes away nothing at all.
        """
        name = self._api(repository)
        call = Call(
            method="DELETE",
            url=self._manifest_url(name, target),
            doing=f"removing {target} from {repository}",
            expect=frozenset({200, 202, 204, 400, 404, 405, 501}),
            scope=delete_scope(name),
        )
        answer = self.transport.fetch(call)
        if answer.status not in (400, 405, 501):
            return True
        if ":" not in target:
            return False
        raise RegistryError(
            f"{self.hostname} lets nothing be removed from {repository}",
            why=f"it answered {answer.status}",
            hint="allow deletion in its configuration (REGISTRY_STORAGE_DELETE_ENABLED=true), or leave out --prune",
        )
