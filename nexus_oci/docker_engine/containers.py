"""Containers: to run a tool or a smoke test in, and to read a folder of an image out of. Each one is always removed."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from nexus_oci.docker_engine.connect import Endpoint, Watch, blocks, request, translated
from nexus_oci.docker_engine.images import find_image
from nexus_oci.errors import BuildError, NexusError, NotFoundError
from nexus_oci.oci.values import Platform

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response

_IS_FOLDER = 1 << 31
"""Go's os.ModeDir, in the mode that the engine gives of a path."""
_LOG_LIMIT = "16m"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A folder or file of the engine's machine, shown in the container at `target`."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, kw_only=True)
class ContainerRequest:
    """What to run, and in how narrow a box.

    `command` and `entrypoint` replace the image's where given; `tmpfs` are paths; `network` is `none` or `bridge`;
    `publish` are TCP ports that become reachable on this machine's loopback; `capabilities` are added to no others than
    the engine's default set. `unconfined` takes away what hinders an init system of its own: the system call filter, the
    masks over /proc, and the ban on new privileges.
    """

    image: str
    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    platform: Platform | None = None
    network: str = "none"
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    tmpfs: tuple[str, ...] = ()
    read_only: bool = False
    user: str | None = None
    working_dir: str | None = None
    publish: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    unconfined: bool = False


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a command ended, and what it printed (the first 16 MiB at least)."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, kw_only=True)
class RunningContainer:
    """A container that was started and is removed when its `with` block ends."""

    endpoint: Endpoint
    id: str

    def execute(self, command: Sequence[str], *, user: str = "") -> RunResult:
        """Run another command in it."""
        with self.endpoint.client("running a command in a container", timeout=600) as client:
            started = client.exec_create(self.id, list(command), user=user)
            out, err = client.exec_start(started["Id"], demux=True)
            code = client.exec_inspect(started["Id"])["ExitCode"]
        return RunResult(exit_code=int(code), stdout=out or b"", stderr=err or b"")

    def put(self, archive: bytes | IO[bytes], folder: str = "/") -> None:
        """Unpack a tar into an existing folder of it; owners and modes as the tar has them."""
        with self.endpoint.client("copying files into a container", timeout=600) as client:
            client.put_archive(self.id, folder, archive)

    def port(self, port: int) -> int:
        """The loopback port that a published TCP port was given."""
        with self.endpoint.client("looking at a container") as client:
            found = client.port(self.id, port)
        if not found:
            raise NotFoundError(f"port {port} of the container is not published", why="or the container has ended")
        return int(found[0]["HostPort"])

    def address(self) -> str:
        """Its IP address on the engine's bridge; empty without a network."""
        with self.endpoint.client("looking at a container") as client:
            networks = client.inspect_container(self.id)["NetworkSettings"]["Networks"] or {}
        return next((str(n["IPAddress"]) for n in networks.values() if n.get("IPAddress")), "")

    def logs(self) -> tuple[bytes, bytes]:
        """What it has printed so far: standard output and standard error."""
        with self.endpoint.client("reading a container's output") as client:
            return output_of(client, self.id)

    def state(self) -> Mapping[str, Any]:
        """The engine's account of it: Running, ExitCode, OOMKilled, Health and so on."""
        with self.endpoint.client("looking at a container") as client:
            state: dict[str, Any] = client.inspect_container(self.id)["State"]
        return state

    def stop(self, seconds: int = 10) -> int:
        """Send SIGTERM, after `seconds` SIGKILL; returns the exit code."""
        with self.endpoint.client("stopping a container", timeout=seconds + 30) as client:
            client.stop(self.id, timeout=seconds)
            return int(client.inspect_container(self.id)["State"]["ExitCode"])


def run(
    endpoint: Endpoint,
    wanted: ContainerRequest,
    *,
    labels: Mapping[str, str],
    timeout: float = 600.0,
    cancel: threading.Event | None = None,
) -> RunResult:
    """Run a container to its end.

    Raises `BuildError` where it cannot be started or runs longer than `timeout` seconds, `CancelledError` on
    cancellation; a command that fails is no error, but an exit code.
    """
    with started(endpoint, wanted, labels=labels) as container:
        code = wait_for(container, timeout, cancel)
        out, err = container.logs()
    return RunResult(exit_code=code, stdout=out, stderr=err)


def wait_for(container: RunningContainer, timeout: float, cancel: threading.Event | None) -> int:
    """Wait for the end, and return the exit code; raises as `run` does.

    Removing the container ends the engine's own wait: so a wait is broken off.
    """
    deadline = time.monotonic() + timeout
    late = threading.Event()
    done = threading.Event()

    def guard() -> None:
        while not done.wait(0.1):
            if time.monotonic() > deadline:
                late.set()
            if late.is_set() or (cancel is not None and cancel.is_set()):
                with suppress(NexusError):
                    remove_container(container.endpoint, container.id)
                return

    thread = threading.Thread(target=guard, name="container-watch", daemon=True)
    thread.start()
    try:
        with container.endpoint.client("waiting for a container", timeout=timeout + 60) as client:
            code = int(client.wait(container.id)["StatusCode"])
    except NexusError:
        if not late.is_set():
            Watch(cancel).check()
            raise
    finally:
        done.set()
        thread.join()
    Watch(cancel).check()
    if late.is_set():
        raise BuildError(f"a container did not end within {timeout:.0f} seconds", why="it was removed")
    return code


@contextmanager
def started(endpoint: Endpoint, wanted: ContainerRequest, *, labels: Mapping[str, str]) -> Iterator[RunningContainer]:
    """A container that runs while the body does."""
    doing = f"running {wanted.image}"
    with endpoint.client(doing) as client:
        identity = create_container(client, wanted, labels)
    try:
        with endpoint.client(doing) as client:
            client.start(identity)
        yield RunningContainer(endpoint=endpoint, id=identity)
    finally:
        remove_container(endpoint, identity)


def create_container(client: APIClient, wanted: ContainerRequest, labels: Mapping[str, str], *, reads_input: bool = False) -> str:
    """Make a container that is not started yet, and return its id; with `reads_input` it has a standard input, once."""
    from docker.types import LogConfig
    from docker.types import Mount as EngineMount

    host = client.create_host_config(
        network_mode=wanted.network,
        mounts=[EngineMount(target=m.target, source=m.source, type="bind", read_only=m.read_only) for m in wanted.mounts],
        tmpfs=dict.fromkeys(wanted.tmpfs, ""),
        read_only=wanted.read_only,
        cap_add=list(wanted.capabilities),
        security_opt=["seccomp=unconfined", "apparmor=unconfined"] if wanted.unconfined else ["no-new-privileges"],
        port_bindings=dict.fromkeys(wanted.publish, ("127.0.0.1",)),
        # Another default driver, such as one that sends logs away, could not be read back.
        log_config=LogConfig(type="json-file", config={"max-size": _LOG_LIMIT, "max-file": "1"}),
    )
    if wanted.unconfined:
        host.update(MaskedPaths=[], ReadonlyPaths=[])
    created = client.create_container(
        wanted.image,
        command=list(wanted.command) if wanted.command is not None else None,
        entrypoint=list(wanted.entrypoint) if wanted.entrypoint is not None else None,
        environment=dict(wanted.environment),
        user=wanted.user,
        working_dir=wanted.working_dir,
        ports=list(wanted.publish),
        labels=dict(labels),
        host_config=host,
        platform=str(wanted.platform) if wanted.platform else None,
        stdin_open=reads_input,
    )
    return str(created["Id"])


def output_of(client: APIClient, identity: str) -> tuple[bytes, bytes]:
    """What a container has printed: standard output and standard error."""
    out: bytes = client.logs(identity, stdout=True, stderr=False)
    err: bytes = client.logs(identity, stdout=False, stderr=True)
    return out, err


def remove_container(endpoint: Endpoint, identity: str) -> None:
    """Remove a container, running or not; one that is gone is no error."""
    from docker.errors import APIError

    with endpoint.client("removing a container") as client:
        try:
            client.remove_container(identity, force=True, v=True)
        except APIError as error:
            # 409: another thread is removing it at this moment.
            if error.status_code not in (404, 409):
                raise


@contextmanager
def exported_folder(
    endpoint: Endpoint,
    image: str,
    folder: str,
    *,
    platform: Platform | None,
    labels: Mapping[str, str],
    cancel: threading.Event | None = None,
) -> Iterator[Iterator[bytes]]:
    """The tar of a folder of an image, in blocks of one MiB, read while the body runs.

    Names in it begin with the folder's last part. It is read from a container that is created, never started. The root
    itself cannot be read: the engine adds files of its own there. Raises `BuildError` where the folder is missing.
    """
    doing = f"reading {folder} out of {image}"
    if not folder.strip("/"):
        raise BuildError("the root of an image cannot be read out of a container", why="the engine adds files of its own to it")
    found = find_image(endpoint, image)
    if found is None:
        raise NotFoundError(f"the image {image} is not in the engine", why="it was to be read from")
    # The command is never run; without one the engine refuses an image that has none of its own.
    with endpoint.client(doing) as client:
        created = client.create_container(
            image,
            ["-"],
            labels=dict(labels),
            network_disabled=True,
            platform=str(platform or found.platform),
        )
    watch = Watch(cancel)
    try:
        with closing(endpoint.open(doing)) as client, watch.running():
            with translated(doing, endpoint.address):
                response = open_archive(client, str(created["Id"]), folder)
            watch.attach(response)
            yield blocks(response, watch, doing, endpoint.address)
    finally:
        remove_container(endpoint, str(created["Id"]))


def open_archive(client: APIClient, container: str, folder: str) -> Response:
    """Ask for the tar of a folder of a container; raises `BuildError` where there is none."""
    from docker.errors import NotFound

    try:
        response = request(client, "GET", f"/containers/{container}/archive", params={"path": folder})
    except NotFound as error:
        raise BuildError(
            f"there is no folder {folder} in the stage",
            why=str(error.explanation or error),
            hint="the stage must COPY its result to that folder: check the Dockerfile's template",
        ) from error
    described = json.loads(base64.b64decode(response.headers.get("X-Docker-Container-Path-Stat", "e30=")))
    if not described.get("mode", _IS_FOLDER) & _IS_FOLDER:
        response.close()
        raise BuildError(f"{folder} is not a folder in the stage", why="a format leaves its stage as a folder")
    return response
