"""The store: an OCI image layout on disk (image-spec 1.1, image-layout.md), verified on write and on read.

Blobs are written under a temporary name while they are hashed, flushed to the disk, and renamed; so a file under
`blobs/` is whole or absent. A finished blob carries a fixed modification time: a later change by anybody shows in it, and
`intact` then hashes the blob again. What the layout does not define lives in `.nexus/` beside it, which readers skip. Only
writing makes that folder, so that a layout of another tool, or one that may not be written to, can be read as it is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from nexus_oci.errors import NotFoundError, StoreError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Algorithm, Descriptor, Digest, Manifest, canonical_json, digest_of

_STAMP = 315532800
"""Modification time of a verified blob, in seconds: 1980-01-01, the earliest that every file system can say."""
_BLOCK = 1 << 20
_MAX_INDEX_SIZE = 64 << 20
"""Bytes. A larger index.json was not made by any tool."""
_STALE = 60
"""Seconds after which an unlocked temporary file has lost its writer, which locks it as soon as it has made it."""
_OWN = frozenset({".nexus", "blobs", "index.json", "oci-layout"})
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@contextlib.contextmanager
def disk_errors(doing: str) -> Iterator[None]:
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

    def __init__(self, store: Store, algorithm: Algorithm = "sha256") -> None:
        self._store = store
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._size = 0
        with disk_errors("opening a new blob in the store"):
            store.scratch.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=store.scratch)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._path = Path(name)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data`; returns its length in bytes."""
        with disk_errors("writing a blob to the store"):
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
        digest = Digest(f"{self._algorithm}:{self._hash.hexdigest()}")
        if expected is not None and (expected.size != self._size or expected.digest != digest):
            raise VerificationError(
                f"blob {expected.digest.short} is not what its digest says",
                why=f"expected {expected.digest} ({expected.size} bytes), got {digest} ({self._size} bytes)",
                hint="what it came from is damaged or was tampered with; nothing was kept",
            )
        with disk_errors(f"finishing blob {digest.short}"):
            os.fchmod(self._file.fileno(), 0o644)
            os.fsync(self._file.fileno())
            os.utime(self._file.fileno(), (_STAMP, _STAMP))
            target = self._store.path(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.rename(target)
            # Only now: who sweeps takes what is old, as the stamp says this is, and not locked.
            self._file.close()
        return Descriptor(media_type=media_type, digest=digest, size=self._size)

    def restart(self) -> None:
        """Forget what was written."""
        with disk_errors("writing a blob to the store"):
            self._file.seek(0)
            self._file.truncate()
        self._hash = hashlib.new(self._algorithm)
        self._size = 0

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


class Readable(Protocol):
    """What a blob is read from: a file, or a registry's answer."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end."""

    def close(self) -> None:
        """Close it."""


class VerifiedReader:
    """Reads a blob and checks size and digest at its end; raises `VerificationError` there. A context manager."""

    def __init__(self, file: Readable, descriptor: Descriptor, origin: str) -> None:
        self._file = file
        self._descriptor = descriptor
        self._origin = origin
        self._hash = hashlib.new(descriptor.digest.algorithm)
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; the empty end is only returned once digest and size proved right."""
        if size == 0:
            return b""
        with disk_errors(f"reading {self._origin}"):
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
                why=f"expected {self._descriptor.digest} ({self._descriptor.size} bytes), got {found} ({self._read} bytes)",
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
        with disk_errors(f"making the store {root}"):
            if (root / "oci-layout").is_file():
                store._check_layout()
            elif root.exists() and not {path.name for path in root.iterdir()} <= _OWN:
                raise StoreError(
                    f"{root} is not an OCI image layout",
                    why="it has files but no oci-layout",
                    hint="name a folder that is empty, or not there yet",
                )
            for folder in (root / "blobs" / "sha256", store.scratch, store.steps):
                folder.mkdir(parents=True, exist_ok=True)
            store._sweep()
            if not (root / "oci-layout").exists():
                store.replace_file(root / "oci-layout", _LAYOUT)
            if not (root / "index.json").exists():
                store.replace_file(root / "index.json", canonical_json(_index(())))
        return store

    @classmethod
    def open(cls, root: Path) -> Store:
        """Open a layout that exists, whoever made it; nothing is written. Raises `NotFoundError` where there is none."""
        if not (root / "oci-layout").is_file():
            raise NotFoundError(
                f"there is no store at {root}",
                why="no oci-layout file is there",
                hint="run `nexus-oci build` first, or name the folder that holds the store",
            )
        store = cls(root)
        store._check_layout()
        return store

    def _check_layout(self) -> None:
        try:
            version = json.loads((self.root / "oci-layout").read_bytes()).get("imageLayoutVersion")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
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

    @property
    def steps(self) -> Path:
        """Where step records stand."""
        return self.private / "steps"

    def _sweep(self) -> None:
        """Take away temporary files that a killed process left: nobody holds their lock."""
        newest = time.time() - _STALE
        for path in self.scratch.iterdir():
            with contextlib.suppress(OSError), path.open("rb") as file:
                if os.fstat(file.fileno()).st_mtime < newest:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()

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
        except OSError:
            return False
        if found != descriptor.digest.hex:
            return False
        with contextlib.suppress(OSError):
            os.utime(path, (_STAMP, _STAMP))
        return True

    def drop(self, digest: Digest) -> None:
        """Remove a blob, such as one that proved damaged."""
        with disk_errors(f"removing blob {digest.short}"):
            self.path(digest).unlink(missing_ok=True)

    def writer(self, algorithm: Algorithm = "sha256") -> BlobWriter:
        """A writer for one new blob, which is then named by that kind of digest."""
        return BlobWriter(self, algorithm)

    def put(self, data: bytes, media_type: str, algorithm: Algorithm = "sha256") -> Descriptor:
        """Write small content that is held in memory, unless it is there."""
        known = Descriptor(media_type=media_type, digest=digest_of(data, algorithm), size=len(data))
        if self.intact(known):
            return known
        with self.writer(algorithm) as writer:
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
        except OSError as error:
            raise StoreError(f"blob {descriptor.digest.short} cannot be opened", why=str(error)) from error
        return VerifiedReader(file, descriptor, f"blob {descriptor.digest} in the store")

    def read(self, descriptor: Descriptor) -> bytes:
        """The whole content of a small blob, verified."""
        if descriptor.size > MAX_MANIFEST_SIZE * 4:
            raise StoreError(
                f"blob {descriptor.digest.short} is too large to be held in memory", why=f"it has {descriptor.size} bytes"
            )
        with self.open_blob(descriptor) as reader:
            return b"".join(reader)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest of the store, verified and parsed."""
        return Manifest.parse(self.read(descriptor), descriptor.media_type, descriptor.digest.algorithm)

    def put_manifest(self, manifest: Manifest) -> Descriptor:
        """Write a manifest's raw bytes."""
        known = manifest.descriptor
        return replace(self.put(manifest.raw, known.media_type, known.digest.algorithm), artifact_type=known.artifact_type)

    def entries(self) -> tuple[Descriptor, ...]:
        """The descriptors in index.json, in its order."""
        path = self.root / "index.json"
        try:
            if path.stat().st_size > _MAX_INDEX_SIZE:
                raise StoreError(f"{path} is too large", why=f"it has more than {_MAX_INDEX_SIZE} bytes")
            data = json.loads(path.read_bytes())
            return tuple(Descriptor.from_json(entry) for entry in data.get("manifests") or ())
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise StoreError(f"{path} cannot be read", why=str(error)) from error

    def tags(self) -> dict[str, Descriptor]:
        """Every tag and what it names; the last entry of a name counts."""
        return _tags(self.entries())

    def resolve(self, name: str) -> Descriptor:
        """What a tag, or a digest that index.json lists, names; raises `NotFoundError`."""
        if "@" in name:
            name = name.partition("@")[2]
        entries = self.entries()
        tags = _tags(entries)
        if name in tags:
            return tags[name]
        for entry in entries:
            if name == entry.digest:
                return entry
        known = ", ".join(sorted(tags)) or "no tags"
        raise NotFoundError(f"{name!r} is not in the store {self.root}", why=f"it has {known}")

    def replace_tags(
        self,
        entries: Mapping[str, Descriptor],
        untagged: Iterable[Descriptor] = (),
        *,
        keep_untagged: bool = False,
        without: Iterable[str] = (),
    ) -> None:
        """Name several manifests in one atomic step. Other tags stay as they are, but for those in `without`, which go.

        `untagged` are then the only entries without a tag, or with `keep_untagged` stand beside those that are there.
        """
        with self._locked():
            before = self.entries()
            gone = frozenset(without)
            stay = {name: entry for name, entry in _tags(before).items() if name not in gone}
            tags = stay | {name: _named(descriptor, name) for name, descriptor in entries.items()}
            named = {entry.digest for entry in tags.values()}
            kept = [entry for entry in before if keep_untagged and _tag(entry) is None]
            rest = [*map(_unnamed, untagged), *kept]
            others = {entry.digest: entry for entry in rest if entry.digest not in named}
            listed = (*(tags[name] for name in sorted(tags)), *(others[digest] for digest in sorted(others)))
            self.replace_file(self.root / "index.json", canonical_json(_index(listed)))

    def forget(self, digests: Collection[Digest]) -> None:
        """Take manifests out of the index, under every name and without one."""
        with self._locked():
            listed = tuple(entry for entry in self.entries() if entry.digest not in digests)
            self.replace_file(self.root / "index.json", canonical_json(_index(listed)))

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Let `name` point at a manifest; everything else stays."""
        self.replace_tags({name: descriptor}, keep_untagged=True)

    def replace_file(self, path: Path, data: bytes) -> None:
        """Write one of the store's own small files beside its place, and rename it there."""
        with disk_errors(f"writing {path.name}"):
            self.scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.scratch, delete=False) as file:
                try:
                    os.fchmod(file.fileno(), 0o644)
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).rename(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer of index.json at a time, over all processes."""
        with contextlib.ExitStack() as stack:
            with disk_errors("locking the store"):
                self.private.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.private / "lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _index(manifests: tuple[Descriptor, ...]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [entry.to_json() for entry in manifests]}


def _tag(entry: Descriptor) -> str | None:
    return entry.annotations.get(media_types.REF_NAME)


def _tags(entries: Iterable[Descriptor]) -> dict[str, Descriptor]:
    return {name: entry for entry in entries if (name := _tag(entry)) is not None}


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    kept = {key: value for key, value in descriptor.annotations.items() if key == media_types.CONTAINERD_NAME}
    return replace(descriptor, annotations={**kept, media_types.REF_NAME: name}, platform=None)


def _unnamed(descriptor: Descriptor) -> Descriptor:
    return replace(descriptor, annotations={}, platform=None)
