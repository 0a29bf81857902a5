"""Running the host's Debian tools: one place that starts processes, keeps their last words, names what is missing."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nexus_oci.errors import BuildError

APT_HELPER = Path("/usr/lib/apt/apt-helper")

Progress = Callable[[str], None]
"""Told, in one line each, what is being done."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A process that ended: its exit code, and what it wrote."""

    code: int
    output: str
    errors: str = ""

    @property
    def disk_full(self) -> str | None:
        """The line that says a disk is full, if one does."""
        match = re.search(r".*(?:No space left|enough free space).*", f"{self.output}\n{self.errors}")
        return match[0].strip() if match else None

    def last_lines(self, count: int = 6) -> str:
        """The last lines that say something about a failure: apt's and mmdebstrap's errors and warnings first."""
        lines = [line.strip() for line in f"{self.output}\n{self.errors}".splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith(("E:", "W:", "Err:", "dpkg-deb: error", "tar:"))]
        return "\n       ".join(dict.fromkeys((telling or lines)[-count:]))


def have(name: str) -> bool:
    """Whether a program of that name is on the path."""
    return shutil.which(name) is not None


def require(*names: str, purpose: str) -> None:
    """Raise `BuildError` that names the first of the programs that is missing, and what it is needed for."""
    for name in names:
        if not have(name):
            raise BuildError(
                f"{name} is needed to {purpose}, and is not installed",
                why="Debian bases are made with apt, dpkg-deb and mmdebstrap",
                hint="install mmdebstrap (it brings apt and dpkg-deb), or run this on a Debian or Ubuntu machine",
            )


def run(argv: Sequence[str | Path], *, stdout: IO[bytes] | None = None, scratch: Path | None = None) -> Finished:
    """Run a program to its end and return what it said, in the C locale so that messages can be read.

    With `stdout`, its output goes into that file and is not returned. `scratch` is where it may put temporary files.
    Proxies in the environment reach it.
    """
    environment: Mapping[str, str] = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    if scratch:
        environment = {**environment, "TMPDIR": str(scratch)}
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are a list, made here, and no shell reads them
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            umask=0o022,
            check=False,
        )
    except OSError as error:
        raise BuildError(f"{argv[0]} could not be started", why=error.strerror) from error
    return Finished(
        code=done.returncode,
        output=(done.stdout or b"").decode(errors="replace"),
        errors=done.stderr.decode(errors="replace"),
    )


@contextmanager
def piped(argv: Sequence[str | Path], failure: str) -> Iterator[IO[bytes]]:
    """The standard output of a program as a stream; raises `BuildError` with `failure` where it ends badly."""
    with subprocess.Popen(  # noqa: S603 - as above
        [str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        assert process.stderr is not None  # noqa: S101
        try:
            yield process.stdout
            process.stdout.read()
        except BaseException:
            process.kill()
            raise
        message = process.stderr.read().decode(errors="replace").strip()
        if process.wait():
            raise BuildError(failure, why=message[-500:] or f"{argv[0]} ended with {process.returncode}")


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's refusals into a `BuildError` that says what was being done."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(doing, error.strerror) from error
        raise BuildError(f"failed while {doing}", why=str(error)) from error


def need_space(directory: Path, size: int, doing: str) -> None:
    """Raise the error for a full disk before it is full, where `size` bytes do not fit where `directory` will be."""
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise no_space(doing, f"{size / 1e6:.0f} MB are needed in {there}, {free / 1e6:.0f} MB are free")


def no_space(doing: str, why: str | None) -> BuildError:
    """The error for a full disk."""
    return BuildError(
        f"no space left while {doing}",
        why=why,
        hint="free some space and run the same command again; what is done is kept",
    )
