"""Running programs of another processor, for the one test that needs it: qemu's handler, registered for the time of a block."""

from __future__ import annotations

import contextlib
import os
import platform as host
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_HANDLERS = Path("/proc/sys/fs/binfmt_misc")
_PROGRAMS = {"linux/arm64": ("aarch64", b"\xb7\x00"), "linux/amd64": ("x86_64", b"\x3e\x00")}
_PACKAGES = ("qemu-user-static", "qemu-user")
"""The first is Debian 12's and Ubuntu's; in Debian 13 the static programs are in the second."""


@contextlib.contextmanager
def emulated(platform: str) -> Iterator[str]:
    """A block in which the kernel runs programs of `platform`; gives what is missing where that cannot be had, else nothing.

    A handler that is registered already is used and left alone.
    """
    machine, code = _PROGRAMS[platform]
    if _HANDLERS.is_dir() and any(machine in path.name for path in _HANDLERS.iterdir()):
        yield ""
        return
    if os.geteuid() != 0:
        yield f"a binfmt handler for {machine}; registering one needs root"
        return
    with tempfile.TemporaryDirectory(prefix="nexus-oci-binfmt-") as name:
        qemu = _qemu(machine)
        if qemu is None:
            yield f"qemu for {machine} ({' or '.join(_PACKAGES)})"
            return
        mount = Path(name)
        mounted = subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", name], check=False, capture_output=True, text=True)
        if mounted.returncode:
            yield f"binfmt_misc, which this kernel does not mount: {mounted.stderr.strip()}"
            return
        entry = mount / f"nexus-oci-test-{machine}"
        try:
            # F: the kernel opens qemu now, so that it is found from inside containers too.
            magic = _escaped(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + code)
            mask = _escaped(b"\xff" * 7 + b"\x00" * 9 + b"\xfe\xff\xff\xff")
            (mount / "register").write_bytes(
                b":" + entry.name.encode() + b":M::" + magic + b":" + mask + b":" + str(qemu).encode() + b":F"
            )
            yield ""
        finally:
            if entry.exists():
                entry.write_text("-1")
            subprocess.run(["umount", name], check=True)


def _escaped(data: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in data)


def _qemu(machine: str) -> Path | None:
    """The static emulator: the machine's own, or one out of Debian's package, which then stays in the user's cache."""
    installed = shutil.which(f"qemu-{machine}-static")
    if installed:
        return Path(installed)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nexus-oci-tests" / host.machine()
    kept = cache / f"qemu-{machine}"
    if kept.is_file():
        return kept
    if not shutil.which("apt-get"):
        return None
    with tempfile.TemporaryDirectory(prefix="nexus-oci-qemu-") as name:
        for package in _PACKAGES:
            found = _unpacked(package, machine, Path(name))
            if found:
                cache.mkdir(parents=True, exist_ok=True)
                shutil.copy(found, kept.with_suffix(".part"))
                kept.with_suffix(".part").rename(kept)
                return kept
    return None


def _unpacked(package: str, machine: str, folder: Path) -> Path | None:
    """The emulator in a package that apt fetches and checks; nothing where it has none."""
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    subprocess.run(command, cwd=folder, check=False, capture_output=True)
    for deb in folder.glob(f"{package}_*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(deb), str(folder / package)], check=True, capture_output=True)
    for name in (f"qemu-{machine}-static", f"qemu-{machine}"):
        path = folder / package / "usr" / "bin" / name
        if path.is_file() and not path.is_symlink():
            return path
    return None
