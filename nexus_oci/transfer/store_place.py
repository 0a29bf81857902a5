"""A store as a place: the repositories of a release are told apart by the names in its index.

What a registry has as `releases:1.4.0` is called `1.4.0` in a store, and `runtime:1.4.0` is called just that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence

from nexus_oci.errors import NotFoundError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import BlobStream, Outcome
from nexus_oci.transfer.store_end import StoreEnd

_UNNAMED = frozenset({"", "releases"})


class StorePlace:
    """A store, read or written as if it were a namespace."""

    requests_made = 0

    def __init__(self, store: Store) -> None:
        self.store = store
        self.end = StoreEnd(store)

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.store.root)

    def repository(self, name: str) -> StoreRepository:
        """One of its repositories."""
        return StoreRepository(self.end, name)

    def sweep(self) -> int:
        """Remove every blob that no entry of the index leads to; returns how many bytes that were."""
        needed: set[Digest] = set()
        pending = list(self.store.entries())
        while pending:
            descriptor = pending.pop()
            if descriptor.digest in needed:
                continue
            needed.add(descriptor.digest)
            if descriptor.is_manifest and self.store.has(descriptor):
                manifest = self.store.manifest(descriptor)
                pending += [*manifest.manifests, *manifest.blobs]
        removed = 0
        for folder in (self.store.root / "blobs").iterdir():
            for path in folder.iterdir():
                digest = Digest(f"{folder.name}:{path.name}")
                if digest not in needed:
                    removed += path.stat().st_size
                    self.store.drop(digest)
        return removed

    def close(self) -> None:
        """Nothing to give up."""


class StoreRepository:
    """The part of a store whose names begin with a repository's."""

    verifies = True
    keeps_graphs_whole = False

    def __init__(self, end: StoreEnd, name: str) -> None:
        self._end = end
        self.name = name

    def _full(self, name: str) -> str:
        return name if self.name in _UNNAMED or Digest.is_one(name) else f"{self.name}:{name}"

    def neighbour(self, name: str) -> str | None:  # noqa: ARG002
        """Nothing: a store has every blob once."""
        return None

    def tags(self) -> tuple[str, ...]:
        """The names in the index that are of this repository, without its own."""
        names = self._end.store.tags()
        if self.name in _UNNAMED:
            return tuple(name for name in names if ":" not in name)
        prefix = f"{self.name}:"
        return tuple(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    def resolve(self, name: str) -> Descriptor:
        """What a tag or digest names; raises `NotFoundError`."""
        return self._end.resolve(self._full(name))

    def read(self, name: str) -> Manifest:
        """The manifest that it names."""
        return self._end.manifest(self.resolve(name))

    def peek(self, name: str) -> Descriptor | None:
        """What a tag names; None where there is none, or where its manifest is damaged."""
        with contextlib.suppress(NotFoundError):
            found = self.resolve(name)
            return found if self._end.has(found) else None
        return None

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, verified."""
        return self._end.manifest(descriptor)

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """A blob's file."""
        return self._end.open_blob(descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """What refers to a manifest, anywhere in the store."""
        return self._end.referrers(digest)

    def referrers_among(self, digest: Digest, tags: Collection[str]) -> tuple[Descriptor, ...]:  # noqa: ARG002
        """As `referrers`: a store needs no lists of them."""
        return self._end.referrers(digest)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is there and undamaged."""
        return self._end.has(descriptor)

    def put_blob(
        self,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        *,
        mount_from: str | None = None,
        progress: Callable[[int], None],
    ) -> Outcome:
        """Write a blob, verified."""
        return self._end.put_blob(descriptor, open_stream, mount_from=mount_from, progress=progress)

    def put_manifest(self, manifest: Manifest) -> None:
        """Write a manifest."""
        self._end.put_manifest(manifest)

    def tag(self, manifest: Manifest, names: Sequence[str]) -> None:
        """List the manifest under the names of this repository."""
        self._end.tag(manifest, [self._full(name) for name in names])

    def remove(self, name: str) -> bool:
        """Take a name, or what is listed without one, out of the index; its bytes stay until they are swept."""
        self._end.remove(self._full(name))
        return True
