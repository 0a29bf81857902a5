"""Reading blobs (distribution-spec, "Pulling blobs"): streamed, checked at the end, resumed after a break."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Self

from nexus_oci.errors import RegistryError, VerificationError
from nexus_oci.oci.values import Descriptor
from nexus_oci.registry.hashing import hasher
from nexus_oci.registry.retry import TransientError
from nexus_oci.registry.transport import Call, Transport, media_type
from nexus_oci.registry.wire import Response

_BLOCK = 1 << 20
_PART = 1 << 18
"""Bytes after which hashing may begin, while more come in."""
_PROGRESS = 1 << 10
"""Bytes over one connection that count as coming forward."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")


class BlobReader:
    """The bytes of one blob of a registry. A context manager; used by one thread.

    Size, and with `verify` the digest, are checked when the end is read: `VerificationError`. A connection that
    breaks, or hardly moves, is made again from where it broke (RFC 9110, 14.2); patience starts anew as the work moves on.
    """

    def __init__(self, transport: Transport, call: Call, descriptor: Descriptor, *, verify: bool) -> None:
        self._transport = transport
        self._call = call
        self._descriptor = descriptor
        self._hash = hasher(descriptor.digest.algorithm, descriptor.size) if verify else None
        self._backoff = transport.backoff()
        self._pulse = transport.pulse(call.doing)
        self._position = 0
        self._moved = 0
        self._response: Response | None = None
        self._open_first()

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes (all that is left without it); empty only at the verified end."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        buffer = bytearray(size)
        count = self.readinto(memoryview(buffer))
        del buffer[count:]
        return bytes(buffer)

    def readinto(self, view: memoryview, /) -> int:
        """Fill `view` as far as the blob goes; returns the count of bytes, 0 only at the verified end."""
        filled = 0
        try:
            while filled < len(view):
                count = self._some(view[filled : filled + _PART])
                if not count:
                    break
                filled += count
        finally:
            if self._hash is not None:
                self._hash.settle()
        return filled

    def skip_to(self, offset: int) -> None:
        """Go on from `offset`, for whoever has what is before it; a reader that verifies has to read that all the same."""
        if self._position:
            raise ValueError("only what has not been read can be left out")
        if self._hash is not None:
            buffer = memoryview(bytearray(min(_PART, offset)))
            while self._position < offset and self.readinto(buffer[: offset - self._position]):
                pass
        elif offset:
            self.close()
            self._position = offset

    def close(self) -> None:
        """Close the connection, or give it back if everything was read."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _open_first(self) -> None:
        response = self._transport.open(self._call)
        self._response = response
        announced = response.headers.get("Content-Length")
        if announced is not None and announced != str(self._descriptor.size):
            page = ", an HTML page" if "html" in media_type(response.headers.get("Content-Type")) else ""
            self.close()
            raise self._damaged(f"{self._transport.host} announces {announced} bytes{page}")

    def _some(self, view: memoryview) -> int:
        """What one read of the socket brings; 0 at the verified end."""
        while True:
            try:
                return self._some_once(view)
            except TransientError as error:
                self.close()
                self._backoff.pause(error)
                self._moved = 0
                self._pulse = self._transport.pulse(self._call.doing)

    def _some_once(self, view: memoryview) -> int:
        count = 0
        # When the connection breaks after the last byte there is nothing left to be asked for.
        if self._response is not None or self._position < self._descriptor.size or not self._position:
            self._response = self._response or self._reopen()
            with self._transport.translated(self._call.doing):
                count = self._response.readinto(view)
        if count:
            self._advance(view[:count])
            return count
        if self._position < self._descriptor.size:
            raise TransientError(
                f"{self._transport.host} ended {self._call.doing} too early",
                why=f"{self._position} of {self._descriptor.size} bytes came",
            )
        if self._hash is not None and self._hash.hexdigest() != self._descriptor.digest.hex:
            raise self._damaged(f"{self._descriptor.digest.algorithm}:{self._hash.hexdigest()} came")
        return 0

    def _advance(self, data: memoryview) -> None:
        self._position += len(data)
        self._moved += len(data)
        if self._moved >= _PROGRESS:
            self._backoff.progressed()
        if self._hash is not None:
            self._hash.update(data)
        if self._position > self._descriptor.size:
            self.close()
            raise self._damaged("more bytes came")
        self._pulse.heard(len(data))

    def _reopen(self) -> Response:
        """Ask for the rest; a registry without ranges sends everything again, and the start is skipped."""
        if not self._position:
            return self._transport.send(self._call)
        call = replace(self._call, expect=frozenset({200, 206}), headers={"Range": f"bytes={self._position}-"})
        response = self._transport.send(call)
        start = 0
        if response.status == 206:
            match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            start = int(match[1]) if match else -1
            if start != self._position:
                response.close()
                raise RegistryError(
                    f"{self._transport.host} resumes at another place while {self._call.doing}",
                    why=f"asked for byte {self._position}, got {response.headers.get('Content-Range')!r}",
                )
        self._skip(response, self._position - start)
        return response

    def _skip(self, response: Response, count: int) -> None:
        with self._transport.translated(self._call.doing):
            while count:
                block = response.read(min(_BLOCK, count))
                if not block:
                    raise TransientError(f"{self._transport.host} ended {self._call.doing} too early")
                count -= len(block)

    def _damaged(self, found: str) -> VerificationError:
        return VerificationError(
            f"blob {self._descriptor.digest.short} from {self._transport.host} is damaged",
            why=f"expected {self._descriptor.digest} ({self._descriptor.size} bytes), {found}",
            hint="the registry, or something between it and us, alters content; nothing was kept",
        )
