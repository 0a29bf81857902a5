"""Small engines that ask for an entitlement, and the vendor who issues them."""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from nexus_oci.entitlement.claims import Claims
from nexus_oci.entitlement.token import issue, key_id
from tests.integration.engines_support import Shipped
from tests.support.projects import Project

DAY = 86_400
STARTED = "engine started as process "
_GO = """\
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("toll 1.0.0")
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "NEXUS_") || strings.HasPrefix(entry, "TOLL_") {
			fmt.Println(entry)
		}
	}
	if address := os.Getenv("NOTIFY_SOCKET"); address != "" {
		if connection, err := net.Dial("unixgram", address); err == nil {
			fmt.Fprint(connection, "READY=1")
		}
	}
	fmt.Printf("engine started as process %d with %q\\n", os.Getpid(), os.Args)
	fmt.Printf("engine stopped by %s\\n", <-stop)
}
"""
_PYTHON = """\
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for name, value in sorted(os.environ.items()):
    if name.startswith(("NEXUS_", "TOLL_")):
        print(f"{name}={value}", flush=True)
print(f"engine started as process {os.getpid()} with {sys.argv[1:]}", flush=True)
print("engine stopped by", signal.Signals(signal.sigwait([signal.SIGTERM])).name, flush=True)
"""
_ENGINE = """\
engine:
  name: toll
  version: 1.0.0
  source: engine
  maintainer: Ann <ann@toll.example>
  licenses: Apache-2.0
  description: Waits at the barrier.
  {engine}
platforms: [{platform}]
entitlement:
  limits: {{workers: TOLL_WORKERS}}
  {asked}
"""
_RUNTIME = "distribution: runtime\nformats: [{formats}]\npackage: {{service: {{command: [{command}], notify: true}}}}\n"
ENTERPRISE = "tier: enterprise\n  keys: [vendor.pub]\n  revoked: [lost-1]\n  exempt: [[--version]]"


class Vendor:
    """Who signs entitlements."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()

    def write(self, folder: Path) -> None:
        """The two key files."""
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "vendor.key").write_bytes(private)
        (folder / "vendor.pub").write_bytes(public)

    def token(self, **changes: Any) -> str:
        """A token that holds now, but for what is changed."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "id": "order-1", "customer": "Example Roads", "engine": "toll", "tier": "enterprise", "distributions": ("container", "runtime"),
            "features": ("cash",), "limits": {"workers": 4}, "issued": now - DAY, "not_before": now - DAY, "not_after": now + DAY,
        }  # fmt: skip
        return issue(Claims(**{**claims, **changes}), key_id(self.key.public_key().public_bytes_raw()), self.key.sign)


def go_engine(folder: Path, platform: str, vendor: Vendor, formats: str) -> Project:
    """An engine of Go for the tier `enterprise`."""
    project = Project(root=folder)
    project.write("images/nexus.yaml", _ENGINE.format(engine="runtime: go", platform=platform, asked=ENTERPRISE))
    project.write("images/container.yaml", "distribution: container\nimage: {arguments: [serve]}\n")
    project.write("images/runtime.yaml", _RUNTIME.format(formats=formats, command="/usr/bin/toll, serve"))
    project.write("engine/main.go", _GO)
    project.write("engine/go.mod", "module toll.example/toll\n\ngo 1.21\n")
    project.write("engine/LICENSE", "Terms.\n")
    vendor.write(folder)
    return project


def binary_engine(folder: Path, platform: str, vendor: Vendor, program: bytes) -> Project:
    """The same, as a tree that was built elsewhere."""
    project = Project(root=folder)
    engine = f"runtime: binary\n  command: [toll, serve]\n  binary: {{trees: {{{platform}: tree}}}}"
    project.write("images/nexus.yaml", _ENGINE.format(engine=engine, platform=platform, asked=ENTERPRISE))
    project.write("images/runtime.yaml", "distribution: runtime\nformats: [tar.gz]\n")
    path = project.write("engine/tree/bin/toll", "")
    path.write_bytes(program)
    path.chmod(0o755)
    vendor.write(folder)
    return project


def python_engine(folder: Path, platform: str) -> Project:
    """An engine of Python for the tier `developer`, which is capped."""
    project = Project(root=folder)
    engine = "runtime: python\n  command: [python3, server.py]\n  python: {requirements: none}"
    asked = "tier: developer\n  caps: {workers: 2}"
    tiers = "tiers: [developer, enterprise]\n"
    project.write("images/nexus.yaml", _ENGINE.format(engine=engine, platform=platform, asked=asked) + tiers)
    project.write("images/container.yaml", "distribution: container\n")
    project.write("images/runtime.yaml", "distribution: runtime\nformats: [tar.gz]\n")
    project.write("engine/server.py", _PYTHON)
    return project


@dataclass(frozen=True)
class Made:
    """A container that was made and not yet started."""

    container: Any

    def put(self, path: str, text: str, *, mode: int = 0o644, owner: int = 0) -> None:
        """A file, in a folder of the same owner."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            parent = tarfile.TarInfo(str(Path(path).parent).lstrip("/"))
            parent.type, parent.mode, parent.uid, parent.gid = tarfile.DIRTYPE, 0o755, owner, owner
            file = tarfile.TarInfo(path.lstrip("/"))
            file.size, file.mode, file.uid, file.gid = len(text.encode()), mode, owner, owner
            archive.addfile(parent)
            archive.addfile(file, io.BytesIO(text.encode()))
        assert self.container.put_archive("/", buffer.getvalue())

    def read(self, path: str) -> str:
        """A file's text."""
        stream, _ = self.container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            (member,) = archive.getmembers()
            content = archive.extractfile(member)
            assert content
            return content.read().decode()

    def start(self) -> str:
        """Start it and wait until its engine has; what was said until then."""
        before = len(self.container.logs())
        self.container.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            said: str = self.container.logs()[before:].decode()
            if STARTED in said and said.endswith("\n"):
                return said
            self.container.reload()
            assert self.container.status == "running", said
        raise AssertionError("the engine did not start within a minute")

    def refused(self) -> str:
        """Start it; it must end with 77, and no engine may have started. What the checker said."""
        before = len(self.container.logs())
        self.container.start()
        assert self.container.wait(timeout=60)["StatusCode"] == 77, self.container.logs()
        said: str = self.container.logs()[before:].decode()
        assert STARTED not in said
        return said

    def stopped(self) -> str:
        """Send SIGTERM; the engine must end by itself. Everything that was said."""
        self.container.stop(timeout=30)
        assert self.container.wait(timeout=60)["StatusCode"] == 0
        logs: str = self.container.logs().decode()
        return logs


@dataclass(frozen=True)
class Images:
    """Images of a store that the engine has been given, by the name that it has for each."""

    client: docker.DockerClient
    name: str

    @contextlib.contextmanager
    def made(self, *command: str, token: str | None = None, **environment: str) -> Iterator[Made]:
        """A container with a read-only root but for what is copied in before it starts; the token is a Docker secret."""
        container = self.client.containers.create(
            self.name,
            list(command) or None,
            environment=environment,
            network_mode="none",
            cap_drop=["ALL"],
            labels={"nexus-oci-test": "toll"},
        )
        try:
            made = Made(container)
            if token is not None:
                made.put("/run/secrets/entitlement", token)
            yield made
        finally:
            container.remove(force=True, v=True)


@contextlib.contextmanager
def loaded(client: docker.DockerClient, image: Shipped) -> Iterator[Images]:
    """The image in the container engine, for as long as the block lasts."""
    name = f"nexus-oci-test-toll:{uuid.uuid4().hex[:12]}"
    client.images.load(image.archive(name))
    try:
        yield Images(client, name)
    finally:
        client.images.remove(name, force=True)


def variables(said: str) -> Mapping[str, str]:
    """The variables that an engine has printed."""
    lines = [line for line in said.splitlines() if line.startswith(("NEXUS_", "TOLL_"))]
    return dict(line.split("=", 1) for line in lines)
