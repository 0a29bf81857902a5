"""A registry's image out of something on disk, to be carried in a bundle: an image layout, or what `docker save` wrote.

An archive is never unpacked: only members that a manifest names are read, and each of them is hashed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from nexus_oci.errors import ArchiveError, NexusError, NotFoundError
from nexus_oci.oci import media_types
from nexus_oci.oci.gzip import GzipWriter, inflated
from nexus_oci.oci.store import BlobWriter, Store
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Manifest, digest_of
from nexus_oci.pipeline.bundle_origin import Origin
from nexus_oci.transfer.store_end import StoreEnd

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"


def origin_in_layout(store: Store) -> Origin:
    """The one image of a layout; raises `NotFoundError` where there is none, or several."""
    entries = {entry.digest: entry for entry in store.entries()}
    if len(entries) != 1:
        raise NotFoundError(
            f"{store.root} has {len(entries)} images",
            why="the registry's image has to be the only one",
            hint="copy it into a layout of its own, as with `skopeo copy … oci:FOLDER:registry:2`",
        )
    root = next(iter(entries.values()))
    tag = next(iter(store.tags()), "registry")
    name = (tag if ":" in tag else f"registry:{tag}").rpartition("/")[2]

    def other(version: str) -> NoReturn:
        raise NotFoundError(f"there is no other version {version} of a registry's image")

    return Origin(
        source=StoreEnd(store),
        root=root,
        repository=name.rpartition(":")[0],
        prefix="",
        names={name: root},
        locate=lambda _: (),
        other=other,
    )


def read_archive(path: Path, folder: Path) -> Store:
    """The one image of a tar, as a layout in `folder`; raises `ArchiveError` for what is no layout and no docker-archive."""
    store = Store.create(folder)
    try:
        with tarfile.open(path, "r:") as archive:
            if "oci-layout" in archive.getnames():
                _read_layout(archive, store)
            else:
                _read_docker(archive, store)
    except (tarfile.TarError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OSError) as error:
        raise ArchiveError(
            f"{path} holds no image that can be read",
            why=str(error)[:200],
            hint="name what `docker save` or `skopeo copy … oci-archive:FILE` wrote, a layout, or a reference in a registry",
        ) from error
    return store


def _read_layout(archive: tarfile.TarFile, store: Store) -> None:
    index = _json(archive, "index.json")
    entries = [Descriptor.from_json(one) for one in index["manifests"]]
    pending = list(entries)
    while pending:
        one = pending.pop()
        if store.intact(one):
            continue
        with (
            _member(archive, f"blobs/{one.digest.algorithm}/{one.digest.hex}") as file,
            store.writer(one.digest.algorithm) as writer,
        ):
            while block := file.read(_BLOCK):
                writer.write(block)
            writer.commit(one.media_type, expected=one)
        if one.is_manifest:
            manifest = store.manifest(one)
            pending += [*manifest.manifests, *manifest.blobs]
    named = {one.annotations[media_types.REF_NAME]: one for one in entries if media_types.REF_NAME in one.annotations}
    full = {one.annotations.get(media_types.CONTAINERD_NAME) for one in entries} - {None}
    if len(full) == 1:
        named = {str(full.pop()): entries[0]}
    store.replace_tags(named, entries)


def _read_docker(archive: tarfile.TarFile, store: Store) -> None:
    images = _json(archive, "manifest.json")
    if len(images) != 1:
        raise NexusError(f"the archive has {len(images)} images", hint="save the registry's image alone")
    image: Mapping[str, Any] = images[0]
    with _member(archive, image["Config"]) as file:
        raw = file.read(MAX_MANIFEST_SIZE)
    diff_ids = json.loads(raw)["rootfs"]["diff_ids"]
    layers = [_layer(archive, store, path, diff_id) for path, diff_id in zip(image["Layers"], diff_ids, strict=True)]
    manifest = Manifest.build(
        {
            "schemaVersion": 2,
            "mediaType": media_types.MANIFEST,
            "config": store.put(raw, media_types.CONFIG).to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    )
    tags = image.get("RepoTags") or [f"registry:{digest_of(raw).short}"]
    store.replace_tags({tags[0]: store.put_manifest(manifest)})


def _layer(archive: tarfile.TarFile, store: Store, path: str, diff_id: str) -> Descriptor:
    """A layer as a gzip blob, packed if the archive has it unpacked; what is in it has to be what the config says."""
    found = hashlib.sha256()
    with _member(archive, path) as file, store.writer() as writer:
        blocks = iter(lambda: file.read(_BLOCK), b"")
        first = next(blocks, b"")
        if first.startswith(_GZIP):
            for piece in inflated(_written(writer, first, blocks), path):
                found.update(piece)
        else:
            with GzipWriter(writer.write, watch=found.update) as packer:
                for block in itertools.chain([first], blocks):
                    packer.write(block)
        if f"sha256:{found.hexdigest()}" != diff_id:
            raise ValueError(f"the layer {path} is not what the image's config says")
        return writer.commit(media_types.LAYER_GZIP)


def _written(writer: BlobWriter, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks on their way to a reader, which go to the store as they are."""
    for block in itertools.chain([first], rest):
        writer.write(block)
        yield block


@contextmanager
def _member(archive: tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    with file:
        yield file


def _json(archive: tarfile.TarFile, name: str) -> Any:
    with _member(archive, name) as file:
        return json.loads(file.read(MAX_MANIFEST_SIZE))
