"""A blob that was begun and not finished, by this process or one before: its bytes stay for whoever goes on with it.

It stands in the store's own folder, is hashed again when it is taken up, and has a name among the blobs only when it is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time

from nexus_oci.errors import StoreError, VerificationError
from nexus_oci.oci.store import BlobWriter, Store, disk_errors
from nexus_oci.oci.values import Digest

_BLOCK = 1 << 20
_KEPT = 7 * 24 * 3600
"""Seconds after which nobody comes back for it."""


class PartialWriter(BlobWriter):
    """Writes one blob, after the bytes of it that are there. What is left early stays, unless it is wrong or the disk is full.

    Raises `BlockingIOError` where another process, or thread, is at it.
    """

    def __init__(self, store: Store, digest: Digest) -> None:
        self._store = store
        self._algorithm = digest.algorithm
        self._hash = hashlib.new(self._algorithm)
        self._size = 0
        self._spoiled = False
        self._path = store.private / "partial" / digest.hex
        with disk_errors("opening a blob that was begun"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(store)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise BlockingIOError("it is being written") from error
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        with disk_errors("reading a blob that was begun"):
            while block := self._file.read(_BLOCK):
                self._hash.update(block)
                self._size += len(block)

    def discard(self) -> None:
        """Close it; take it away if it is of no use."""
        if self._spoiled or not self._size:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def __exit__(self, *raised: object) -> None:
        """Keep what arrived for the next time, unless it is wrong, or takes the last space."""
        self._spoiled = any(isinstance(one, VerificationError | StoreError) for one in raised)
        if any(one is not None for one in raised):
            self.discard()
        else:
            self._file.close()


def _sweep(store: Store) -> None:
    """Take away what was begun long ago."""
    newest = time.time() - _KEPT
    for path in (store.private / "partial").iterdir():
        with contextlib.suppress(OSError), path.open("rb") as file:
            if os.fstat(file.fileno()).st_mtime < newest:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
