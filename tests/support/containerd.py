"""A containerd 2 of our own: its state, its socket and its settings are in a folder that goes with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.peers import Outcome, peer

_CONFIG = """\
version = 3
root = "{folder}/root"
state = "{folder}/state"
imports = [{imports}]
disabled_plugins = [
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri",
]

[plugins."io.containerd.server.v1.grpc"]
  address = "{folder}/grpc"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "{folder}/ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""
_READY = "containerd successfully booted"
_ROOT = () if os.geteuid() == 0 else ("sudo", "-n", "--preserve-env=PATH")


@dataclass(frozen=True)
class Containerd:
    """A running daemon, and what was written to its log so far."""

    folder: Path

    def ctr(self, *words: str | Path) -> Outcome:
        """A command of `ctr`, which has to end."""
        command = [*_ROOT, str(peer("ctr")), "--address", str(self.folder / "grpc"), *map(str, words)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return Outcome(finished.returncode, finished.stdout, finished.stderr)

    def digest(self, name: str) -> str:
        """The digest of an image that it has."""
        listed = self.ctr("images", "ls", f"name=={name}").out.splitlines()[1:]
        assert len(listed) == 1, listed
        return next(word for word in listed[0].split() if word.startswith("sha256:"))


@contextlib.contextmanager
def running_containerd(imports: Sequence[Path] = (), path: str | None = None) -> Iterator[Containerd]:
    """Start the daemon with more settings, and with `path` as where it finds programs; stop it in the end."""
    program = peer("containerd")
    # Sockets' names are short, and the folders of tests are not.
    folder = Path(tempfile.mkdtemp(prefix="nexus-oci-containerd-"))
    names = ", ".join(f'"{name}"' for name in imports)
    (folder / "config.toml").write_text(_CONFIG.format(folder=folder, imports=names))
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    command = [*_ROOT, str(program), "--config", str(folder / "config.toml")]
    daemon = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert daemon.stderr is not None
        told = []
        for line in daemon.stderr:
            told.append(line)
            if _READY in line:
                break
        else:
            pytest.fail("containerd did not start: " + "".join(told)[-2000:])
        # What it says from now on is not wanted, and must not fill the pipe.
        reader = threading.Thread(target=daemon.stderr.read)
        reader.start()
        try:
            yield Containerd(folder)
        finally:
            daemon.terminate()
            daemon.wait()
            reader.join()
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()
        if daemon.stderr is not None:
            daemon.stderr.close()
        if _ROOT:
            subprocess.run([*_ROOT, "rm", "-rf", str(folder)], check=True)
        else:
            shutil.rmtree(folder)
