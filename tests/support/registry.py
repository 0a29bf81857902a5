"""A real registry for integration tests, started by testcontainers.

The image is `registry:3` where it is here or can be pulled; otherwise it is built once from Debian's `docker-registry` package
(2.8.2 on bookworm: no referrers API), which apt fetches and checks by the host's own configuration. testcontainers'
reaper is turned off where its image is neither here nor to be had.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors
import pytest

_UPSTREAM = "registry:3"
_OURS = "nexus-oci-test-registry:debian"
_PACKAGES = ("docker-registry", "libc6")
_PORT = 5000
_USER = "ann"
_PASSWORD = "secret"
"""Of registries that live for one test run."""
_HTPASSWD = "ann:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
"""The line for _USER and _PASSWORD, as `htpasswd -B` writes it."""
CONFIG = """\
version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: ":5000"}
"""
_AUTH = """\
auth: {htpasswd: {realm: test, path: /etc/htpasswd}}
"""


@dataclass(frozen=True)
class RunningRegistry:
    """Where it listens, and who may enter (None: everybody)."""

    host: str
    username: str | None = None
    password: str | None = None


@pytest.fixture(scope="session")
def registry() -> Iterator[str]:
    """HOST:PORT of a registry on loopback that lets everybody in."""
    with running_registry() as running:
        yield running.host


@pytest.fixture(scope="session")
def authenticated_registry() -> Iterator[RunningRegistry]:
    """A registry on loopback with HTTP Basic authentication."""
    with running_registry(password=True) as running:
        yield running


@contextmanager
def running_registry(*, password: bool = False) -> Iterator[RunningRegistry]:
    """Start a registry of its own, and take it away in the end."""
    client = docker.from_env()
    _settle_reaper(client)
    # After the reaper is settled: testcontainers reads its configuration when it is imported.
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    image, program = registry_image(client)
    config = CONFIG + (_AUTH if password else "")
    container = (
        DockerContainer(image)
        .with_kwargs(entrypoint=[program])
        .with_command(["serve", "/etc/registry-test.yml"])
        .with_copy_into_container(config.encode(), "/etc/registry-test.yml")
        .with_copy_into_container(_HTPASSWD.encode(), "/etc/htpasswd")
        .waiting_for(LogMessageWaitStrategy("listening on"))
    )
    container.ports[f"{_PORT}/tcp"] = ("127.0.0.1", None)  # type: ignore[assignment]  # docker-py takes an address too
    with container as running:
        # Asked of the engine itself: testcontainers would name another address where it runs in a container.
        port = running.get_docker_client().port(running.get_container_id(), _PORT)
        host = f"127.0.0.1:{port}"
        yield RunningRegistry(host, _USER, _PASSWORD) if password else RunningRegistry(host)


def _settle_reaper(client: docker.DockerClient) -> None:
    """Turn testcontainers' reaper off where its image is not here and cannot be pulled."""
    if "TESTCONTAINERS_RYUK_DISABLED" in os.environ:
        return
    from testcontainers.core.config import testcontainers_config

    if not _available(client, testcontainers_config.ryuk_image):
        os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
        testcontainers_config.ryuk_disabled = True


def registry_image(client: docker.DockerClient) -> tuple[str, str]:
    """The image of a registry, and the program in it; built where it is neither here nor to be pulled."""
    if _available(client, _UPSTREAM):
        return _UPSTREAM, "/bin/registry"
    try:
        client.images.get(_OURS)
    except docker.errors.ImageNotFound:
        _build(client)
    return _OURS, "/usr/bin/docker-registry"


def _available(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            client.images.pull(image)
        except docker.errors.APIError:
            return False
    return True


def _build(client: docker.DockerClient) -> None:
    """An image of nothing but the package and the C library that it needs."""
    if not shutil.which("apt-get"):
        pytest.fail(f"no registry: {_UPSTREAM} cannot be pulled, and there is no apt-get to fetch docker-registry with")
    with tempfile.TemporaryDirectory(prefix="nexus-oci-registry-") as name:
        folder = Path(name)
        rootfs = folder / "rootfs"
        _run("apt-get", "-q", "download", *_PACKAGES, folder=folder)
        for package in sorted(folder.glob("*.deb")):
            _run("dpkg-deb", "-x", str(package), str(rootfs), folder=folder)
        for directory in ("etc", "tmp", "var/lib/registry"):
            (rootfs / directory).mkdir(parents=True, exist_ok=True)
        with tarfile.open(folder / "rootfs.tar", "w") as archive:
            archive.add(rootfs, arcname=".")
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            recipe = b"FROM scratch\nADD rootfs.tar /\n"
            header = tarfile.TarInfo("Dockerfile")
            header.size = len(recipe)
            archive.addfile(header, io.BytesIO(recipe))
            archive.add(folder / "rootfs.tar", arcname="rootfs.tar")
        context.seek(0)
        client.images.build(fileobj=context, custom_context=True, tag=_OURS, rm=True)


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
