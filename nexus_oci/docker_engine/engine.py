"""The container engine: Docker, or Podman behind its Docker-compatible socket."""

from __future__ import annotations

import os
import platform as host
import secrets
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nexus_oci.docker_engine import build, containers, images
from nexus_oci.docker_engine.build import BuildRequest
from nexus_oci.docker_engine.connect import Endpoint, Watch, blocks, request, translated
from nexus_oci.docker_engine.containers import ContainerRequest, RunningContainer, RunResult
from nexus_oci.docker_engine.events import Progress, silent
from nexus_oci.docker_engine.images import EngineImage
from nexus_oci.docker_engine.looking import ImageFiles, opened_image
from nexus_oci.docker_engine.prepared import PreparedContainer, prepared
from nexus_oci.errors import EngineError, NexusError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import Digest, Platform

LABEL_PREFIX = "dev.nexus-oci."
"""Every label that this program sets for itself in the engine begins so; none of them may be shipped."""
TEMPORARY_LABEL = LABEL_PREFIX + "temporary"
"""On containers and images that go with their session; its value is the session's name, `HOST/PID/RANDOM`."""
BASE_LABEL = LABEL_PREFIX + "base"
"""On bases, which stay in the engine; its value is the base's platform."""
_FIRST_BUILDKIT_API = (1, 39)


def connect(host: str | None = None, *, environment: Mapping[str, str] | None = None, timeout: float = 60.0) -> Engine:
    """Reach the engine and learn what it is.

    `host` is an address as in DOCKER_HOST; without it, DOCKER_HOST in `environment` counts, and then the local socket.
    `environment` also carries DOCKER_TLS_VERIFY and DOCKER_CERT_PATH. `timeout` is in seconds, for answers that should
    come at once. Raises `EngineError`, which says why the engine cannot be reached.
    """
    variables = dict(environment or {})
    if host:
        variables["DOCKER_HOST"] = host
    first = Endpoint(environment=variables, timeout=timeout)
    first.probe()
    with first.client("greeting it") as client:
        version: dict[str, Any] = client.version()
        ping = client.get(f"{client.base_url}/_ping", timeout=timeout)
        api = client.api_version
    names = {str(part.get("Name", "")) for part in version.get("Components") or ()}
    podman = any("podman" in name.lower() for name in names) or "Libpod-API-Version" in ping.headers
    try:
        platform = Platform.parse(f"{version['Os']}/{version['Arch']}".lower())
    except (KeyError, ValueError) as error:
        raise EngineError(
            f"what answers at {first.address} is no container engine", why=f"its version answer lacks {error}"
        ) from error
    return Engine(
        endpoint=Endpoint(environment=variables, version=api, timeout=timeout),
        name="podman" if podman else "docker",
        version=str(version.get("Version") or "unknown"),
        platform=platform,
        buildkit=not podman and _has_buildkit(ping.headers.get("Builder-Version"), api, platform),
    )


def _has_buildkit(builder: str | None, api: str, platform: Platform) -> bool:
    """What the engine says of its builder; Docker on Linux has BuildKit where it says nothing."""
    if builder:
        return builder == "2"
    return platform.os == "linux" and tuple(int(part) for part in api.split(".")) >= _FIRST_BUILDKIT_API


def _new_session() -> str:
    return f"{host.node() or 'host'}/{os.getpid()}/{secrets.token_hex(4)}"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A reached engine. Threads may share it: each call opens a connection of its own.

    `name` is `docker` or `podman`, `version` its release, `platform` what it runs on. `buildkit` says which builder is
    asked. `session` marks what this object makes and does not keep. Every method raises `EngineError` where the engine
    goes away, and `CancelledError` once the event that it was given is set.
    """

    endpoint: Endpoint
    name: str
    version: str
    platform: Platform
    buildkit: bool
    session: str = field(default_factory=_new_session)
    _steps: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def temporary_labels(self) -> Mapping[str, str]:
        """The label of what goes with this session."""
        return {TEMPORARY_LABEL: self.session}

    def image(self, name: str) -> EngineImage | None:
        """The image of that id, tag or digest, or nothing."""
        return images.find_image(self.endpoint, name)

    def images(self, label: str) -> tuple[str, ...]:
        """The ids of all images with a label, given as `KEY` or `KEY=VALUE`."""
        with self.endpoint.client("listing images") as client:
            found: list[dict[str, Any]] = client.images(all=True, filters={"label": [label]})
        return tuple(str(entry["Id"]) for entry in found)

    def build(self, wanted: BuildRequest, *, progress: Progress = silent, cancel: threading.Event | None = None) -> str:
        """Build an image and return its id.

        Raises `StageError` (a `BuildError`) with the failed stage, its last 40 lines and the Dockerfile's line.
        """
        if wanted.temporary:
            labels = {**wanted.labels, **self.temporary_labels}
            wanted = replace(wanted, labels=labels)
        previous = self.image(wanted.tag) if wanted.tag else None
        identity = self._build(wanted, progress, cancel)
        images.drop_unnamed(self.endpoint, previous, identity)
        return identity

    def _build(self, wanted: BuildRequest, progress: Progress, cancel: threading.Event | None) -> str:
        if self.buildkit:
            return build.run_buildkit(self.endpoint, wanted, progress=progress, cancel=cancel)
        return build.run_classic(
            self.endpoint,
            wanted,
            engine_platform=self.platform,
            podman=self.name == "podman",
            made=self._steps,
            progress=progress,
            cancel=cancel,
        )

    def load_base(
        self,
        rootfs: Path,
        *,
        tag: str,
        platform: Platform,
        labels: Mapping[str, str] | None = None,
        diff_id: Digest | None = None,
        cancel: threading.Event | None = None,
    ) -> str:
        """Make the one-layer image `tag` of an uncompressed root filesystem tar; returns the image id.

        The layer's diff_id is the sha256 of the tar itself; give it where it is known and the tar is read once only.
        Nothing is sent where the engine has that image already. It stays in the engine, and carries `BASE_LABEL`.
        """
        own = {**(labels or {}), BASE_LABEL: str(platform)}
        return images.load_base(self.endpoint, rootfs, tag=tag, platform=platform, labels=own, diff_id=diff_id, cancel=cancel)

    def pull(
        self,
        reference: Reference,
        *,
        platform: Platform,
        progress: Progress = silent,
        cancel: threading.Event | None = None,
    ) -> str:
        """Pull a base by its digest for one platform and return the image id; see `images.pull` for what it checks."""
        return images.pull(self.endpoint, reference, platform=platform, progress=progress, cancel=cancel)

    def tag(self, image: str, name: str) -> None:
        """Give an image another name, `REPOSITORY:TAG`; a name that another image has moves over."""
        repository, _, tag = name.rpartition(":")
        with self.endpoint.client(f"naming an image {name}") as client:
            client.tag(image, repository or tag, tag if repository else "latest", force=True)

    def remove_image(self, name: str, *, quiet: bool = False) -> None:
        """Remove a name, and with its last name the image. `quiet` forgives an image that is gone or in use."""
        from docker.errors import APIError

        with self.endpoint.client(f"removing the image {name}") as client:
            try:
                client.remove_image(name, force=False)
            except APIError as error:
                if not (quiet and error.status_code in (404, 409)):
                    raise

    def export_folder(
        self, image: str, folder: str, *, platform: Platform | None = None, cancel: threading.Event | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """A `with` block around the tar of a folder of an image; see `containers.exported_folder`.

        `platform` is checked against the image's, and chooses where a name holds several. The classic builder gives
        scratch stages the engine's own platform, so nothing is checked after it.
        """
        return containers.exported_folder(
            self.endpoint,
            image,
            folder,
            platform=platform if self.buildkit else None,
            labels=self.temporary_labels,
            cancel=cancel,
        )

    def files(self, image: str, *, platform: Platform | None = None) -> AbstractContextManager[ImageFiles]:
        """A `with` block in which single files of an image can be looked at; `platform` as in `export_folder`."""
        known = platform if self.buildkit else None
        return opened_image(self.endpoint, image, platform=known, labels=self.temporary_labels)

    def save_image(self, *names: str, cancel: threading.Event | None = None) -> Generator[bytes, None, None]:
        """A docker-archive of one or more images, in blocks of one MiB; shared layers are in it once.

        Close the iterator (`contextlib.closing`) where it may not be read to its end.
        """
        doing = f"saving {', '.join(names)}"
        watch = Watch(cancel)
        with closing(self.endpoint.open(doing)) as client, watch.running():
            with translated(doing, self.endpoint.address):
                response = request(client, "GET", "/images/get", params={"names": list(names)})
            watch.attach(response)
            yield from blocks(response, watch, doing, self.endpoint.address)

    def run(self, wanted: ContainerRequest, *, timeout: float = 600.0, cancel: threading.Event | None = None) -> RunResult:
        """Run a container to its end, `timeout` seconds at most, and remove it; a failing command is an exit code."""
        return containers.run(self.endpoint, wanted, labels=self.temporary_labels, timeout=timeout, cancel=cancel)

    def start(self, wanted: ContainerRequest) -> AbstractContextManager[RunningContainer]:
        """A `with` block around a container that runs beside the program, and is removed at its end."""
        return containers.started(self.endpoint, wanted, labels=self.temporary_labels)

    def prepare(self, wanted: ContainerRequest) -> AbstractContextManager[PreparedContainer]:
        """A `with` block around a container that is filled before it runs and read after it; see `prepared`."""
        return prepared(self.endpoint, wanted, labels=self.temporary_labels)

    def clean_up(self) -> None:
        """Remove every container and image that this session made and does not keep; safe to call at any time."""
        self._remove(lambda owner: owner == self.session)
        build.discard(self.endpoint, self._steps)
        self._steps.clear()

    def prune_temporary(self) -> None:
        """Remove what earlier sessions of this machine left behind because they were killed."""
        self._remove(_is_dead)

    def _remove(self, ours: Callable[[str], bool]) -> None:
        with self.endpoint.client("cleaning up") as client:
            left: list[dict[str, Any]] = client.containers(all=True, filters={"label": [TEMPORARY_LABEL]})
            built: list[dict[str, Any]] = client.images(all=True, filters={"label": [TEMPORARY_LABEL]})
        for entry in left:
            if ours((entry.get("Labels") or {}).get(TEMPORARY_LABEL, "")):
                with suppress(NexusError):
                    containers.remove_container(self.endpoint, str(entry["Id"]))
        for entry in built:
            if ours((entry.get("Labels") or {}).get(TEMPORARY_LABEL, "")):
                for name in [tag for tag in entry.get("RepoTags") or () if tag != "<none>:<none>"] or [str(entry["Id"])]:
                    self.remove_image(name, quiet=True)


def _is_dead(owner: str) -> bool:
    """Whether a session was one of this machine's and its process is gone."""
    node, _, rest = owner.partition("/")
    process = rest.partition("/")[0]
    if node != (host.node() or "host") or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
