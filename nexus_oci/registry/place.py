"""A registry's namespace as a place, and its repositories."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from nexus_oci.errors import NotFoundError
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.registry.end import ReadingEnd
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.registry.writing import RegistryWriter
from nexus_oci.transfer.ends import BlobStream, Outcome
from nexus_oci.transfer.flow import Flow

_REMEMBERED = 16 << 20
"""Bytes of manifests that are kept, so that the registry is asked only whether a tag has moved."""


class RegistryPlace:
    """A namespace of a registry: everything below HOST/BASE, or of the whole registry where `base` is empty.

    With `remember` the manifests of tags are kept, and asked for again only with their ETag (RFC 9110, 13.1.2).
    """

    def __init__(self, host: str, base: str, settings: RegistrySettings, *, remember: bool = False) -> None:
        self.host = host
        self.base = base
        self.client = RegistryWriter(host, settings)
        self._remember = remember
        self._tags: OrderedDict[tuple[str, str], tuple[str, Manifest]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()
        self.reading = Flow(settings.uploads, settings.bytes_at_once)

    @property
    def name(self) -> str:
        """HOST/BASE."""
        return f"{self.host}/{self.base}" if self.base else self.host

    @property
    def requests_made(self) -> int:
        """How many requests were sent so far."""
        return self.client.requests_made

    def repository(self, name: str) -> RegistryRepository:
        """One of its repositories."""
        return RegistryRepository(self, name, "/".join(part for part in (self.base, name) if part))

    def sweep(self) -> int:
        """Nothing: what a registry no longer needs, its own administration removes."""
        return 0

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def tagged(self, repository: str, tag: str) -> Manifest:
        """The manifest that a tag names, from memory where the registry says that it is still the same."""
        key = (repository, tag)
        with self._lock:
            held = self._tags.get(key)
        answer = self.client.tagged(repository, tag, unless=held[0] if held else None)
        if answer is None:
            assert held is not None  # noqa: S101  «not modified» is only said to who had something
            return held[1]
        manifest, etag = answer
        if self._remember and etag:
            with self._lock:
                before = self._tags.pop(key, None)
                self._tags[key] = etag, manifest
                self._held += len(manifest.raw) - (len(before[1].raw) if before else 0)
                while self._held > _REMEMBERED:
                    self._held -= len(self._tags.popitem(last=False)[1][1].raw)
        return manifest


class RegistryRepository(ReadingEnd):
    """One repository of a registry's namespace."""

    verifies = False
    """As of `RegistryEnd`."""
    keeps_graphs_whole = True

    def __init__(self, place: RegistryPlace, name: str, repository: str) -> None:
        super().__init__(place.client, repository)
        self._place = place
        self.name = name

    def neighbour(self, name: str) -> str | None:
        """The whole name of another repository of the place."""
        return self._place.repository(name).repository

    def exists(self) -> bool:
        """Whether it has any tags."""
        try:
            return bool(self._reader.tags(self.repository, most=1))
        except NotFoundError:
            return False

    def tags(self) -> tuple[str, ...]:
        """Every tag; none where the repository is not there."""
        try:
            return self._reader.tags(self.repository)
        except NotFoundError:
            return ()

    def read(self, name: str) -> Manifest:
        """The manifest that a tag or digest names, in one question."""
        return super().read(name) if ":" in name else self._place.tagged(self.repository, name)

    def peek(self, name: str) -> Descriptor | None:
        """What a tag names now; None where there is no such tag."""
        with contextlib.suppress(NotFoundError):
            return self._reader.resolve(self._named(name), pushing=True)
        return None

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """The blob's bytes, streamed, when there is room for them."""
        room = self._place.reading.room(descriptor.size)
        return _Roomed(room, lambda: super(RegistryRepository, self).open_blob(descriptor, verify=verify))

    def referrers_among(self, digest: Digest, tags: Collection[str]) -> tuple[Descriptor, ...]:
        """Referrers by the API, and by the fallback tag if it is among `tags`."""
        return self._reader.referrers(self.repository, digest, tags=tags)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob or manifest is there."""
        if descriptor.is_manifest:
            return self._reader.has_manifest(self.repository, descriptor, pushing=True)
        return self._reader.has_blob(self.repository, descriptor, pushing=True)

    def put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], None],
    ) -> Outcome:
        """Write a blob unless it is there, mounted if that works."""
        client = self._place.client
        return client.put_blob(self.repository, descriptor, open_stream, mount_from=mount_from, progress=progress)

    def put_manifest(self, manifest: Manifest) -> None:
        """Write a manifest by its digest."""
        self._place.client.put_manifest(self.repository, manifest)

    def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
        """Write the manifest under each name, when what refers to it is sure to be found."""
        if names:
            self._place.client.settle_referrers(self.repository)
        for name in names:
            self._place.client.put_manifest(self.repository, manifest, name)

    def remove(self, name: str) -> bool:
        """Take away a manifest by digest, or a tag alone where the registry can do that."""
        return self._place.client.delete_manifest(self.repository, name)


class _Roomed:
    """A stream that holds its room until it is closed."""

    def __init__(self, room: contextlib.AbstractContextManager[None], open_stream: Callable[[], BlobStream]) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(room)
            self._stream = open_stream()
            stack.callback(self._stream.close)
            self._stack = stack.pop_all()
        # What else a reader of blobs can do.
        self.readinto = getattr(self._stream, "readinto", None)
        self.skip_to = getattr(self._stream, "skip_to", None)

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size)

    def close(self) -> None:
        self._stack.close()
