"""Runs one of the program's own scripts in a short-lived container of the toolbox, without a network.

Files go in and come out as streams between the container and the store, so their size does not matter. A secret goes over
standard input only, and scripts keep it in a tmpfs.
"""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from nexus_oci.docker_engine import ContainerRequest, Engine, Mount
from nexus_oci.errors import BuildError
from nexus_oci.oci.store import Store
from nexus_oci.oci.tar import iter_members
from nexus_oci.oci.tar_header import Kind
from nexus_oci.oci.values import Descriptor, Digest, digest_of

_USER = 65532
"""Whom scripts run as; every base has that user."""
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """The toolbox image in an engine, and the store that its scripts read from and write to."""

    engine: Engine
    image: str
    store: Store
    cancel: threading.Event | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a script ended, what it printed, and the files that it left, by their paths; these only where it ended well."""

    exit_code: int
    output: str
    errors: str
    files: Mapping[str, Descriptor]

    def last_lines(self, count: int = 8) -> str:
        """The end of what it had to say."""
        lines = [line for line in f"{self.output}\n{self.errors}".splitlines() if line.strip()]
        return "\n       ".join(lines[-count:])

    def check(self, what: str) -> None:
        """Raise `BuildError`, which says `what` failed, where the script did not end well."""
        if self.exit_code:
            raise BuildError(what, why=self.last_lines() or f"the script ended with {self.exit_code}")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a container is shown of this machine: mounts and variables, and whom it runs as; usually nothing, and nobody."""

    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] | None = None
    user: str = f"{_USER}:{_USER}"


def script_digest(*names: str) -> Digest:
    """The digest of scripts, for the keys of the steps that run them."""
    return digest_of(b"\0".join(_script(name) for name in names))


def run_script(
    toolbox: Toolbox,
    script: str,
    *arguments: str,
    files: Mapping[str, Descriptor | bytes],
    with_scripts: Iterable[str] = (),
    secret: bytes = b"",
    epoch: int = 0,
    surroundings: Surroundings | None = None,
) -> Outcome:
    """Run `script` with `files` below /job/in, each with the time `epoch`, and take what it leaves in /job/out.

    `with_scripts` are others that it sources. Raises what the engine and the store raise; that the script fails is no error.
    """
    around = surroundings or Surroundings()
    wanted = ContainerRequest(
        image=toolbox.image,
        command=("sh", f"/job/{script}", *arguments),
        environment=around.environment or {},
        mounts=around.mounts,
        user=around.user,
        tmpfs=("/run/secret",) if secret else (),
    )
    owner = tuple(int(part) for part in around.user.split(":"))
    sent: dict[str, Descriptor | bytes] = {name: _script(name) for name in (script, *with_scripts)}
    sent |= {f"in/{name}": content for name, content in files.items()}
    with toolbox.engine.prepare(wanted) as container:
        container.put(_archive(toolbox.store, sent, epoch, owner), cancel=toolbox.cancel)
        ended = container.run(secret=secret, timeout=3600, cancel=toolbox.cancel)
        left: Mapping[str, Descriptor] = {}
        if ended.exit_code == 0:
            with container.folder("/job/out", cancel=toolbox.cancel) as stream:
                left = _stored(toolbox.store, stream)
    return Outcome(
        exit_code=ended.exit_code,
        output=ended.stdout.decode(errors="replace"),
        errors=ended.stderr.decode(errors="replace"),
        files=left,
    )


def _script(name: str) -> bytes:
    return resources.files("nexus_oci.pipeline").joinpath("scripts", name).read_bytes()


def _stored(store: Store, stream: Iterator[bytes]) -> dict[str, Descriptor]:
    found: dict[str, Descriptor] = {}
    for entry, data in iter_members(stream, origin="what a tool left", prefix="out"):
        if entry.kind == Kind.DIRECTORY:
            continue
        if entry.kind != Kind.FILE:
            raise BuildError(f"a tool left {entry.name!r}, which is no plain file")
        with store.writer() as writer:
            for piece in data:
                writer.write(piece)
            found[entry.name] = writer.commit(_OCTETS)
    return found


def _archive(store: Store, files: Mapping[str, Descriptor | bytes], epoch: int, owner: tuple[int, ...]) -> Iterator[bytes]:
    """A tar of /job, its folders first; blobs are read block by block."""
    folders = {str(parent) for name in files for parent in Path("job", name).parents} - {"."}
    for name in sorted(folders | {"job/in", "job/out"}):
        yield _header(name, tarfile.DIRTYPE, 0o755, 0, epoch, owner)
    for name, content in files.items():
        size = len(content) if isinstance(content, bytes) else content.size
        yield _header(f"job/{name}", tarfile.REGTYPE, 0o644, size, epoch, owner)
        if isinstance(content, bytes):
            yield content
        else:
            with store.open_blob(content) as reader:
                yield from reader
        yield b"\0" * (-size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _header(name: str, kind: bytes, mode: int, size: int, epoch: int, owner: tuple[int, ...]) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.mtime = kind, mode, size, epoch
    member.uid, member.gid = owner
    return member.tobuf(tarfile.PAX_FORMAT)
