"""Reading blobs (distribution-spec, "Pulling blobs"): streamed, checked at the end, resumed after a break."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Self

import requests

from nexus_oci.errors import RegistryError, VerificationError
from nexus_oci.oci.values import Descriptor
from nexus_oci.registry.retry import TransientError
from nexus_oci.registry.transport import Call, Transport, media_type

_BLOCK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")


class BlobReader:
    """The bytes of one blob of a registry. A context manager; used by one thread.

    Size, and with `verify` the digest, are checked when the end is read: `VerificationError`. A connection that
    breaks is made again from where it broke (RFC 9110, 14.2); patience starts anew with every byte that arrives.
    """

    def __init__(self, transport: Transport, call: Call, descriptor: Descriptor, *, verify: bool) -> None:
        self._transport = transport
        self._call = call
        self._descriptor = descriptor
        self._hash = hashlib.new(descriptor.digest.algorithm) if verify else None
        self._backoff = transport.backoff()
        self._position = 0
        self._response: requests.Response | None = None
        self._open_first()

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes (all that is left without it); empty only at the verified end."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        while True:
            try:
                return self._read_once(size)
            except TransientError as error:
                self.close()
                self._backoff.pause(error)

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

    def _read_once(self, size: int) -> bytes:
        if self._response is None:
            self._response = self._reopen()
        with self._transport.translated(self._call.doing):
            data: bytes = self._response.raw.read(size)
        if data:
            self._position += len(data)
            self._backoff.progressed()
            if self._hash is not None:
                self._hash.update(data)
            if self._position > self._descriptor.size:
                self.close()
                raise self._damaged("more bytes came")
            return data
        if self._position < self._descriptor.size:
            raise TransientError(
                f"{self._transport.host} ended {self._call.doing} too early",
                why=f"{self._position} of {self._descriptor.size} bytes came",
            )
        if self._hash is not None and self._hash.hexdigest() != self._descriptor.digest.hex:
            raise self._damaged(f"{self._descriptor.digest.algorithm}:{self._hash.hexdigest()} came")
        return b""

    def _reopen(self) -> requests.Response:
        """Ask for the rest; a registry without ranges sends everything again, and the start is skipped."""
        if not self._position:
            return self._transport.send(self._call)
        call = replace(self._call, expect=frozenset({200, 206}), headers={"Range": f"bytes={self._position}-"})
        response = self._transport.send(call)
        start = 0
        if response.status_code == 206:
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

    def _skip(self, response: requests.Response, count: int) -> None:
        with self._transport.translated(self._call.doing):
            while count:
                block = response.raw.read(min(_BLOCK, count))
                if not block:
                    raise TransientError(f"{self._transport.host} ended {self._call.doing} too early")
                count -= len(block)

    def _damaged(self, found: str) -> VerificationError:
        return VerificationError(
            f"blob {self._descriptor.digest.short} from {self._transport.host} is damaged",
            why=f"expected {self._descriptor.digest} ({self._descriptor.size} bytes), {found}",
            hint="the registry, or something between it and us, alters content; nothing was kept",
        )
