"""Looking at single files of an image, in a container that is created and never started."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nexus_oci.docker_engine.connect import Endpoint, request
from nexus_oci.docker_engine.containers import remove_container
from nexus_oci.oci.values import Platform

_IS_FOLDER = 1 << 31
"""Go's os.ModeDir, in the mode that the engine gives of a path."""


@dataclass(frozen=True, kw_only=True)
class FileStat:
    """What the engine says of a path: its permission bits, and where it ends, links followed."""

    path: str
    mode: int
    folder: bool


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """The files of an image, one question at a time."""

    endpoint: Endpoint
    container: str

    def stat(self, path: str) -> FileStat | None:
        """What is at an absolute path, links followed; None where nothing is, or a link leads nowhere."""
        for _ in range(2):
            found = self._described(path)
            if found is None:
                return None
            target = str(found.get("linkTarget") or "")
            if not target:
                mode = int(found["mode"])
                return FileStat(path=path, mode=mode & 0o777, folder=bool(mode & _IS_FOLDER))
            # The engine has followed every link already: what it names is the end.
            path = target
        return None

    def head(self, path: str, size: int) -> bytes:
        """The first `size` bytes of a regular file."""
        with (
            self.endpoint.client(f"reading {path}") as client,
            request(client, "GET", f"/containers/{self.container}/archive", params={"path": path}) as response,
            tarfile.open(fileobj=response.raw, mode="r|", bufsize=tarfile.BLOCKSIZE) as archive,
        ):
            member = archive.next()
            content = archive.extractfile(member) if member is not None and member.isreg() else None
            return content.read(size) if content is not None else b""

    def _described(self, path: str) -> Mapping[str, Any] | None:
        from docker.errors import NotFound

        with self.endpoint.client(f"looking for {path}") as client:
            try:
                response = request(client, "HEAD", f"/containers/{self.container}/archive", params={"path": path})
            except NotFound:
                return None
            with response:
                described: dict[str, Any] = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
        return described


@contextmanager
def opened_image(endpoint: Endpoint, image: str, *, platform: Platform | None, labels: Mapping[str, str]) -> Iterator[ImageFiles]:
    """A `with` block in which the files of an image can be looked at."""
    with endpoint.client(f"looking into {image}") as client:
        created = client.create_container(
            image, ["-"], labels=dict(labels), network_disabled=True, platform=str(platform) if platform else None
        )
    try:
        yield ImageFiles(endpoint=endpoint, container=str(created["Id"]))
    finally:
        remove_container(endpoint, str(created["Id"]))
