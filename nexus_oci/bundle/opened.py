"""An opened bundle: every byte that is no content compared with what the inventory implies, and content read at any place.

1. The first entry is the inventory; it is read, and contradicts itself nowhere (`Inventory.parse`).
2. The next one may be its signature, which is kept for whoever has keys.
3. Every header, every padding and the end are what names and sizes in the inventory imply, and the bundle ends there.

What is left are the contents, which `check_contents` hashes, and reading to the end verifies one by one. Whether the inventory is
to be believed is for the holder of keys to say.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nexus_oci.bundle.inventory import LARGEST, Inventory
from nexus_oci.bundle.layout import END, INVENTORY, SIGNATURE, Place, header_of, padded
from nexus_oci.bundle.parts import parts_of
from nexus_oci.bundle.repair import PartStream, is_part, open_parts
from nexus_oci.bundle.stream import BLOCK, FileStream, Stream, Window
from nexus_oci.errors import NexusError, NotFoundError, VerificationError
from nexus_oci.oci.store import VerifiedReader
from nexus_oci.oci.tar_header import BLOCK as TAR_BLOCK
from nexus_oci.oci.tar_header import parse_header, shown
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Digest, Manifest, digest_of
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import BlobStream

_LARGEST_SIGNATURE = 16 << 10
_KINDS = {b"0": "a file", b"1": "a hard link", b"2": "a symbolic link", b"5": "a folder"}


class Bundle:
    """A bundle that was opened: a `Source`, with ranges. Used by several threads at once; a context manager.

    `digest` is that of the inventory, and so of all that it lists. Of an index whose other platforms were left out the raw bytes
    are whole and its `manifests` are those that are here.
    """

    def __init__(self, stream: Stream, raw: bytes, signature: bytes, start: int) -> None:
        self.stream = stream
        self.raw = raw
        self.signature = signature
        self.inventory = Inventory.parse(raw)
        self.digest = digest_of(raw)
        places, size = self.inventory.places()
        self._start = start
        self._size = size
        contained = places[len(self.inventory.files) :]
        self._places = {one.digest: place for one, place in zip(self.inventory.contents, contained, strict=True)}
        self._files = {place.name: place for place in places[: len(self.inventory.files)]}
        self._known = {content.digest: content for content in self.inventory.contents}
        self._absent = {one.digest for one in self.inventory.left_out}
        self._checked = False
        self._referrers: dict[Digest, dict[Digest, Descriptor]] | None = None
        self._lock = threading.Lock()
        self._check_structure(places)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.stream.name

    @property
    def parts(self) -> PartStream | None:
        """Its parts, where it has some."""
        return self.stream if isinstance(self.stream, PartStream) else None

    @property
    def is_proved(self) -> bool:
        """Whether all contents were hashed and found good, and nobody wrote to the files since."""
        return self._checked and self.stream.unchanged()

    def resolve(self, name: str) -> Descriptor:
        """What a name of the inventory, or a digest that it lists, names; raises `NotFoundError`."""
        name = name.partition("@")[2] if "@" in name else name
        found = self.inventory.names.get(name)
        if found is None and name in self._known:
            return self._known[Digest(name)]
        if found is None:
            known = ", ".join(sorted(one for one in self.inventory.names if "sha256-" not in one))
            raise NotFoundError(f"{name!r} is not in {self.name}", why=f"it has {known or 'no names'}")
        return found

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the bundle carries it."""
        known = self._known.get(descriptor.digest)
        return known is not None and known.size == descriptor.size

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest, its digest and size checked; children that were left out on purpose are not among its `manifests`."""
        if descriptor.size > MAX_MANIFEST_SIZE:
            raise VerificationError(f"manifest {descriptor.digest} has {descriptor.size} bytes", why="no manifest is that large")
        with VerifiedReader(self._window(descriptor), descriptor, f"manifest {descriptor.digest} in {self.name}") as reader:
            raw = b"".join(reader)
        return self._present(Manifest.parse(raw, descriptor.media_type, descriptor.digest.algorithm))

    def _present(self, manifest: Manifest) -> Manifest:
        """The manifest without children that were left out; its raw bytes, digest and size stay."""
        if not self._absent or not manifest.is_index:
            return manifest
        kept = [child for child in manifest.data.get("manifests") or () if child.get("digest") not in self._absent]
        data: dict[str, Any] = {**manifest.data, "manifests": kept}
        return replace(manifest, data=MappingProxyType(data))

    def is_sparse(self, manifest: Manifest) -> bool:
        """Whether an index names children that were left out."""
        return manifest.is_index and len(manifest.manifests) < len(Manifest.parse(manifest.raw).manifests)

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """A content's bytes, as a `Source` has them: verified at the end, or as they are where all were hashed before."""
        window = self._window(descriptor)
        if not verify or self.is_proved:
            return window
        return VerifiedReader(window, descriptor, f"blob {descriptor.digest} in {self.name}")

    def read_range(self, descriptor: Descriptor, offset: int, size: int) -> bytes:
        """Bytes of a content from `offset` on, fewer at its end; not verified, unless all contents were before."""
        place = self._place(descriptor)
        left = max(0, min(size, place.size - offset))
        return self.stream.pread(left, self._start + place.offset + offset)

    def read_file(self, name: str) -> bytes:
        """A whole entry that is no blob, verified; for small ones."""
        file = next((one for one in self.inventory.files if one.name == name), None)
        if file is None:
            raise NotFoundError(f"{self.name} carries no {name}")
        return b"".join(self._reader(self._files[name], file.digest))

    def open_file(self, name: str) -> VerifiedReader:
        """An entry that is no blob, verified at its end; raises `NotFoundError`."""
        file = next((one for one in self.inventory.files if one.name == name), None)
        if file is None:
            raise NotFoundError(f"{self.name} carries no {name}")
        return self._reader(self._files[name], file.digest)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """The manifests of the bundle whose subject is `digest`, by digest."""
        with self._lock:
            if self._referrers is None:
                self._referrers = self._read_referrers()
            found = self._referrers.get(digest, {})
        return tuple(found[key] for key in sorted(found))

    def _read_referrers(self) -> dict[Digest, dict[Digest, Descriptor]]:
        found: dict[Digest, dict[Digest, Descriptor]] = {}
        for content in self.inventory.contents:
            if content.is_manifest:
                manifest = self.manifest(content)
                if manifest.subject is not None:
                    found.setdefault(manifest.subject.digest, {})[content.digest] = manifest.descriptor
        return found

    def check_contents(self, jobs: int = 2, progress: Callable[[int], None] = lambda _: None) -> list[str]:
        """Hash every content once; what is wrong, a line each. Afterwards they are read without being hashed again.

        That holds while the files are those that were opened, unchanged.
        """
        crew = Crew(jobs)
        entries: list[tuple[Place, Digest]] = [(self._files[file.name], file.digest) for file in self.inventory.files]
        entries += [(self._places[content.digest], content.digest) for content in self.inventory.contents]

        def check(entry: tuple[Place, Digest]) -> str | None:
            place, digest = entry
            try:
                found = hashlib.new(digest.algorithm)
                for at in range(0, place.size, BLOCK):
                    crew.checkpoint()
                    block = self.stream.pread(min(BLOCK, place.size - at), self._start + place.offset + at)
                    found.update(block)
                    progress(len(block))
            except NexusError as error:
                return str(error.what) + (f": {error.why}" if error.why else "")
            return None if found.hexdigest() == digest.hex else f"{place.name} is damaged: its bytes are not those of its digest"

        order = sorted(entries, key=lambda entry: -entry[0].size)
        faults = [fault for fault in crew.map(check, order) if fault is not None]
        self._checked = not faults and self.stream.unchanged()
        return list(dict.fromkeys(faults))

    def _reader(self, place: Place, digest: Digest) -> VerifiedReader:
        window = Window(self.stream, self._start + place.offset, place.size)
        descriptor = Descriptor(media_type="application/octet-stream", digest=digest, size=place.size)
        return VerifiedReader(window, descriptor, f"{place.name} in {self.name}")

    def _window(self, descriptor: Descriptor) -> Window:
        place = self._place(descriptor)
        return Window(self.stream, self._start + place.offset, place.size)

    def _place(self, descriptor: Descriptor) -> Place:
        place = self._places.get(descriptor.digest)
        if place is None:
            base = self.inventory.base
            why = f"it is a delta on {base.name}" if base else None
            raise NotFoundError(f"blob {descriptor.digest} is not in {self.name}", why=why)
        if place.size != descriptor.size:
            raise VerificationError(
                f"blob {descriptor.digest} is not as long as its descriptor says",
                why=f"expected {descriptor.size} bytes, the bundle lists {place.size}",
            )
        return place

    def _check_structure(self, places: Sequence[Place]) -> None:
        """Compare everything between the contents with what it has to be."""
        if self.stream.size != self._start + self._size:
            raise VerificationError(
                f"{self.name} has {self.stream.size} bytes",
                why=f"its inventory accounts for {self._start + self._size}: it was cut short, or something was added",
                hint="copy it again",
            )
        at = 0
        for place in (*places, None):
            expected = bytes((place.header if place else self._size - len(END)) - at)
            expected += header_of(place.name, place.size) if place else END
            found = self.stream.pread(len(expected), self._start + at)
            if found != expected:
                raise self._foreign(found[-TAR_BLOCK:], place)
            at = place.end if place else at

    def _foreign(self, block: bytes, place: Place | None) -> VerificationError:
        """What to say of a header that is not the one that has to be there."""
        why = "its bytes between two entries are damaged"
        with contextlib.suppress(ValueError):
            header = parse_header(block)
            kind = _KINDS.get(header.type, "another entry")
            why = f"there is {kind} {shown(header.name)} of {header.size} bytes"
        return VerificationError(
            f"{self.name} is not what its inventory says at {place.name if place else 'its end'}",
            why=why,
            hint="do not use it; get the bundle again from where it was made",
        )

    def close(self) -> None:
        """Close the files."""
        self.stream.close()

    def __enter__(self) -> Bundle:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def open_bundle(paths: Iterable[Path]) -> Bundle:
    """Open one file, or the parts of one bundle in any order; NAME alone stands for the parts beside it.

    Raises `VerificationError` for what is no bundle, or a damaged one, and `NotFoundError` where nothing is there.
    """
    given = [found for path in paths for found in (parts_of(path) if not path.exists() and parts_of(path) else [path])]
    stream: Stream = open_parts(given) if len(given) > 1 or is_part(given[0]) else FileStream(given[0])
    try:
        return _opened(stream)
    except BaseException:
        stream.close()
        raise


def _opened(stream: Stream) -> Bundle:
    bundle = Bundle(stream, *_read_head(stream))
    if bundle.parts is not None and bundle.parts.plan.bundle != bundle.digest:
        raise VerificationError(f"the parts of {bundle.name} are of another bundle than they say", hint="get the bundle again")
    return bundle


def _read_head(stream: Stream) -> tuple[bytes, bytes, int]:
    """The inventory, its signature (empty where it has none), and where the first listed entry begins."""
    raw, after = _read_entry(stream, 0, INVENTORY, LARGEST)
    if raw is None:
        raise VerificationError(
            f"{stream.name} is no bundle",
            why=f"it does not begin with {INVENTORY}, as a bundle of nexus-oci does, or that is damaged",
            hint="name a file that `nexus-oci bundle create` made",
        )
    signature, end = _read_entry(stream, after, SIGNATURE, _LARGEST_SIGNATURE)
    return raw, signature or b"", end


def _read_entry(stream: Stream, at: int, name: str, most: int) -> tuple[bytes | None, int]:
    """The entry of that name at a place, and where the next one begins; None where another is there."""
    block = stream.pread(TAR_BLOCK, at)
    try:
        size = parse_header(block).size if len(block) == TAR_BLOCK else -1
    except ValueError:
        return None, at
    if not 0 < size <= most or block != header_of(name, size):
        return None, at
    data = stream.pread(padded(size), at + TAR_BLOCK)
    if len(data) != padded(size) or data[size:].strip(b"\0"):
        raise VerificationError(f"{stream.name} is damaged, or cut short, in {name}", hint="copy it again")
    return data[:size], at + TAR_BLOCK + len(data)
