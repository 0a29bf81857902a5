"""From a store on disk to a registry that serves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nexus_oci.errors import NexusError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest
from nexus_oci.pipeline.subjects import RELEASES
from nexus_oci.transfer.ends import BlobStream
from nexus_oci.transfer.store_end import StoreEnd


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


def served_names(tags: Mapping[str, Descriptor]) -> dict[str, Descriptor]:
    """The names of a layout as REPOSITORY:TAG; those that no registry could have are left out."""
    names: dict[str, Descriptor] = {}
    for name, descriptor in tags.items():
        repository, colon, tag = name.rpartition(":")
        full = f"{repository}:{tag}" if colon else f"{RELEASES}:{name}"
        try:
            Reference.parse(f"localhost/{full}")
        except NexusError:
            continue
        names[full] = descriptor
    return names
