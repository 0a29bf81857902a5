"""The store: an OCI image layout on disk (image-spec 1.1, image-layout.md), verified on write and on read.

Blobs are written under a temporary name while they are hashed, flushed to the disk, and renamed; so a file under
`blobs/` is whole or absent. A finished blob carries a fixed modification time: a later change by anybody shows in it, and
`intact` then hashes the blob again. What the layout does not define lives in `.nexus/` beside it, which readers skip.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from nexus_oci.errors import NotFoundError, StoreError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Digest, Manifest, canonical_json

_STAMP = 315532800
"""Modification time of a verified blob, in seconds: 1980-01-01, the earliest that every file system can say."""
_BLOCK = 1 << 20
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@contextlib.contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's refusals into a message for the user."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left while {doing}",
                why=error.strerror,
                hint="free some space and run the same command again; finished steps are kept",
            ) from error
        raise StoreError(f"failed while {doing}", why=str(error)) from error


class BlobWriter:
    """Writes one blob: hashed while it passes, named only by `commit`. Use as a context manager; leaving it early discards."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hash = hashlib.sha256()
        self._size = 0
        with _disk_errors("opening a new blob in the store"):
            descriptor, name = tempfile.mkstemp(dir=store.scratch)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._path = Path(name)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data`; returns its length in bytes."""
        with _disk_errors("writing a blob to the store"):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
        self._hash.update(data)
        self._size += len(data)
        return len(data)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def commit(self, media_type: str, expected: Descriptor | None = None) -> Descriptor:
        """Give the blob its name and return its descriptor.

        With `expected`, digest and size must match it; else `VerificationError`, and nothing is kept.
        """
        digest = Digest("sha256:" + self._hash.hexdigest())
        if expected is not None and (expected.size != self._size or expected.digest != digest):
            raise VerificationError(
                f"blob {expected.digest.short} is not what its digest says",
                why=f"expected {expected.digest} ({expected.size} bytes), got {digest} ({self._size} bytes)",
                hint="the source is damaged or was tampered with; nothing was kept",
            )
        with _disk_errors(f"finishing blob {digest.short}"):
            os.fchmod(self._file.fileno(), 0o644)
            os.fsync(self._file.fileno())
            self._file.close()
            os.utime(self._path, (_STAMP, _STAMP))
            target = self._store.path(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.rename(target)
        return Descriptor(media_type=media_type, digest=digest, size=self._size)

    def discard(self) -> None:
        """Take away what was written, if it was not committed."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Discard unless committed."""
        self.discard()


class VerifiedReader:
    """Reads a blob and checks size and digest at its end; raises `VerificationError` there. A context manager."""

    def __init__(self, file: BinaryIO, descriptor: Descriptor, origin: str) -> None:
        self._file = file
        self._descriptor = descriptor
        self._origin = origin
        self._hash = hashlib.new(descriptor.digest.algorithm)
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; the empty end is only returned once digest and size proved right."""
        data = self._file.read(size if size is not None and size >= 0 else -1)
        self._hash.update(data)
        self._read += len(data)
        if not data or (size is not None and size < 0) or self._read > self._descriptor.size:
            self._check()
        return data

    def _check(self) -> None:
        found = f"{self._descriptor.digest.algorithm}:{self._hash.hexdigest()}"
        if self._read != self._descriptor.size or found != self._descriptor.digest:
            raise VerificationError(
                f"{self._origin} is damaged",
                why=f"expected {self._descriptor.digest} ({self._descriptor.size} bytes), "
                f"got {found} ({self._read} bytes)",
                hint="run `nexus-oci build` again: damaged blobs are rebuilt and never used",
            )

    def __iter__(self) -> Iterator[bytes]:
        """Blocks of one MiB until the verified end."""
        while block := self.read(_BLOCK):
            yield block

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


@dataclass(frozen=True)
class Store:
    """An OCI image layout folder. Several threads and processes may write to it at once."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> Store:
        """Open the layout at `root`, making it where there is none; raises `StoreError` if that place is something else."""
        store = cls(root)
        if (root / "oci-layout").is_file():
            store._check_layout()
        elif root.exists() and any(root.iterdir()):
            raise StoreError(f"{root} is not an OCI image layout", why="it has files but no oci-layout")
        with _disk_errors(f"making the store {root}"):
            for folder in (root / "blobs" / "sha256", store.scratch, store.private / "steps"):
                folder.mkdir(parents=True, exist_ok=True)
            if not (root / "index.json").exists():
                store._replace(root / "index.json", canonical_json(_index(())))
            if not (root / "oci-layout").exists():
                store._replace(root / "oci-layout", _LAYOUT)
        return store

    @classmethod
    def open(cls, root: Path) -> Store:
        """Open a layout that exists; raises `NotFoundError` where there is none."""
        if not (root / "oci-layout").is_file():
            raise NotFoundError(
                f"there is no store at {root}",
                why="no oci-layout file is there",
                hint="run `nexus-oci build` first, or name the folder that holds the store",
            )
        return cls.create(root)

    def _check_layout(self) -> None:
        try:
            version = json.loads((self.root / "oci-layout").read_bytes()).get("imageLayoutVersion")
        except (OSError, ValueError, AttributeError) as error:
            raise StoreError(f"{self.root}/oci-layout cannot be read", why=str(error)) from error
        if version != "1.0.0":
            raise StoreError(f"the store's layout version is {version!r}", why="only 1.0.0 is known")

    @property
    def private(self) -> Path:
        """Where files stand that the layout does not define: step records, temporary files."""
        return self.root / ".nexus"

    @property
    def scratch(self) -> Path:
        """Where blobs grow until they are named; on the same file system, so that a rename is atomic."""
        return self.private / "tmp"

    def path(self, digest: Digest) -> Path:
        """Where the blob of that digest stands, if it does."""
        return self.root / "blobs" / digest.algorithm / digest.hex

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob of that digest and size is there. Cheap: the content is not read."""
        try:
            return self.path(descriptor.digest).stat().st_size == descriptor.size
        except OSError:
            return False

    def intact(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there and untouched since it was verified; one that was touched is hashed again."""
        path = self.path(descriptor.digest)
        try:
            status = path.stat()
            if status.st_size != descriptor.size:
                return False
            if status.st_mtime == _STAMP:
                return True
            with path.open("rb") as file:
                found = hashlib.file_digest(file, descriptor.digest.algorithm).hexdigest()
            if found == descriptor.digest.hex:
                os.utime(path, (_STAMP, _STAMP))
                return True
        except OSError:
            return False
        return False

    def drop(self, digest: Digest) -> None:
        """Remove a blob, such as one that proved damaged."""
        self.path(digest).unlink(missing_ok=True)

    def writer(self) -> BlobWriter:
        """A writer for one new blob."""
        return BlobWriter(self)

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """Write small content that is held in memory."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit(media_type)

    def open_blob(self, descriptor: Descriptor) -> VerifiedReader:
        """A verifying reader of a blob; raises `NotFoundError` where it is missing."""
        try:
            file = self.path(descriptor.digest).open("rb")
        except FileNotFoundError as error:
            raise NotFoundError(
                f"blob {descriptor.digest} is not in the store", hint="run `nexus-oci build` again to make it"
            ) from error
        return VerifiedReader(file, descriptor, f"blob {descriptor.digest} in the store")

    def read(self, descriptor: Descriptor) -> bytes:
        """The whole content of a small blob, verified."""
        if descriptor.size > MAX_MANIFEST_SIZE * 4:
            raise StoreError(f"blob {descriptor.digest.short} is too large to be held in memory")
        with self.open_blob(descriptor) as reader:
            return b"".join(reader)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest of the store, verified and parsed."""
        return Manifest.parse(self.read(descriptor), descriptor.media_type)

    def put_manifest(self, manifest: Manifest) -> Descriptor:
        """Write a manifest's raw bytes."""
        return replace(
            self.put(manifest.raw, manifest.descriptor.media_type), artifact_type=manifest.descriptor.artifact_type
        )

    def entries(self) -> tuple[Descriptor, ...]:
        """The descriptors in index.json, in its order."""
        try:
            data = json.loads((self.root / "index.json").read_bytes())
            return tuple(Descriptor.from_json(entry) for entry in data.get("manifests") or ())
        except (OSError, ValueError, AttributeError) as error:
            raise StoreError(f"{self.root}/index.json cannot be read", why=str(error)) from error

    def tags(self) -> dict[str, Descriptor]:
        """Every tag and what it names; the last entry of a name counts."""
        return {e.annotations[media_types.REF_NAME]: e for e in self.entries() if media_types.REF_NAME in e.annotations}

    def resolve(self, name: str) -> Descriptor:
        """What a tag, or a digest that index.json lists, names; raises `NotFoundError`."""
        if "@" in name:
            name = name.partition("@")[2]
        for entry in self.entries():
            if name in (entry.digest, entry.annotations.get(media_types.REF_NAME)):
                return entry
        known = ", ".join(sorted(self.tags())) or "nothing"
        raise NotFoundError(f"{name!r} is not in the store {self.root}", why=f"it holds {known}")

    def replace_tags(self, entries: dict[str, Descriptor], untagged: tuple[Descriptor, ...] = ()) -> None:
        """Name several manifests in one atomic step; other tags stay, untagged entries are replaced."""
        with self._locked():
            tags = {**self.tags(), **entries}
            listed = [_named(descriptor, name) for name, descriptor in sorted(tags.items())]
            named = {entry.digest for entry in listed}
            listed += [_unnamed(d) for d in sorted(untagged, key=lambda d: d.digest) if d.digest not in named]
            self._replace(self.root / "index.json", canonical_json(_index(tuple(listed))))

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Let `name` point at a manifest."""
        self.replace_tags({name: descriptor}, tuple(e for e in self.entries() if not e.annotations))

    def _replace(self, path: Path, data: bytes) -> None:
        """Write a file beside its place and rename it there."""
        with _disk_errors(f"writing {path.name}"), tempfile.NamedTemporaryFile(dir=self.scratch, delete=False) as file:
            try:
                os.fchmod(file.fileno(), 0o644)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).rename(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer of index.json at a time, over all processes."""
        with _disk_errors("locking the store"), (self.private / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _index(manifests: tuple[Descriptor, ...]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [entry.to_json() for entry in manifests]}


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    kept = {key: value for key, value in descriptor.annotations.items() if key == media_types.CONTAINERD_NAME}
    return replace(descriptor, annotations={**kept, media_types.REF_NAME: name}, platform=None)


def _unnamed(descriptor: Descriptor) -> Descriptor:
    return replace(descriptor, annotations={}, platform=None)
