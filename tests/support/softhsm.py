"""A real PKCS#11 token without hardware: Debian's SoftHSM, taken out of its packages for the time of the tests.

apt fetches and checks the packages by the host's own configuration; nothing is installed.
"""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PIN = "12%34 ab"


@functools.cache
def _unpacked() -> Path:
    """A folder with the files of SoftHSM's packages and of the cryptographic library that they need."""
    folder = Path(tempfile.mkdtemp(prefix="nexus-oci-softhsm-"))
    needs = subprocess.run(["apt-cache", "depends", "libsofthsm2"], capture_output=True, text=True, check=False).stdout
    packages = ["softhsm2", "libsofthsm2", *re.findall(r"Depends: (libbotan[\w.-]*)", needs)]
    done = subprocess.run(["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"apt could not fetch SoftHSM: {done.stderr[-1000:]}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
        package.unlink()
    return folder


def remove() -> None:
    """Take the files away again."""
    import shutil

    if _unpacked.cache_info().currsize:
        shutil.rmtree(_unpacked())
        _unpacked.cache_clear()


@dataclass(frozen=True)
class SoftHsm:
    """A SoftHSM whose tokens are in a folder of the test's own."""

    folder: Path

    @property
    def module(self) -> Path:
        """The PKCS#11 module."""
        (found,) = _unpacked().glob("usr/lib/*/softhsm/libsofthsm2.so")
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to use the module, once `preload` was called in it or it has the library's path."""
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    def preload(self) -> None:
        """Make the library that the module needs known to this process, which has not got it in its path."""
        for library in self.module.parent.parent.glob("libbotan*.so.*"):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)

    def util(self, *words: str) -> None:
        """softhsm2-util."""
        program = str(_unpacked() / "usr/bin/softhsm2-util")
        done = subprocess.run(
            [program, "--module", str(self.module), *words],
            env={**self.environment, "LD_LIBRARY_PATH": str(self.module.parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def token(self, label: str) -> None:
        """A new token."""
        self.util("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "5678")

    def load(self, token: str, label: str, identity: str, key: bytes) -> None:
        """Put a private key (PKCS#8, PEM) onto a token, with its public key."""
        path = self.folder / "import.pem"
        path.write_bytes(key)
        self.util("--import", str(path), "--token", token, "--label", label, "--id", identity, "--pin", PIN)
        path.unlink()


def soft_hsm(folder: Path) -> SoftHsm:
    """A SoftHSM without a token."""
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    return SoftHsm(folder)
