"""What the tests of the whole share: the reference project, built once a session from a commit, into a store that is kept as it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.support.projects import Finished, Layout, Project, reference_project

HOST_MARK = "mark-of-this-host"
"""Stands in the host's bundle of certificate authorities and in its proxy settings, and nowhere in what is built."""
_HANDLERS = Path("/proc/sys/fs/binfmt_misc")
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The reference project after its build. Tests read it; those that change anything take a copy."""

    project: Project
    build: Finished
    emulated: bool
    """Whether a handler for another processor's programs was registered while it was built."""

    @property
    def dist(self) -> Path:
        return self.project.dist

    @property
    def store(self) -> Layout:
        return Layout(self.dist / "oci")

    @property
    def digest(self) -> str:
        """The release's."""
        found: str = self.build.data["digest"]
        return found


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    project = reference_project(folder / "project", _host_environment(folder))
    emulated = _HANDLERS.is_dir() and any(path.name.startswith("qemu-") for path in _HANDLERS.iterdir())
    build = project.done("--json", "--log-format", "json", "build", "--no-cache")
    return Reference(project=project, build=build, emulated=emulated)


def _host_environment(folder: Path) -> dict[str, str]:
    """Settings of a host that are recognised wherever they turn up."""
    found = next((name for name in (os.environ.get("SSL_CERT_FILE"), *_BUNDLES) if name and Path(name).is_file()), None)
    if found is None:
        import certifi

        found = certifi.where()
    bundle = folder / "authorities.pem"
    bundle.write_text(f"{Path(found).read_text()}\n# {HOST_MARK}\n")
    past = [value for value in (os.environ.get("NO_PROXY"), f"{HOST_MARK}.example") if value]
    return {"SSL_CERT_FILE": str(bundle), "NO_PROXY": ",".join(past)}


@pytest.fixture
def copy_of_reference(reference: Reference, tmp_path: Path) -> Callable[..., Project]:
    """Makes copies of the reference project, with its store or without."""

    def make(name: str = "project", *, with_dist: bool = False) -> Project:
        return reference.project.copy(tmp_path / name, with_dist=with_dist)

    return make


@pytest.fixture
def project(copy_of_reference: Callable[..., Project]) -> Project:
    """A copy of the reference project that was never built."""
    return copy_of_reference()


@pytest.fixture
def built(copy_of_reference: Callable[..., Project]) -> Project:
    """A copy of the reference project with its store."""
    return copy_of_reference(with_dist=True)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The container engine, as any client of it sees it."""
    with contextlib.closing(docker.from_env()) as client:
        yield client


@pytest.fixture(scope="session")
def native(engine: docker.DockerClient) -> str:
    """The engine's own platform, one of the reference project's two."""
    platform = f"linux/{engine.version()['Arch']}"
    if platform not in ("linux/amd64", "linux/arm64"):
        pytest.skip(f"the engine runs on {platform}, and the reference project is for linux/amd64 and linux/arm64")
    return platform


@pytest.fixture(scope="session")
def foreign(native: str) -> str:
    """The other platform."""
    return "linux/arm64" if native == "linux/amd64" else "linux/amd64"
