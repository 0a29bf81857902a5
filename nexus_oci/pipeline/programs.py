"""Whether an image can start what its entrypoint names: asked when it is built, rather than found out when it first runs.

The program has to be there, runnable, for the image's processor, and with its interpreter: the one of its `#!` line, or the
dynamic linker that an ELF file names (PT_INTERP; System V ABI, "Program Interpreter").
"""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nexus_oci.errors import BuildError
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.checker import is_checked

_HEAD = 64 * 1024
_MACHINES = {"386": 3, "arm": 40, "amd64": 62, "arm64": 183, "riscv64": 243, "ppc64le": 21, "s390x": 22}
_NAMES = {number: name for name, number in _MACHINES.items()}
_PT_INTERP = 3


class _Stat(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def mode(self) -> int: ...
    @property
    def folder(self) -> bool: ...


class Files(Protocol):
    """An image's files; see `docker_engine.looking.ImageFiles`."""

    def stat(self, path: str) -> _Stat | None:
        """What is at an absolute path, links followed."""

    def head(self, path: str, size: int) -> bytes:
        """The first bytes of a file."""


@dataclass(frozen=True, kw_only=True)
class ProgramCheck:
    """One image: its files, its config as the engine has it, and what it is for. `title` begins every message."""

    files: Files
    config: Mapping[str, Any]
    platform: Platform
    title: str

    def run(self) -> None:
        """Raise `BuildError` for an entrypoint or health check that cannot start."""
        words = [*(self.config.get("Entrypoint") or ()), *(self.config.get("Cmd") or ())]
        if is_checked(words):
            self._program(words[0], "entitlement", ["/"])
            words = words[2:]
        if words:
            self._program(words[0], "engine.command", self._folders(words))
            self._script(words)
        test = list((self.config.get("Healthcheck") or {}).get("Test") or ())
        if len(test) > 1 and test[0] == "CMD":
            self._program(test[1], "image.healthcheck.command", self._folders(test[1:]))

    def _folders(self, words: Sequence[str]) -> list[str]:
        if "/" in words[0]:
            return [str(self.config.get("WorkingDir") or "/")]
        path = next((entry[5:] for entry in self.config.get("Env") or () if entry.startswith("PATH=")), "/usr/bin:/bin")
        return str(path).split(":")

    def _program(self, name: str, key: str, folders: Sequence[str]) -> None:
        for folder in folders:
            found = self.files.stat(posixpath.normpath(posixpath.join(folder, name)))
            if found is not None and not found.folder:
                self._can_run(name, key, found)
                return
        raise BuildError(
            f"{self.title}: the image has no program {name!r}",
            why=f"looked in {', '.join(folders)}" if "/" not in name else "the file is not there",
            hint=f"let the requirements or files of the image bring it, or correct `{key}`",
        )

    def _can_run(self, name: str, key: str, found: _Stat) -> None:
        if not found.mode & 0o111:
            raise BuildError(
                f"{self.title}: the program {name!r} is not executable",
                why=f"the mode of {found.path} is {found.mode:04o}",
                hint="make the file executable in the engine's source (chmod +x)",
            )
        head = self.files.head(found.path, _HEAD)
        if head.startswith(b"#!"):
            self._interpreter(name, key, head.partition(b"\n")[0][2:].decode(errors="replace").split())
        elif head.startswith(b"\x7fELF"):
            self._elf(name, head)

    def _interpreter(self, name: str, key: str, words: list[str]) -> None:
        """The program of a `#!` line, and with `env` the one that it looks for."""
        if not words:
            return
        if self.files.stat(words[0]) is None:
            raise BuildError(
                f"{self.title}: the program {name!r} is a script for {words[0]}, which the image does not have",
                why="the runtime bases have no shell",
                hint=f"let `{key}` name the program itself, or choose a base with {words[0]}",
            )
        if posixpath.basename(words[0]) == "env":
            wanted = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
            if wanted:
                self._program(wanted[0], key, self._folders(wanted))

    def _elf(self, name: str, head: bytes) -> None:
        machine = struct.unpack_from("<H", head, 18)[0]
        wanted = _MACHINES.get(self.platform.architecture)
        if wanted is not None and machine != wanted:
            raise BuildError(
                f"{self.title}: the program {name!r} is not for {self.platform}",
                why=f"it was compiled for {_NAMES.get(machine, 'another processor')}",
                hint=f"give the definition a file that was built for {self.platform}, or leave that platform out",
            )
        linker = elf_interpreter(head)
        if linker and self.files.stat(linker) is None:
            raise BuildError(
                f"{self.title}: the program {name!r} is dynamically linked, and the image has no {linker}",
                why="the base `static` has neither that dynamic linker nor a C library",
                hint="build the program statically, or choose a `base` that has a C library",
            )

    def _script(self, words: Sequence[str]) -> None:
        """The file that node is told to run."""
        if posixpath.basename(words[0]) != "node" or len(words) < 2 or words[1].startswith("-"):
            return
        path = posixpath.normpath(posixpath.join(str(self.config.get("WorkingDir") or "/"), words[1]))
        if any(self.files.stat(path + ending) for ending in ("", ".js", ".cjs", ".mjs", ".json", ".node")):
            return
        folder, _, command = path.rpartition("/")
        if folder.endswith("/node_modules/.bin"):
            raise BuildError(
                f"{self.title}: no installed package has the command {command!r}",
                why=f"{folder} does not have it",
                hint="add the package to the dependencies of package.json, or correct `engine.command`",
            )
        raise BuildError(
            f"{self.title}: the image has no file {path}",
            why="node is told to run it",
            hint="correct `engine.node.entry` or `engine.command`; paths are relative to the source",
        )


def elf_interpreter(head: bytes) -> str | None:
    """The dynamic linker that a little-endian ELF file asks for, from its first bytes; None for a static one."""
    wide = head[4] == 2
    start = struct.unpack_from("<Q" if wide else "<I", head, 32 if wide else 28)[0]
    size, count = struct.unpack_from("<HH", head, 54 if wide else 42)
    for index in range(count):
        entry = head[start + index * size : start + (index + 1) * size]
        if len(entry) == size and struct.unpack_from("<I", entry)[0] == _PT_INTERP:
            place = struct.unpack_from("<Q" if wide else "<I", entry, 8 if wide else 4)[0]
            length = struct.unpack_from("<Q" if wide else "<I", entry, 32 if wide else 16)[0]
            return head[place : place + length].rstrip(b"\0").decode(errors="replace")
    return None
