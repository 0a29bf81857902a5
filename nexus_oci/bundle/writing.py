"""Writes a bundle: every byte's place is known from the inventory before the first one is written.

Blobs come out of a store within the kernel, and are hashed once meanwhile; out of a registry they are streamed and hashed.
Several go on at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nexus_oci.bundle.inventory import File, Inventory
from nexus_oci.bundle.layout import END, INVENTORY, SIGNATURE, header_of, padded
from nexus_oci.bundle.stream import BLOCK
from nexus_oci.bundle.targets import Target
from nexus_oci.errors import VerificationError
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import BlobStream, Source

_STEP = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands before the first listed entry: the inventory and its signature, as the tar has them."""

    raw: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """The entries."""
        entries = [(INVENTORY, self.raw)] + ([(SIGNATURE, self.signature)] if self.signature else [])
        return b"".join(header_of(name, len(data)) + data.ljust(padded(len(data)), b"\0") for name, data in entries)


def write_bundle(
    target: Target,
    inventory: Inventory,
    head: Head,
    source: Source,
    files: Mapping[str, bytes | Path],
    manifests: Mapping[Digest, Manifest],
    *,
    jobs: int,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Put every byte into the target; raises what reading a blob raises, and `StoreError` for a full disk.

    `files` are the entries that are no blobs: bytes, or what to copy. `progress` hears of the bytes of blobs.
    """
    start = head.to_bytes()
    target.write(start, 0)
    places, size = inventory.places()
    for file, place in zip(inventory.files, places, strict=False):
        target.write(header_of(place.name, place.size), len(start) + place.header)
        _put_file(target, files[file.name], file, len(start) + place.offset)
    crew = Crew(jobs)

    def passed(count: int) -> None:
        crew.checkpoint()
        progress(count)

    def put(index: int) -> None:
        crew.checkpoint()
        content, place = inventory.contents[index], places[len(inventory.files) + index]
        target.write(header_of(place.name, place.size), len(start) + place.header)
        offset = len(start) + place.offset
        if content.digest in manifests:
            target.write(manifests[content.digest].raw, offset)
        else:
            _put_blob(target, source, content, offset, passed)

    order = sorted(range(len(inventory.contents)), key=lambda index: -inventory.contents[index].size)
    crew.map(put, order)
    target.write(END, len(start) + size - len(END))


def _put_file(target: Target, content: bytes | Path, file: File, offset: int) -> None:
    if isinstance(content, bytes):
        target.write(content, offset)
        return
    blob = Descriptor(media_type="application/octet-stream", digest=file.digest, size=file.size)
    with content.open("rb", buffering=0) as stream:
        _copy(target, stream, blob, offset, lambda _: None)


def _put_blob(target: Target, source: Source, blob: Descriptor, offset: int, progress: Callable[[int], None]) -> None:
    with contextlib.closing(source.open_blob(blob, verify=False)) as stream:
        _copy(target, stream, blob, offset, progress)


def _copy(target: Target, stream: BlobStream, blob: Descriptor, offset: int, progress: Callable[[int], None]) -> None:
    """Put a stream at its place; raises `VerificationError` where it is not what its descriptor says."""
    hashed = hashlib.new(blob.digest.algorithm)
    if isinstance(stream, io.FileIO):
        size = _from_file(target, stream.fileno(), blob, offset, hashed.update, progress)
    else:
        size = _from_stream(target, stream, blob, offset, hashed.update, progress)
    if size != blob.size or hashed.hexdigest() != blob.digest.hex:
        raise VerificationError(
            f"blob {blob.digest} is damaged where the bundle is made from",
            why=f"its bytes are not the {blob.size} bytes of that digest",
            hint="nothing was written; build or pull the release again",
        )


def _from_file(
    target: Target, file: int, blob: Descriptor, offset: int, update: Callable[[bytes], None], progress: Callable[[int], None]
) -> int:
    """Copy a file and hash what is copied; its size."""
    size = os.fstat(file).st_size
    if size != blob.size:
        return size
    for at in range(0, size, _STEP):
        count = min(_STEP, size - at)
        target.copy(file, at, count, offset + at)
        for place in range(at, at + count, BLOCK):
            update(os.pread(file, min(BLOCK, at + count - place), place))
        progress(count)
    return size


def _from_stream(
    target: Target,
    stream: BlobStream,
    blob: Descriptor,
    offset: int,
    update: Callable[[bytes], None],
    progress: Callable[[int], None],
) -> int:
    size = 0
    while block := stream.read(BLOCK):
        if size + len(block) > blob.size:
            return size + len(block)
        target.write(block, offset + size)
        update(block)
        size += len(block)
        progress(len(block))
    return size
