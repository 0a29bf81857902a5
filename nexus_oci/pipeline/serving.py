"""From a store on disk, or a bundle, to a registry that serves it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from nexus_oci.errors import NexusError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.pipeline.subjects import RELEASES
from nexus_oci.transfer.ends import BlobStream
from nexus_oci.transfer.store_end import StoreEnd

if TYPE_CHECKING:
    from nexus_oci.bundle.opened import Bundle

_BLOCK: Final = 1 << 20


class StoreContent:
    """A store, as it is now: names that a later build gives are served at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._end = StoreEnd(store)

    def stamp(self) -> object:
        """When the store's index was written, and its size."""
        status = (self._store.root / "index.json").stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def names(self) -> Mapping[str, Descriptor]:
        """Every name that a registry can have; one without a repository, as a release's, is in `releases`."""
        return served_names(self._store.tags())

    def entries(self) -> Iterable[Descriptor]:
        """Every manifest that the store's index lists."""
        return self._store.entries()

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, verified."""
        return self._store.manifest(descriptor)

    def open_from(self, descriptor: Descriptor, start: int) -> BlobStream:
        """The file of a blob that is untouched since it was verified, or has just been hashed again."""
        stream = self._end.open_blob(descriptor)
        stream.seek(start)  # type: ignore[attr-defined]  # it is a file
        return stream


class BundleContent:
    """A bundle, in one file or in parts. What is lost of it is repaired where it can be while it is read.

    A content is hashed whole before its first byte is sent, and from then on read as it is while the files are those that were
    opened.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._verified: set[Digest] = set()

    def stamp(self) -> object:
        """A bundle does not change."""
        return self._bundle.digest

    def names(self) -> Mapping[str, Descriptor]:
        """Every name of the inventory; one without a repository is in the release's own."""
        return served_names(self._bundle.inventory.names, self._bundle.inventory.repository)

    def entries(self) -> Iterable[Descriptor]:
        """Every manifest that the inventory lists."""
        return tuple(content for content in self._bundle.inventory.contents if content.is_manifest)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, verified; of an index the children that are in the bundle."""
        return self._bundle.manifest(descriptor)

    def open_from(self, descriptor: Descriptor, start: int) -> BlobStream:
        """A content from `start` on; raises `VerificationError` where it is damaged beyond repair."""
        if descriptor.digest not in self._verified or not self._bundle.stream.unchanged():
            with contextlib.closing(self._bundle.open_blob(descriptor)) as stream:
                while stream.read(_BLOCK):
                    pass
            self._verified.add(descriptor.digest)
        window = self._bundle.open_blob(descriptor, verify=False)
        window.seek(start)  # type: ignore[attr-defined]  # it is a window of the file
        return window


def served_names(tags: Mapping[str, Descriptor], bare: str = RELEASES) -> dict[str, Descriptor]:
    """The names of a layout as REPOSITORY:TAG, those without a repository in `bare`; what no registry could have is left out."""
    names: dict[str, Descriptor] = {}
    for name, descriptor in tags.items():
        repository, colon, tag = name.rpartition(":")
        full = f"{repository}:{tag}" if colon else f"{bare}:{name}"
        try:
            Reference.parse(f"localhost/{full}")
        except NexusError:
            continue
        names[full] = descriptor
    return names
