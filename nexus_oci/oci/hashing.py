"""Reading a blob to its end, and comparing what came with its descriptor (image-spec, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

from nexus_oci.errors import StoreError, VerificationError
from nexus_oci.oci.values import Descriptor

_BLOCK = 1 << 18


class Stream(Protocol):
    """Bytes in order; one that has `readinto` too is read through that, into one buffer."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; empty at the end."""
        ...


def hashed(stream: Stream, blob: Descriptor) -> Iterator[memoryview]:
    """The blob in blocks, each good until the next is asked for. No buffer is larger than a quarter MiB, or than the blob.

    Raises `VerificationError` at the end where the size or the digest is another, as soon as too much came; and `StoreError`
    where the disk cannot be read.
    """
    digest = hashlib.new(blob.digest.algorithm)
    size = 0
    most = min(_BLOCK, blob.size + 1)
    buffer = memoryview(bytearray(most))
    readinto = getattr(stream, "readinto", None)
    while True:
        try:
            block = buffer[: readinto(buffer)] if readinto is not None else memoryview(stream.read(most))
        except OSError as error:
            raise StoreError("it cannot be read", why=error.strerror or str(error)) from error
        digest.update(block)
        size += len(block)
        if not block or size > blob.size:
            break
        yield block
    if size != blob.size or digest.hexdigest() != blob.digest.hex:
        found = f"{blob.digest.algorithm}:{digest.hexdigest()} ({size} bytes)"
        raise VerificationError("it is damaged", why=f"expected {blob.digest} ({blob.size} bytes), got {found}")
