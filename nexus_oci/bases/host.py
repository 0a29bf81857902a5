"""What this machine brings along for making bases: a cache, mmdebstrap (its own or in a container), Debian's keys."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nexus_oci.bases import bootstrap
from nexus_oci.bases.apt import Source
from nexus_oci.bases.commands import Finished, Progress, disk_errors, have, run
from nexus_oci.bases.sources import debian_sources
from nexus_oci.errors import BuildError

_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)


class ContainerRunner(Protocol):
    """Runs a program in a container; the pipeline brings one, made of the container engine."""

    def __call__(self, *, rootfs: Path, tag: str, argv: Sequence[str], mounts: Mapping[Path, str]) -> tuple[int, str]:
        """Run `argv` as root in an image named `tag` and return its exit code and output.

        Where there is no image of that name it is made of the tar `rootfs`. `mounts` are host directories and where
        they appear, writable. Neither network nor privileges are needed.
        """
        ...


def _quiet(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """The machine that makes bases. `cache` is a directory that may be shared by several runs at once."""

    cache: Path
    containers: ContainerRunner | None = None
    progress: Progress = _quiet

    def sources(self, suite: str, components: Sequence[str]) -> tuple[Source, ...]:
        """Where the packages of a suite come from (see `sources.debian_sources`)."""
        return debian_sources(suite, components, self.keyring(), self.default_sources)

    def keyring(self) -> Path:
        """The public keys of Debian's archive: the host's file, or one out of the package of the host's own archive."""
        for path in _KEYRINGS:
            if path.is_file():
                return path
        return bootstrap.debian_keyring(self.cache, self.progress)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory for the time of one job, readable by every user, in the cache so that a rename is enough."""
        with disk_errors("making a scratch directory"):
            (self.cache / "work").mkdir(parents=True, exist_ok=True)
            directory = tempfile.TemporaryDirectory(dir=self.cache / "work", ignore_cleanup_errors=True)
        with directory as name:
            Path(name).chmod(0o755)
            yield Path(name)

    def mmdebstrap(self, arguments: Sequence[str], scratch: Path) -> Finished:
        """Run mmdebstrap with no privileges; `scratch` has the same path for it as for us.

        Its chrootless mode mounts nothing and runs nothing of the new system, so it serves root, other users and
        containers alike, and gives all of them the same files. Raises `BuildError` where there is no way to run it.
        """
        argv = ["mmdebstrap", "--mode=chrootless", "--variant=extract", "--skip=check/chrootless", *arguments]
        if have("mmdebstrap"):
            return run(argv, scratch=scratch)
        if not have("apt-get") or not have("dpkg-deb"):
            raise BuildError(
                "neither mmdebstrap nor apt is installed on this machine",
                why="Debian bases are made with mmdebstrap, or with apt, which brings mmdebstrap into a container",
                hint="install mmdebstrap",
            )
        if self.containers is None:
            raise BuildError(
                "mmdebstrap is not installed, and no container engine is at hand to run it in",
                hint="install mmdebstrap, or start the container engine",
            )
        rootfs, tag = bootstrap.tool_rootfs(self.cache, self.progress)
        self.progress("running mmdebstrap in a container")
        code, output = self.containers(rootfs=rootfs, tag=tag, argv=argv, mounts={scratch: str(scratch)})
        return Finished(code=code, output=output)

    def default_sources(self, suite: str) -> str:
        """The text of the sources that mmdebstrap writes into a new system; it ends before it fetches anything."""
        with self.scratch() as scratch:
            answer = scratch / "sources"
            hook = f'cat "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* >"{answer}" 2>/dev/null; exit 1'
            done = self.mmdebstrap([f"--setup-hook={hook}", "--include=base-files", suite, "/dev/null"], scratch)
            try:
                return answer.read_text()
            except OSError as error:
                raise BuildError(f"mmdebstrap does not know where to take {suite} from", why=done.last_lines()) from error


def default_cache(environment: Mapping[str, str], home: Path) -> Path:
    """The customary place of the cache (XDG): `$XDG_CACHE_HOME/nexus-oci`, else `~/.cache/nexus-oci`."""
    root = environment.get("XDG_CACHE_HOME", "")
    return (Path(root) if root.startswith("/") else home / ".cache") / "nexus-oci"
