"""Engines that are not ours: their projects in folders of their own, and their images run by the container engine."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import struct
import tarfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from tests.support.projects import REPOSITORY, Layout, Project, members, read_member

MACHINES = {"linux/amd64": 62, "linux/arm64": 183}
"""e_machine of ELF."""
_PATIENCE = 30


def engine_project(name: str, folder: Path, environment: Mapping[str, str], distribution: str = "container") -> Project:
    """One of tests/engines/ with one of its distributions, in no git repository, as it would be unpacked from an archive."""
    shutil.copytree(
        REPOSITORY / "tests" / "engines" / name, folder, ignore=shutil.ignore_patterns("dist", "__pycache__", "node_modules")
    )
    for path in (folder / "images").glob("*.yaml"):
        if path.stem not in ("nexus", distribution):
            path.unlink()
    return Project(root=folder, environment=environment)


def small_project(folder: Path, engine: str, files: Mapping[str, str], *, port: int = 8080) -> Project:
    """An engine of a few files: `engine` is what stands in images/nexus.yaml below name, version and source."""
    project = Project(root=folder)
    project.write("images/nexus.yaml", f"engine: {{name: small, version: 1.0.0, source: ., {engine}}}\n")
    project.write("images/container.yaml", f"distribution: container\nimage: {{ports: [{port}]}}\n")
    for name, text in files.items():
        project.write(name, text)
    return project


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """One platform's image, read out of the store."""

    store: Layout
    platform: str
    config: Mapping[str, Any]
    config_digest: str
    layers: tuple[str, ...]

    @property
    def own(self) -> bytes:
        """The tar of what the image adds to its base."""
        return self.store.tar(self.layers[-1])

    def names(self) -> set[str]:
        """The files of the own layer."""
        return {member.name for member in members(self.own) if not member.isdir()}

    def compiled(self) -> dict[str, int]:
        """The machine of every ELF file in every layer, by name."""
        found = {}
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(self.store.tar(layer))) as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isreg() and member.size > 20 else None
                    head = content.read(20) if content else b""
                    if head[:4] == b"\x7fELF":
                        found[member.name] = struct.unpack_from("<H", head, 18)[0]
        return found

    def archive(self, name: str) -> bytes:
        """The image as `docker load` takes it."""
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w") as tar:
            listing = {"Config": "config.json", "RepoTags": [name], "Layers": [f"{i}.tar" for i in range(len(self.layers))]}
            files = {"config.json": self.store.blob(self.config_digest), "manifest.json": json.dumps([listing]).encode()}
            files |= {f"{index}.tar": self.store.tar(layer) for index, layer in enumerate(self.layers)}
            for path, data in files.items():
                header = tarfile.TarInfo(path)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
        return written.getvalue()

    def read(self, name: str) -> bytes:
        """A file of the own layer."""
        return read_member(self.own, name)


def shipped(dist: Path, platform: str) -> Shipped:
    """The image of the only distribution for a platform."""
    store = Layout(dist / "oci")
    (tag,) = [name for name in store.tags() if name.startswith("container:")]
    image = store.images(tag)[platform]
    return Shipped(
        store=store, platform=platform, config=image.config, config_digest=image.manifest["config"]["digest"],
        layers=tuple(image.layers),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Running:
    """A container with a read-only root, no capability, and its port on loopback."""

    container: Container
    port: int

    def ask(self, path: str, body: object = None) -> Any:
        """The JSON answer to a GET, or with a body to a POST; waits for a server that is still starting."""
        data = None if body is None else json.dumps(body).encode()
        wanted = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                with opener.open(wanted, timeout=5) as answer:
                    return json.load(answer)
            except (OSError, urllib.error.URLError):
                self.container.reload()
                assert self.container.status == "running", self.container.logs().decode()
                assert time.monotonic() < deadline, self.container.logs().decode()

    def execute(self, *command: str) -> str:
        """What a command in the container prints; it must succeed."""
        code, out = self.container.exec_run(list(command))
        assert code == 0, out.decode()
        return str(out.decode().strip())


@contextlib.contextmanager
def running(engine: docker.DockerClient, image: Shipped, *, port: int = 8080) -> Iterator[Running]:
    """Load an image from the store and run it as a cautious administrator would."""
    name = f"nexus-oci-test-engine:{uuid.uuid4().hex[:12]}"
    engine.images.load(image.archive(name))
    try:
        container = engine.containers.run(
            name, detach=True, read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges"],
            ports={f"{port}/tcp": ("127.0.0.1", None)},
        )  # fmt: skip
        try:
            container.reload()
            yield Running(container=container, port=int(container.ports[f"{port}/tcp"][0]["HostPort"]))
        finally:
            container.remove(force=True, v=True)
    finally:
        engine.images.remove(name, force=True)
