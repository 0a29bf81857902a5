"""Containers of a clean Debian, in which tests install what was built, or run tools that the host has not got.

Their root filesystems are made by mmdebstrap from the host's own sources, once, and stay in the engine as local images.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

SUITE = "trixie"
_REPOSITORY = "nexus-oci-test-debian"


def clean_debian(packages: Sequence[str] = ()) -> str:
    """The local image of a minimal Debian with some more packages; made where the engine has not got it yet."""
    wanted = ",".join(sorted(packages))
    tag = f"{_REPOSITORY}:{SUITE}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    with contextlib.closing(docker.from_env()) as client:
        try:
            client.images.get(tag)
        except docker.errors.ImageNotFound:
            _build(client, tag, wanted)
    return tag


def _build(client: docker.DockerClient, tag: str, packages: str) -> None:
    if not shutil.which("mmdebstrap"):
        pytest.skip("mmdebstrap is not installed: there is no clean Debian to install into")
    with tempfile.TemporaryDirectory(prefix="nexus-oci-debian-") as name:
        rootfs = Path(name) / "rootfs.tar"
        include = [f"--include={packages}"] if packages else []
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", *include, SUITE, str(rootfs)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if made.returncode:
            pytest.fail(f"mmdebstrap could not make a clean Debian: {made.stderr[-1500:]}")
        context = Path(name) / "context.tar"
        with tarfile.open(context, "w") as archive:
            recipe = b'FROM scratch\nADD rootfs.tar /\nCMD ["sleep", "infinity"]\n'
            header = tarfile.TarInfo("Dockerfile")
            header.size = len(recipe)
            archive.addfile(header, io.BytesIO(recipe))
            archive.add(rootfs, arcname="rootfs.tar")
        with context.open("rb") as file:
            client.images.build(fileobj=file, custom_context=True, tag=tag, rm=True)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A running container."""

    container: Any

    def run(self, *command: str) -> str:
        """What a command prints, stdout and stderr together; it must end with 0."""
        code, text = self.attempt(*command)
        assert code == 0, f"{' '.join(command)} ended with {code}: {text}"
        return text

    def attempt(self, *command: str) -> tuple[int, str]:
        """A command's exit code, and what it prints."""
        code, output = self.container.exec_run(
            list(command), environment={"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        )
        return code, output.decode(errors="replace")

    def put(self, path: Path, folder: str = "/root") -> str:
        """Copy a file of the host into the container; its path there."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(path, arcname=path.name)
        assert self.container.put_archive(folder, buffer.getvalue())
        return f"{folder}/{path.name}"

    def files(self, *left_out: str) -> Mapping[str, str]:
        """Every path outside `left_out` and what the kernel makes, with its type, mode, owner and, for files, checksum."""
        places = ["/proc", "/sys", "/dev", *left_out]
        pruned = " -o ".join(f"-path {place}" for place in places)
        script = (
            rf"find / \( {pruned} \) -prune -o -printf '%y %m %u %g %l %p\n' | LC_ALL=C sort; "
            rf"find / \( {pruned} \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
        )
        found: dict[str, str] = {}
        for line in self.run("sh", "-c", script).splitlines():
            facts, _, path = line.rpartition(" /")
            found["/" + path] = f"{found.get('/' + path, '')} {facts}".strip()
        return found


@contextlib.contextmanager
def machine(image: str) -> Iterator[Machine]:
    """A container of an image, without a network, that goes at the end of the block."""
    with contextlib.closing(docker.from_env()) as client:
        container = client.containers.run(image, detach=True, network_mode="none", labels={"nexus-oci-test": "machine"})
        try:
            yield Machine(container=container)
        finally:
            container.remove(force=True)


def run_tool(image: str, command: Sequence[str], folders: Sequence[Path]) -> str:
    """Run a tool of a clean Debian on the host's network, with some of the host's folders at their own paths; its output."""
    with contextlib.closing(docker.from_env()) as client:
        volumes = {str(folder): {"bind": str(folder), "mode": "rw"} for folder in folders}
        output: bytes = client.containers.run(image, list(command), network_mode="host", volumes=volumes, remove=True)
        return output.decode()
