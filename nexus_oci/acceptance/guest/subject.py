"""What is to be tested, as the host says it: read from a JSON file beside these programs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One package. `following` is the one to upgrade to, `preceding` one to upgrade from; without them `no_following` says why.

    `version` is what the program says of itself, `health` the command of its health check, `expected` the paths that the
    definition promises. `foreign` is the processor's name, where it is another than the machine's.
    `allowed` are tags of linters that the definition gives reasons against. `meta` is the name of the package without files that
    draws this one in, where there is one. `beside` has what must be installed with a file, by that file. `entitlement` is a token
    that the engine asks for before it starts, to be put where its checker looks for it, `entitlement_place`; `unentitled` says
    why there is none although one is needed.
    """

    format: str
    file: str
    following: str = ""
    preceding: str = ""
    no_following: str = ""
    name: str = ""
    version: str = ""
    health: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    service: str = ""
    socket: str = ""
    user: str = ""
    foreign: str = ""
    allowed: tuple[str, ...] = ()
    meta: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    entitlement: str = ""
    entitlement_place: str = ""
    unentitled: str = ""

    def together(self, file: str) -> list[str]:
        """A package's file, and before it what has to be installed with it."""
        return [self.beside[file], file] if file in self.beside else [file]

    def cannot_run(self, paths: Iterable[Path]) -> str:
        """Why the first program among the paths does not run on this machine; empty where it does, or where there is none."""
        if self.unentitled or not self.foreign:
            return self.unentitled
        for path in paths:
            if path.is_symlink() or not path.is_file() or not os.access(path, os.X_OK):
                continue
            with path.open("rb") as file:
                if file.read(4) != b"\x7fELF":
                    continue
            try:
                subprocess.run([str(path), "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
            except FileNotFoundError:
                return f"the handler for linux/{self.foreign} is registered without flag F, which containers need"
            except OSError:
                return f"no handler for linux/{self.foreign} is registered"
            return ""
        return ""

    def put_entitlement(self) -> None:
        """Copy the token to where the checker looks for it, as an administrator does; any user may read it there."""
        if self.entitlement:
            place = Path(self.entitlement_place)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(Path(self.entitlement).read_bytes())
            place.chmod(0o644)

    @classmethod
    def read(cls, path: Path) -> Subject:
        """The subject in a JSON file."""
        data: Mapping[str, Any] = json.loads(path.read_bytes())
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return cls(**values)
