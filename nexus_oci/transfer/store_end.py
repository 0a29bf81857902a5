"""The store as an end of a transfer."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Sequence

from nexus_oci.errors import NotFoundError, StoreError, VerificationError
from nexus_oci.oci.partial import PartialWriter
from nexus_oci.oci.store import BlobWriter, Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import BlobStream, Outcome

_BLOCK = 1 << 18
_RESUMED = 1 << 20
"""Bytes from which on it is worth to go on with what was begun."""


class StoreEnd:
    """Both a `Source` and a `Sink` over one store. Used by several threads at once."""

    verifies = True
    keeps_graphs_whole = False

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._referrers: dict[Digest, dict[Digest, Descriptor]] | None = None
        self._arrived: dict[Digest, Descriptor] = {}

    def resolve(self, name: str) -> Descriptor:
        """What a tag or a digest that the store's index lists names; raises `NotFoundError`."""
        return self.store.resolve(name)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, verified and parsed."""
        return self.store.manifest(descriptor)

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """The blob's file. With `verify` it was found untouched since it was verified, or has just been hashed again.

        It is a real file, so that the kernel can send it. Raises `NotFoundError` or `VerificationError`.
        """
        path = self.store.path(descriptor.digest)
        if not path.exists():
            raise NotFoundError(f"blob {descriptor.digest} is not in the store", hint="run `nexus-oci build` again to make it")
        if verify and not self.store.intact(descriptor):
            raise VerificationError(
                f"blob {descriptor.digest} in the store is damaged",
                why=f"its bytes are not the {descriptor.size} bytes of that digest",
                hint="run `nexus-oci build` again: damaged blobs are rebuilt and never used",
            )
        try:
            return path.open("rb", buffering=0)
        except OSError as error:
            raise StoreError(f"blob {descriptor.digest.short} cannot be opened", why=str(error)) from error

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """The manifests listed in the store's index, or below one, whose subject is `digest`; by digest."""
        with self._lock:
            if self._referrers is None:
                self._referrers = self._read_referrers()
            found = self._referrers.get(digest, {})
        return tuple(found[key] for key in sorted(found))

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob or manifest is there and undamaged."""
        return self.store.intact(descriptor)

    def put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        *,
        mount_from: str | None = None,  # noqa: ARG002 - a store has nothing to mount from
        progress: Callable[[int], None],
    ) -> Outcome:
        """Write a blob, verified; one that was begun before, in this process or another, is gone on with."""
        if self.store.intact(descriptor):
            return Outcome.PRESENT
        if descriptor.size >= _RESUMED:
            with contextlib.suppress(BlockingIOError), PartialWriter(self.store, descriptor.digest) as partial:
                self._fill(partial, descriptor, open_stream, progress)
                return Outcome.SENT
        with self.store.writer(descriptor.digest.algorithm) as writer:
            self._fill(writer, descriptor, open_stream, progress)
        return Outcome.SENT

    @staticmethod
    def _fill(
        writer: BlobWriter, descriptor: Descriptor, open_stream: Callable[[], BlobStream], progress: Callable[[int], None]
    ) -> None:
        """Write what is still missing, and name it; where what was there proves wrong, everything."""
        while True:
            begun = writer.size
            with contextlib.closing(open_stream()) as stream:
                _skip(stream, begun)
                while writer.size <= descriptor.size and (block := stream.read(_BLOCK)):
                    writer.write(block)
                    progress(len(block))
            try:
                writer.commit(descriptor.media_type, expected=descriptor)
            except VerificationError:
                writer.restart()
                if not begun:
                    raise
            else:
                return

    def put_manifest(self, manifest: Manifest) -> None:
        """Write a manifest's raw bytes."""
        descriptor = self.store.put_manifest(manifest)
        if manifest.subject is not None:
            with self._lock:
                self._arrived[descriptor.digest] = descriptor

    def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
        """List the manifest under the names, or without one, and beside it the referrers that came with it."""
        with self._lock:
            listed = [*self._arrived.values(), *(() if names else (manifest.descriptor,))]
            self.store.replace_tags(dict.fromkeys(names, manifest.descriptor), listed, keep_untagged=True)
            self._referrers = None

    def remove(self, name: str) -> None:
        """Take a name out of the index, or by digest every entry of a manifest."""
        with self._lock:
            if Digest.is_one(name):
                self.store.forget({Digest(name)})
            else:
                self.store.replace_tags({}, keep_untagged=True, without=[name])
            self._referrers = None

    def _read_referrers(self) -> dict[Digest, dict[Digest, Descriptor]]:
        found: dict[Digest, dict[Digest, Descriptor]] = {}
        pending = [entry for entry in self.store.entries() if entry.is_manifest]
        seen: set[Digest] = set()
        while pending:
            descriptor = pending.pop()
            if descriptor.digest in seen:
                continue
            seen.add(descriptor.digest)
            manifest = self.store.manifest(descriptor)
            pending.extend(manifest.manifests)
            if manifest.subject is not None:
                found.setdefault(manifest.subject.digest, {})[descriptor.digest] = manifest.descriptor
        return found


def _skip(stream: BlobStream, count: int) -> None:
    """Leave out the first bytes: unread where the stream can do that, else read."""
    if not count:
        return
    if (skip_to := getattr(stream, "skip_to", None)) is not None:
        skip_to(count)
    elif isinstance(stream, io.RawIOBase | io.BufferedIOBase) and stream.seekable():
        stream.seek(count)
    else:
        while count and (block := stream.read(min(_BLOCK, count))):
            count -= len(block)
