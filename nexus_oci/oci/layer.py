"""Layers for the store: any tar becomes a canonical one, compressed reproducibly, in a single pass where that is
possible.

image-spec 1.1, layer.md. The Docker engine writes its layers in canonical order already; such a layer is compressed
while it arrives. Its raw bytes are also put into a scratch file, from which it is rewritten should the order turn out
to be another. Memory stays constant but for the list of entries.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO, Self

from nexus_oci.errors import ArchiveError, StoreError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.canonical import CanonicalWriter, arrange, file_range
from nexus_oci.oci.gzip import GzipWriter, inflated
from nexus_oci.oci.store import Store
from nexus_oci.oci.tar import FileSource, Source, TarReader, Tree, chunks_of
from nexus_oci.oci.tar_header import Buffer, Entry, Kind
from nexus_oci.oci.values import Descriptor, Digest

_MOST_HOPS = 40
"""How many symbolic links Linux follows in one path."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer in the store.

    `descriptor` names the compressed blob, `diff_id` the tar inside it (image-spec, config.md), whose length in bytes
    is `size`. `links` are the layer's symbolic links to folders of its own, each with the folder it ends at, as `bin` →
    `usr/bin`.
    """

    descriptor: Descriptor
    diff_id: Digest
    size: int
    links: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def to_json(self) -> dict[str, Any]:
        """The layer as a JSON object, for the record of a step."""
        return {
            "descriptor": self.descriptor.to_json(),
            "diffId": str(self.diff_id),
            "size": self.size,
            "links": dict(self.links),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layer:
        """Read what `to_json` gave; raises `VerificationError` for anything else."""
        try:
            return cls(
                descriptor=Descriptor.from_json(data["descriptor"]),
                diff_id=Digest(data["diffId"]),
                size=int(data["size"]),
                links=MappingProxyType({str(name): str(target) for name, target in data["links"].items()}),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VerificationError("a layer's record is malformed", why=f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """How layers are normalised.

    Times later than `epoch` (seconds since 1970) become `epoch`; with `fixed` all do. `owner` replaces all user and
    group ids. `workers` is the number of threads that compress, by default one a processor; no byte depends on it.
    """

    epoch: int
    fixed: bool = False
    owner: tuple[int, int] | None = None
    workers: int | None = None


class LinkCovered(ArchiveError):  # noqa: N818 -- says what was found; the caller then takes another way
    """A layer has a folder where the layers below have a symbolic link to one: stacked, the folder would hide the
    link."""


class Spool:
    """A scratch file without a name that keeps what passes, so that it can be read again; gone when closed."""

    def __init__(self, store: Store) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=store.scratch, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _spool_error(error) from error

    def fileno(self) -> int:
        """The descriptor of the file."""
        return self._file.fileno()

    def keeping(self, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        """The chunks, each written to the file before it is handed on."""
        for chunk in chunks:
            view = memoryview(chunk)
            try:
                while view:
                    view = view[self._file.write(view) or 0 :]
            except OSError as error:
                raise _spool_error(error) from error
            yield chunk

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, and so remove, the file."""
        self._file.close()


def _spool_error(error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            "no space left while keeping a layer in the store's scratch folder",
            why=error.strerror,
            hint="free some space and run the same command again; finished steps are kept",
        )
    return StoreError("a layer cannot be kept in the store's scratch folder", why=str(error))


class _LayerBlob:
    """A compressed layer that grows in the store: takes entries, and knows both digests at the end."""

    def __init__(self, store: Store, rewriting: Rewriting) -> None:
        self._hash = hashlib.sha256()
        self._blob = store.writer()
        self._gzip = GzipWriter(self._blob.write, workers=rewriting.workers, watch=self._hash.update)
        self.tar = CanonicalWriter(self._gzip.write, epoch=rewriting.epoch, fixed=rewriting.fixed, owner=rewriting.owner)

    def finish(self, tree: Tree) -> Layer:
        """End the tar and name the blob in the store."""
        self.tar.finish()
        self._gzip.close()
        return Layer(
            descriptor=self._blob.commit(media_types.LAYER_GZIP),
            diff_id=Digest("sha256:" + self._hash.hexdigest()),
            size=self._gzip.size,
            links=MappingProxyType(_folder_links(tree)),
        )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the workers, and take away what was not finished."""
        self._gzip.abandon()
        self._blob.discard()


def store_layer(
    store: Store,
    chunks: Iterable[Buffer] | BinaryIO,
    rewriting: Rewriting,
    *,
    origin: str = "the layer",
    prefix: str = "",
    allow_devices: bool = False,
    base_links: Mapping[str, str] | None = None,
) -> Layer:
    """Put a streamed tar into the store as a canonical gzip layer.

    `origin` names the tar in messages. `prefix` is a leading folder that is taken off all names. `base_links` are the
    `Layer.links` of the layers that this one is to lie on; a folder of the same name raises `LinkCovered`. Also raises
    `ArchiveError` for a tar that is malformed or leaves its tree, `StoreError` where the disk does not take it, and
    whatever the stream raises.
    """
    with Spool(store) as spool:
        source = Source(spool.keeping(chunks_of(chunks)))
        reader = TarReader(source, origin=origin, prefix=prefix, allow_devices=allow_devices)
        with _LayerBlob(store, rewriting) as blob:
            ordered = True
            for entry in _uncovered(reader, base_links or {}, origin):
                ordered = ordered and blob.tar.accepts(entry)
                if ordered:
                    blob.tar.write(entry, reader.data() if entry.size else ())
            if ordered:
                return blob.finish(reader.tree)
        return _rewritten(store, reader.tree, spool.fileno(), rewriting)


def store_layer_from_file(
    store: Store,
    file: Path | int,
    rewriting: Rewriting,
    *,
    origin: str | None = None,
    prefix: str = "",
    allow_devices: bool = False,
    base_links: Mapping[str, str] | None = None,
) -> Layer:
    """Put a tar file, given by its path or an open descriptor, into the store: as `store_layer`, without a scratch
    copy."""
    if isinstance(file, Path):
        origin = origin or file.name
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ArchiveError(f"{origin} cannot be read", why=str(error)) from error
    else:
        origin = origin or "the layer"
        descriptor = os.dup(file)
    try:
        reader = TarReader(FileSource(descriptor), origin=origin, prefix=prefix, allow_devices=allow_devices)
        for _ in _uncovered(reader, base_links or {}, origin):
            pass
        return _rewritten(store, reader.tree, descriptor, rewriting)
    finally:
        os.close(descriptor)


def layer_in_store(store: Store, descriptor: Descriptor, *, diff_id: Digest, origin: str) -> Layer:
    """The `Layer` of a blob that stays as it came, such as a registry base's: read once, which also proves its
    `diff_id`.

    Raises `VerificationError` where the blob or the tar inside it is not what its digest says, and `ArchiveError` where
    it is no tar, or one that a layer must not be; device nodes are let pass.
    """
    found = hashlib.sha256()

    def hashed(chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        for chunk in chunks:
            found.update(chunk)
            yield chunk

    with store.open_blob(descriptor) as blob:
        chunks = inflated(blob, origin) if descriptor.media_type.endswith("gzip") else iter(blob)
        source = Source(hashed(chunks))
        reader = TarReader(source, origin=origin, allow_devices=True)
        for _ in reader.entries():
            pass
    if diff_id != "sha256:" + found.hexdigest():
        raise VerificationError(
            f"{origin} is not what its image's config says",
            why=f"expected the diff_id {diff_id}, got sha256:{found.hexdigest()}",
            hint="the image was made wrongly or was tampered with; use another base",
        )
    links = MappingProxyType(_folder_links(reader.tree))
    return Layer(descriptor=descriptor, diff_id=diff_id, size=source.position, links=links)


def _uncovered(reader: TarReader, base_links: Mapping[str, str], origin: str) -> Iterator[Entry]:
    """The entries, while none of them needs a folder where the layers below have a link."""
    seen = {""}
    for entry in reader.entries():
        if base_links:
            folder = entry.name if entry.kind == Kind.DIRECTORY else entry.name.rpartition("/")[0]
            while folder not in seen:
                seen.add(folder)
                if end := base_links.get(folder):
                    raise LinkCovered(
                        f"{origin} has a folder {folder!r} where its base has a symbolic link to {end!r}",
                        why="the folder would hide what the link points to",
                        hint=f"put the files into {end!r} instead",
                    )
                folder = folder.rpartition("/")[0]
        yield entry


def _rewritten(store: Store, tree: Tree, file: int, rewriting: Rewriting) -> Layer:
    """The layer from an indexed tar whose entries are in no particular order."""
    with _LayerBlob(store, rewriting) as blob:
        for entry in arrange(tree.entries.values()):
            blob.tar.write(entry, file_range(file, entry.offset, entry.size))
        return blob.finish(tree)


def _folder_links(tree: Tree) -> dict[str, str]:
    """Each symbolic link that ends at a folder of the same layer, and that folder; sorted."""
    links = {}
    for name, entry in sorted(tree.entries.items()):
        if entry.kind == Kind.SYMLINK:
            end = _end_of(tree, name)
            if end is not None and tree.is_folder(end):
                links[name] = end
    return links


def _end_of(tree: Tree, name: str) -> str | None:
    """Where a path ends when the links in it are followed within the tree; None for a circle."""
    ahead = name.split("/")[::-1]
    done: list[str] = []
    hops = 0
    while ahead:
        part = ahead.pop()
        entry = tree.entries.get("/".join([*done, part]))
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
        elif entry and entry.kind == Kind.SYMLINK:
            hops += 1
            if hops > _MOST_HOPS:
                return None
            if entry.target.startswith("/"):
                done = []
            ahead.extend(entry.target.split("/")[::-1])
        else:
            done.append(part)
    return "/".join(done)
