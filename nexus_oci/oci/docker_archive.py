"""Takes the layers out of what the engine's image export streams: a docker-archive, in any of the shapes that engines
write.

Docker up to 24 writes `<v1 id>/layer.tar` folders, sorted by id, and `manifest.json` at the end; Docker 25 and later
writes `blobs/sha256/<digest>` besides, and with its containerd store those blobs may be compressed; Podman writes
`<diff id>.tar`. Layers whose place is known before they are read, and which the store has already, are passed over
without being hashed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from nexus_oci.errors import ArchiveError, VerificationError
from nexus_oci.oci.gzip import inflated
from nexus_oci.oci.layer import Layer, Rewriting, Spool, store_layer, store_layer_from_file
from nexus_oci.oci.store import Store
from nexus_oci.oci.tar import Source, TarReader, chunks_of
from nexus_oci.oci.tar_header import Buffer, Entry, Kind
from nexus_oci.oci.values import MAX_MANIFEST_SIZE

_LEGACY = re.compile(r"([0-9a-f]{64})/(layer\.tar|json)\Z")
_NAMED = re.compile(r"(?:blobs/sha256/([0-9a-f]{64})|([0-9a-f]{64})\.tar)\Z")
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_LEGACY_CREATED = "1970-01-01T00:00:00Z"
_LEGACY_CONFIG = (
    '{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,'
    '"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"",'
    '"Entrypoint":null,"OnBuild":null,"Labels":null}'
)
"""The empty container configuration that Docker's legacy export writes into the `json` file of every layer but the
last."""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def legacy_ids(diff_ids: Sequence[str], created: str = _LEGACY_CREATED) -> list[str]:
    """The v1 ids that Docker's legacy export gives to all layers but the last, from the image's `rootfs.diff_ids`.

    Each is a hash over the chain id (image-spec, config.md#layer-chainid), the id before it, and an empty v1
    configuration made at Unix time zero, `created`, which the engine writes in its own time zone.
    """
    ids: list[str] = []
    chain = ""
    for diff_id in diff_ids[:-1]:
        chain = f"sha256:{_sha256(f'{chain} {diff_id}')}" if chain else diff_id
        parent = f',"parent":"sha256:{ids[-1]}"' if ids else ""
        ids.append(_sha256(f'{{"container_config":{_LEGACY_CONFIG},"created":"{created}","layer_id":"{chain}"{parent}}}'))
    return ids


@dataclass(kw_only=True)
class _Export:
    """What is known of an export while it streams by."""

    store: Store
    rewriting: Rewriting
    known: Mapping[str, Layer]
    diff_ids: tuple[str, ...]
    origin: str
    layers: dict[str, Layer] = field(default_factory=dict)
    """Layers by the engine's diff id."""
    places: dict[str, str] = field(default_factory=dict)
    """The engine's diff ids by path in the archive."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Links in the archive: an engine writes a layer once that an image has twice."""
    legacy: dict[str, str] = field(default_factory=dict)
    """Diff ids by v1 id."""
    manifest: bytes = b""

    def learn(self, layer_id: str, body: bytes) -> None:
        """Find out from a layer's `json` file which layer of the image it is."""
        try:
            data = json.loads(body)
            parent, created = data.get("parent", ""), str(data["created"])
        except (ValueError, KeyError, AttributeError, RecursionError):
            return
        for stamp in (_LEGACY_CREATED, created):
            ids = legacy_ids(self.diff_ids, stamp)
            self.legacy.update(zip(ids, self.diff_ids, strict=False))
            if layer_id not in self.legacy and self.diff_ids and parent == (ids[-1] if ids else ""):
                self.legacy[layer_id] = self.diff_ids[-1]

    def expected(self, path: str) -> str | None:
        """The diff id of the layer at that path, where it is known before the layer is read."""
        if match := _LEGACY.match(path):
            return self.legacy.get(match[1])
        if match := _NAMED.match(path):
            diff_id = f"sha256:{match[1] or match[2]}"
            return diff_id if diff_id in self.diff_ids else None
        return None

    def take(self, path: str, data: Iterator[memoryview]) -> None:
        """Bring one layer into the store, unless it is there."""
        diff_id = self.expected(path)
        if diff_id is None:
            diff_id = self._take_unknown(data)
        elif diff_id in self.known:
            self.layers[diff_id] = self.known[diff_id]
        elif diff_id not in self.layers:
            self.layers[diff_id] = store_layer(self.store, data, self.rewriting, origin=self.origin)
        if diff_id:
            self.places[path] = diff_id

    def _take_unknown(self, data: Iterator[memoryview]) -> str | None:
        """Keep and hash a blob of which only the content tells what it is; returns its diff id, None where it is no
        layer."""
        first = next(data, memoryview(b"")).tobytes()
        if first[:1] in (b"{", b"[", b""):
            return None
        if first.startswith(_ZSTD):
            raise ArchiveError(
                f"{self.origin} has a layer compressed with zstd",
                why="the engine's image store keeps layers as they were pulled, and zstd is not read here",
                hint="use an engine without the containerd image store, or a base whose layers are gzip",
            )
        chunks: Iterable[Buffer] = _joined(first, data)
        if first.startswith(_GZIP):
            chunks = inflated(chunks, self.origin)
        digest = hashlib.sha256()
        with Spool(self.store) as spool:
            for chunk in spool.keeping(chunks):
                digest.update(chunk)
            diff_id = f"sha256:{digest.hexdigest()}"
            if diff_id in self.known:
                self.layers[diff_id] = self.known[diff_id]
            elif diff_id not in self.layers:
                self.layers[diff_id] = store_layer_from_file(self.store, spool.fileno(), self.rewriting, origin=self.origin)
        return diff_id

    def result(self) -> list[Layer]:
        """The image's layers in order, by its manifest."""
        paths = _layer_paths(self.manifest, self.origin)
        found = [self.places.get(self._followed(path)) for path in paths]
        for path, diff_id in zip(paths, found, strict=True):
            if diff_id is None:
                raise ArchiveError(f"{self.origin} lacks a layer that its manifest names", why=f"{path!r} is not there")
        if self.diff_ids and tuple(found) != self.diff_ids:
            raise VerificationError(
                f"{self.origin} has other layers than the engine said",
                why=f"expected {', '.join(self.diff_ids)}, got {', '.join(str(diff_id) for diff_id in found)}",
                hint="the image was changed while it was read; run the same command again",
            )
        return [self.layers[diff_id] for diff_id in found if diff_id]

    def _followed(self, path: str) -> str:
        """The path that a link stands for; links to links are not written by any engine."""
        target = self.aliases.get(path)
        return str(PurePosixPath(path).parent.parent / target.removeprefix("../")) if target else path


def layers_from_docker_archive(
    stream: Iterable[Buffer] | BinaryIO,
    *,
    store: Store,
    epoch: int,
    known: Mapping[str, Layer] | None = None,
    diff_ids: Sequence[str] | None = None,
    origin: str = "the image from the engine",
) -> list[Layer]:
    """Bring the layers of one exported image into the store, canonical and compressed, and return them in order.

    `diff_ids` are the image's layers as the engine's inspection lists them (`RootFS.Layers`), `known` the layers that
    the store has, by such an id; with both, what is known is not even hashed. Blobs that `known` names are not looked
    for in the store: that is for the caller to do. Times later than `epoch` become `epoch`.
    Raises `ArchiveError` for an archive that is malformed, lacks a layer or holds several images, and
    `VerificationError` where the layers are not those of `diff_ids`.
    """
    export = _Export(
        store=store,
        rewriting=Rewriting(epoch=epoch),
        known=known or {},
        diff_ids=tuple(diff_ids or ()),
        origin=origin,
    )
    reader = TarReader(Source(chunks_of(stream)), origin=origin)
    for entry in reader.entries():
        match = _LEGACY.match(entry.name)
        if entry.kind == Kind.SYMLINK:
            export.aliases[entry.name] = entry.target
        elif entry.kind == Kind.LINK and entry.target in export.places:
            export.places[entry.name] = export.places[entry.target]
        elif entry.kind != Kind.FILE:
            continue
        elif entry.name == "manifest.json":
            export.manifest = _small(entry, reader, origin)
        elif match and match[2] == "json":
            export.learn(match[1], _small(entry, reader, origin))
        elif match or _NAMED.match(entry.name):
            export.take(entry.name, reader.data())
    return export.result()


def _small(entry: Entry, reader: TarReader, origin: str) -> bytes:
    if entry.size > MAX_MANIFEST_SIZE:
        raise ArchiveError(f"{origin} has {entry.name} of {entry.size} bytes", why="that is too large to be what it says")
    return b"".join(reader.data())


def _layer_paths(manifest: bytes, origin: str) -> list[str]:
    """The `Layers` of the one image in a manifest.json."""
    try:
        images: Any = json.loads(manifest)
        paths = [str(path) for path in images[0]["Layers"] or ()]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArchiveError(f"{origin} has no valid manifest.json", why=f"{type(error).__name__}: {error}") from error
    if len(images) != 1:
        raise ArchiveError(f"{origin} holds {len(images)} images", why="one was asked for")
    return paths


def _joined(first: bytes, rest: Iterator[memoryview]) -> Iterator[Buffer]:
    yield first
    yield from rest
