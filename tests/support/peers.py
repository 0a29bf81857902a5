"""Tools of others that Debian has not got, built by scripts/peers.sh where they are not there yet."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "peers.sh"
PASSPHRASE = "pass phrase"
"""Of keys that live for one test run."""


@dataclass(frozen=True)
class Outcome:
    """How a tool ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Cosign:
    """The real cosign, of the version that scripts/peers.sh names. It asks no transparency log, and the network for nothing."""

    program: Path
    environment: dict[str, str] = field(default_factory=lambda: {"COSIGN_PASSWORD": PASSPHRASE})

    def run(self, *arguments: str, folder: Path | None = None) -> Outcome:
        """Any command of it."""
        done = subprocess.run(
            [str(self.program), *arguments],
            env={**os.environ, **self.environment}, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    def verify(self, reference: str, key: Path, *, bundle: bool) -> Outcome:
        """`cosign verify`, of one form of signature."""
        return self.run(
            "verify", f"--new-bundle-format={str(bundle).lower()}", "--key", str(key), "--insecure-ignore-tlog=true",
            "--allow-http-registry", reference,
        )  # fmt: skip

    def sign(self, reference: str, key: Path, *options: str, bundle: bool) -> None:
        """`cosign sign`, in one form."""
        done = self.run(
            "sign", f"--new-bundle-format={str(bundle).lower()}", "--use-signing-config=false", "--tlog-upload=false", "--yes",
            "--allow-http-registry", "--key", str(key), *options, reference,
        )  # fmt: skip
        assert done.code == 0, done.err


def peer(name: str) -> Path:
    """The program of a tool that scripts/peers.sh names; the first run on a machine builds it, which takes minutes."""
    done = subprocess.run(["sh", str(_SCRIPT), sys.prefix, name], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{name} could not be built: {done.stderr[-2000:]}")
    return Path(done.stdout.strip().splitlines()[-1]) / name


def real_cosign() -> Cosign:
    """The real cosign."""
    return Cosign(peer("cosign"))
