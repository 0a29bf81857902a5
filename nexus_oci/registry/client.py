"""One registry, spoken to by the OCI distribution-spec 1.1.

oras-py's `Registry` is the base. What it does with bytes is replaced: transport and authentication, manifests (raw
bytes are kept and checked), blobs (streamed, checked, resumed), uploads (mounted, resumed). Its own path-based methods that
remain go through the new transport; those that would lose or damage content are refused.
"""

from __future__ import annotations

import json
from typing import Any

import oras.provider
import requests
from requests.structures import CaseInsensitiveDict

from nexus_oci.errors import UsageError
from nexus_oci.registry.auth import pull_scope, push_scope
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.registry.transport import Call
from nexus_oci.registry.wire import Response
from nexus_oci.registry.writing import RegistryWriter


class RegistryClient(RegistryWriter, oras.provider.Registry):  # type: ignore[misc]
    """Speaks to one registry host in oras-py's terms too. Used by several threads at once. Raises what `RegistryReader` does."""

    def __init__(self, host: str, settings: RegistrySettings | None = None) -> None:
        RegistryWriter.__init__(self, host, settings)
        oras.provider.Registry.__init__(self, hostname=host, insecure=self.transport.base.startswith("http://"))

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: dict[str, str] | None = None,
        json: Any = None,
        stream: bool = True,  # noqa: ARG002 - oras-py's signature; we always stream
    ) -> requests.Response:
        """oras-py's way to make any request, through our transport, so that what it inherits keeps our rules."""
        body = _dumped(json) if json is not None else data
        if isinstance(body, dict) or hasattr(body, "read"):
            raise UsageError("a request body is given as bytes", why="others cannot be sent again after a failure")
        repository = url.partition("/v2/")[2].rsplit("/", 2)[0].removesuffix("/blobs")
        call = Call(
            method=method,
            url=url,
            doing=f"asking {self.hostname}",
            expect=frozenset({200, 201, 202, 204, 206, 404}),
            headers=headers or {},
            scope=push_scope(repository) if method not in ("GET", "HEAD") else pull_scope(repository),
            body=body,
        )
        return _foreign(self.transport.open(call))

    def upload_blob(self, *_: Any, **__: Any) -> Any:
        """Refused: use `put_blob`."""
        raise _replaced("upload_blob", "put_blob")

    def put_upload(self, *_: Any, **__: Any) -> Any:
        """Refused: use `put_blob`."""
        raise _replaced("put_upload", "put_blob")

    def chunked_upload(self, *_: Any, **__: Any) -> Any:
        """Refused: use `put_blob`."""
        raise _replaced("chunked_upload", "put_blob")

    def download_blob(self, *_: Any, **__: Any) -> Any:
        """Refused: use `open_blob`."""
        raise _replaced("download_blob", "open_blob")

    def upload_manifest(self, *_: Any, **__: Any) -> Any:
        """Refused: use `put_manifest`."""
        raise _replaced("upload_manifest", "put_manifest")

    def delete_tag(self, *_: Any, **__: Any) -> Any:
        """Refused: oras-py deletes the manifest, and with it every other tag of it."""
        raise _replaced("delete_tag", "the registry's own administration")


def _foreign(ours: Response) -> requests.Response:
    """An answer in the form that oras-py's own methods read."""
    answer = requests.Response()
    answer.status_code, answer.reason, answer.url = ours.status, ours.reason, ours.url
    answer.headers = CaseInsensitiveDict(ours.headers.items())
    answer.raw = ours
    if ours.empty:
        ours.close()
    return answer


def _dumped(data: Any) -> bytes:
    return json.dumps(data).encode()


def _replaced(old: str, new: str) -> UsageError:
    return UsageError(f"{old} of oras-py does not check what it moves", hint=f"use {new}")
