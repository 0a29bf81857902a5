"""Containers that are filled before they start and read after they have ended: for tools that work on files.

What is secret goes over standard input. The engine keeps no record of that: it is in no argument, variable, layer or log.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_oci.docker_engine.connect import Endpoint, Watch, blocks, request, translated
from nexus_oci.docker_engine.containers import (
    ContainerRequest,
    RunningContainer,
    RunResult,
    create_container,
    open_archive,
    output_of,
    remove_container,
    wait_for,
)

if TYPE_CHECKING:
    from docker import APIClient


@dataclass(frozen=True, kw_only=True)
class PreparedContainer:
    """A container that exists, and runs once. Its network, its mounts and what it prints are as for any other."""

    endpoint: Endpoint
    id: str

    def put(self, archive: Iterable[bytes], *, cancel: threading.Event | None = None) -> None:
        """Unpack a tar, given in blocks, over the container's root. A tmpfs or a mount cannot be reached this way."""
        doing = "sending files into a container"
        watch = Watch(cancel)

        def watched() -> Iterator[bytes]:
            for block in archive:
                watch.check()
                yield block

        with closing(self.endpoint.open(doing)) as client, watch.running(), translated(doing, self.endpoint.address):
            request(client, "PUT", f"/containers/{self.id}/archive", params={"path": "/"}, data=watched()).close()

    def run(self, *, secret: bytes = b"", timeout: float = 600.0, cancel: threading.Event | None = None) -> RunResult:
        """Start it, hand `secret` to its standard input, and wait for its end.

        Raises as `containers.run` does; a command that fails is no error, but an exit code.
        """
        running = RunningContainer(endpoint=self.endpoint, id=self.id)
        doing = "running a tool in a container"
        with self.endpoint.client(doing) as client, _standard_input(client, self.id) as pipe:
            client.start(self.id)
            # One that has ended already reads nothing; its exit code says more than a broken pipe.
            with suppress(OSError):
                pipe.sendall(secret)
            code = wait_for(running, timeout, cancel)
            out, err = output_of(client, self.id)
        return RunResult(exit_code=code, stdout=out, stderr=err)

    @contextmanager
    def folder(self, path: str, *, cancel: threading.Event | None = None) -> Iterator[Iterator[bytes]]:
        """The tar of one of its folders, in blocks of one MiB, read while the body runs.

        Names in it begin with the folder's last part. Raises `BuildError` where there is no such folder.
        """
        doing = f"reading {path} out of a container"
        watch = Watch(cancel)
        with closing(self.endpoint.open(doing)) as client, watch.running():
            with translated(doing, self.endpoint.address):
                response = open_archive(client, self.id, path)
            watch.attach(response)
            yield blocks(response, watch, doing, self.endpoint.address)


@contextmanager
def prepared(endpoint: Endpoint, wanted: ContainerRequest, *, labels: Mapping[str, str]) -> Iterator[PreparedContainer]:
    """A container that is made now, started by the body, and removed at its end."""
    with endpoint.client(f"making a container of {wanted.image}") as client:
        identity = create_container(client, wanted, labels, reads_input=True)
    try:
        yield PreparedContainer(endpoint=endpoint, id=identity)
    finally:
        remove_container(endpoint, identity)


@contextmanager
def _standard_input(client: APIClient, identity: str) -> Iterator[Any]:
    """The container's standard input, as what has `sendall`; it is closed at the end."""
    stream: Any = client.attach_socket(identity, params={"stdin": 1, "stream": 1})
    try:
        # Over a local socket docker-py wraps the connection in a reader; over TLS and SSH it does not.
        yield getattr(stream, "_sock", stream)
    finally:
        # Where there is an answer that carries the stream, that is what owns the connection.
        getattr(stream, "_response", stream).close()
