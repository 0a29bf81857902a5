"""The two ends of a transfer, as protocols: a `Source` that is read and a `Sink` that is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from nexus_oci.oci.values import Descriptor, Digest, Manifest


class BlobStream(Protocol):
    """Bytes of a blob, in order."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end."""
        ...

    def close(self) -> None:
        """Give up what it holds."""
        ...


class Outcome(Enum):
    """What became of a blob that was to be written."""

    SENT = "sent"
    PRESENT = "present"
    MOUNTED = "mounted"


class Source(Protocol):
    """Where content comes from."""

    def resolve(self, name: str) -> Descriptor:
        """The manifest that a tag or digest names; raises `NotFoundError`."""
        ...

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, its digest and size checked."""
        ...

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """The blob's bytes. With `verify`, reading to the end raises `VerificationError` if size or digest are wrong.

        Without, the reader must check them: for sinks that do (`Sink.verifies`), so that nothing is hashed twice.
        """
        ...

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """The manifests whose subject is `digest`: signatures, SBOMs, artifacts."""
        ...


class Sink(Protocol):
    """Where content goes."""

    @property
    def verifies(self) -> bool:
        """Whether `put_blob` itself refuses bytes of a wrong digest."""
        ...

    @property
    def keeps_graphs_whole(self) -> bool:
        """Whether a manifest that is there proves that everything under it is, as in a registry."""
        ...

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob or manifest is there."""
        ...

    def put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], None],
    ) -> Outcome:
        """Write a blob unless it is there. `open_stream` may be called again after a failure.

        `mount_from` names a repository on the same registry that has it. `progress` is told every number of bytes that
        was written, repeated ones too; an exception from it stops the writing.
        """
        ...

    def put_manifest(self, manifest: Manifest) -> None:
        """Write a manifest by its digest; everything under it is there already."""
        ...

    def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
        """Let the names point at a manifest that is there. The last act of a transfer, also when there are no names."""
        ...
