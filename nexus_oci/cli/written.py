"""Writes the files that a verb made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from nexus_oci.errors import NexusError


class File(Protocol):
    """A file to be written: its path below a folder, its text, whether it is a program, and what the user should know."""

    @property
    def path(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def program(self) -> bool: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def write_files(folder: Path, files: Iterable[File]) -> list[Path]:
    """Write the files below a folder; files of other names there stay. Raises `NexusError` where one cannot be written."""
    paths = []
    for file in files:
        path = folder / file.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text)
            path.chmod(0o755 if file.program else 0o644)
        except OSError as error:
            raise NexusError(f"cannot write {path}", why=error.strerror or str(error), hint="choose another --output") from error
        paths.append(path)
    return paths
