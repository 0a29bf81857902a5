"""A blob is what its descriptor says, or its last block never comes."""

from __future__ import annotations

import io
from typing import BinaryIO

import pytest

from nexus_oci.errors import StoreError, VerificationError
from nexus_oci.oci.hashing import hashed
from nexus_oci.oci.values import Descriptor, digest_of

CONTENT = bytes(range(256)) * 3000


class OnlyRead:
    """A stream that fills no buffers, and gives what it likes."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(min(size, 1000))


class Broken(io.RawIOBase):
    def readinto(self, buffer: object) -> int:
        raise OSError(5, "Input/output error")


def described(data: bytes) -> Descriptor:
    return Descriptor(media_type="x/y", digest=digest_of(data), size=len(data))


def joined(stream: BinaryIO | OnlyRead, blob: Descriptor) -> bytes:
    return b"".join(bytes(block) for block in hashed(stream, blob))


@pytest.mark.parametrize("kind", [io.BytesIO, OnlyRead])
@pytest.mark.parametrize("content", [CONTENT, b"", b"x", CONTENT[: 1 << 18]])
def test_every_byte_comes_out(kind: type[OnlyRead], content: bytes) -> None:
    assert joined(kind(content), described(content)) == content


@pytest.mark.parametrize("kind", [io.BytesIO, OnlyRead])
@pytest.mark.parametrize("found", [b"", CONTENT[:-1], CONTENT + b"x", CONTENT * 2, b"x" + CONTENT[1:]])
def test_other_bytes_are_damage(kind: type[OnlyRead], found: bytes) -> None:
    with pytest.raises(VerificationError, match="it is damaged"):
        joined(kind(found), described(CONTENT))


def test_an_endless_stream_is_left_at_once() -> None:
    class Endless:
        taken = 0

        def read(self, size: int = -1, /) -> bytes:
            self.taken += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(VerificationError, match="it is damaged"):
        list(hashed(endless, described(b"short")))
    assert endless.taken < 100


def test_a_disk_that_fails_is_told() -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        list(hashed(Broken(), described(CONTENT)))  # type: ignore[arg-type]
