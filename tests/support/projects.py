"""The reference project in a folder of its own, the program run in it as a user runs it, and what it left on disk.

The readers here are written from the OCI specification and share no code with the program: a mistake made there cannot hide here.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import docker
import docker.errors
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NEVER = "unix:///nonexistent/engine.sock"
"""An engine's address at which nothing can answer."""
_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from nexus_oci.cli.main import main
main()
"""
"""The program, deaf to an ignored SIGINT that it would otherwise inherit from a test run in the background."""
_TIMEOUT = 600


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run of the program that has ended."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    pid: int

    @property
    def data(self) -> Any:
        """What --json wrote to stdout."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What --log-format json wrote to stderr."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    def states(self) -> dict[str, str]:
        """The last state of every step, by its id; from --log-format json."""
        return {event["step"]: event["state"] for event in self.events if event["event"] == "step"}

    def refused(self, code: int) -> str:
        """The message of a run that must have failed with `code`: one, without a traceback, and nothing on stdout."""
        assert self.code == code, self.story()
        assert "Traceback" not in self.err, self.story()
        assert self.out == "", self.story()
        lines = self.err.splitlines()
        (start,) = [index for index, line in enumerate(lines) if line.startswith(("nexus-oci: ", "Error: "))]
        return "\n".join(lines[start:])

    def story(self) -> str:
        """Everything about the run, for a failing assertion."""
        return f"nexus-oci {' '.join(self.arguments)} ended with {self.code}\n{self.err[-6000:]}\n{self.out[-2000:]}"


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with a definition, in a git repository."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def dist(self) -> Path:
        """Where a build leaves its output unless it is told otherwise."""
        return self.root / "dist"

    @contextlib.contextmanager
    def start(self, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """The program beside the test; it is killed at the end of the block if it still runs."""
        command = [sys.executable, "-c", _PROGRAM, "-C", str(self.root), *arguments]
        variables = {**os.environ, **self.environment, **environment}
        with subprocess.Popen(
            command, cwd=REPOSITORY, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def finish(self, process: subprocess.Popen[str], *arguments: str, seen: str = "") -> Finished:
        """Wait for a started run to end; `seen` is what was read of its stderr before."""
        out, err = process.communicate(timeout=_TIMEOUT)
        return Finished(arguments=arguments, code=process.returncode, out=out, err=seen + err, pid=process.pid)

    def run(self, *arguments: str, **environment: str) -> Finished:
        """The program, to its end."""
        with self.start(*arguments, **environment) as process:
            return self.finish(process, *arguments)

    def done(self, *arguments: str, **environment: str) -> Finished:
        """The program, to an end that must be good."""
        finished = self.run(*arguments, **environment)
        assert finished.code == 0, finished.story()
        return finished

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the one occurrence of `old` in a file."""
        path = self.root / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new))

    def write(self, name: str, text: str) -> Path:
        """Write a file, making its folders."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def template(self, name: str) -> str:
        """A shipped Dockerfile template's text, to be changed and written into the project's own folder."""
        return (REPOSITORY / "dockerfiles" / name).read_text()

    def commit(self) -> None:
        """Commit everything, at a fixed time."""
        identity = {
            "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@nexus.example", "GIT_AUTHOR_DATE": "2026-03-04T05:06:07Z",
            "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@nexus.example",
            "GIT_COMMITTER_DATE": "2026-03-04T05:06:07Z", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
        }  # fmt: skip
        variables = {**os.environ, **identity}
        if not (self.root / ".git").exists():
            _git(self.root, variables, "init", "--quiet")
        _git(self.root, variables, "add", "--all")
        _git(self.root, variables, "commit", "--quiet", "--message", "A commit")

    def copy(self, folder: Path, *, with_dist: bool = False) -> Project:
        """The same project, commit included, elsewhere; with its store, or without."""
        ignore = None if with_dist else shutil.ignore_patterns("dist")
        shutil.copytree(self.root, folder, symlinks=True, ignore=ignore)
        return Project(root=folder, environment=self.environment)


def reference_project(folder: Path, environment: Mapping[str, str]) -> Project:
    """The shipped definitions with the reference engine and its chart, as one commit."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    folder.mkdir(parents=True)
    for name in ("images", "helm"):
        shutil.copytree(REPOSITORY / name, folder / name)
    (folder / ".gitignore").write_text("dist/\n")
    project = Project(root=folder, environment=environment)
    project.commit()
    return project


def _git(folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@dataclass(frozen=True, kw_only=True)
class Image:
    """One platform's image of a layout: raw JSON of its manifest and config."""

    descriptor: Mapping[str, Any]
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def platform(self) -> str:
        """`os/architecture` as the config has it."""
        return f"{self.config['os']}/{self.config['architecture']}"

    @property
    def layers(self) -> list[str]:
        """The layers' digests, the lowest first."""
        return [layer["digest"] for layer in self.manifest["layers"]]


@dataclass(frozen=True)
class Layout:
    """An OCI image layout on disk, read by the letter of image-layout.md; every blob is hashed when it is read."""

    root: Path

    def path(self, digest: str) -> Path:
        """Where a blob stands."""
        return self.root / "blobs" / digest.replace(":", "/")

    def blob(self, descriptor: Mapping[str, Any] | str) -> bytes:
        """A blob's bytes; its digest, and with a descriptor its size, must be right."""
        digest = descriptor if isinstance(descriptor, str) else descriptor["digest"]
        data = self.path(digest).read_bytes()
        assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
        assert isinstance(descriptor, str) or len(data) == descriptor["size"]
        return data

    def json(self, descriptor: Mapping[str, Any] | str) -> Any:
        """A JSON blob."""
        return json.loads(self.blob(descriptor))

    def entries(self) -> list[dict[str, Any]]:
        """index.json's descriptors."""
        assert json.loads((self.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
        index = json.loads((self.root / "index.json").read_bytes())
        assert index["schemaVersion"] == 2
        found: list[dict[str, Any]] = index["manifests"]
        return found

    def tags(self) -> dict[str, dict[str, Any]]:
        """The named entries of index.json."""
        named = [(entry.get("annotations") or {}, entry) for entry in self.entries()]
        return {
            notes["org.opencontainers.image.ref.name"]: entry
            for notes, entry in named
            if "org.opencontainers.image.ref.name" in notes
        }

    def images(self, tag: str) -> dict[str, Image]:
        """The images of a named index, by platform."""
        found = {}
        for descriptor in self.json(self.tags()[tag])["manifests"]:
            manifest = self.json(descriptor)
            image = Image(descriptor=descriptor, manifest=manifest, config=self.json(manifest["config"]))
            assert f"{descriptor['platform']['os']}/{descriptor['platform']['architecture']}" == image.platform
            found[image.platform] = image
        return found

    def reachable(self) -> set[str]:
        """Every digest below index.json; each blob is read and must be whole."""
        found: set[str] = set()
        queue = list(self.entries())
        while queue:
            descriptor = queue.pop()
            if descriptor["digest"] in found:
                continue
            found.add(descriptor["digest"])
            if descriptor["mediaType"].endswith(("index.v1+json", "manifest.v1+json")):
                document = self.json(descriptor)
                queue += document.get("manifests", []) + document.get("layers", [])
                queue += [document[key] for key in ("config", "subject") if key in document]
            else:
                self.blob(descriptor)
        return found

    def tar(self, digest: str) -> bytes:
        """A layer's uncompressed bytes."""
        return gzip.decompress(self.blob(digest))

    def on_disk(self) -> set[str]:
        """Every digest that has a file."""
        return {f"sha256:{path.name}" for path in (self.root / "blobs" / "sha256").iterdir()}


def members(data: bytes) -> list[tarfile.TarInfo]:
    """The entries of a tar, in its order."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getmembers()


def read_member(data: bytes, name: str) -> bytes:
    """The content of a file in a tar, compressed or not."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file: IO[bytes] | None = tar.extractfile(name)
        assert file is not None
        return file.read()


def leftovers(pid: int) -> list[str]:
    """Containers and images of the engine that a process of the program made and did not take away."""
    label = "dev.nexus-oci.temporary"
    mine = f"/{pid}/"
    with contextlib.closing(docker.APIClient()) as client:
        listed = client.containers(all=True, filters={"label": [label]}) + client.images(all=True, filters={"label": [label]})
    return [str(entry["Id"]) for entry in listed if mine in (entry.get("Labels") or {}).get(label, "")]
