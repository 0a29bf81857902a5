"""What a runtime's engine needs around it, in an image or on a host, and where files of its source go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nexus_oci.errors import DefinitionError
from nexus_oci.render.context import ContextFile

if TYPE_CHECKING:
    from nexus_oci.definition.engine_model import Engine

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where programs are, where the engine starts ("" for anywhere), and its variables."""

    path: str
    work: str
    environment: Mapping[str, str]


NOTHING: Final = Surroundings(path=_PATH, work="", environment={})
"""Where nothing of the engine's runs."""


def surroundings(engine: Engine) -> Surroundings:
    """Those of the engine's runtime, as installed under /usr."""
    home = engine_home(engine)
    work = f"{home}/app"
    if engine.runtime == "python":
        environment = {"PYTHONUSERBASE": home, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        if not engine.python.project:
            environment["PYTHONPATH"] = work
        return Surroundings(path=f"{home}/bin:{_PATH}", work=work, environment=environment)
    if engine.runtime == "node":
        return Surroundings(path=_PATH, work=work, environment={"NODE_ENV": "production"})
    if engine.runtime == "binary":
        return Surroundings(path=f"{home}:{home}/bin:{_PATH}", work=home, environment={})
    return NOTHING


def engine_home(engine: Engine) -> str:
    """The engine's own folder; an engine of Go has only a program in /usr/bin."""
    return f"/usr/lib/{engine.name}"


def node_command(command: list[str], home: str) -> list[str]:
    """The command of a package is a script that node runs."""
    if not command or command[0] == "node" or "/" in command[0]:
        return command
    return ["node", f"{home}/app/node_modules/.bin/{command[0]}", *command[1:]]


def placed(source: Mapping[str, ContextFile], origin: str, target: str, where: str) -> dict[str, ContextFile]:
    """A file or folder of the source under another name; raises `DefinitionError` where it is not there."""
    if origin == ".":
        prefix = "source/"
    elif f"source/{origin}" in source:
        return {target: source[f"source/{origin}"]}
    else:
        prefix = f"source/{origin}/"
    found = {f"{target}/{name.removeprefix(prefix)}": entry for name, entry in source.items() if name.startswith(prefix)}
    if not found:
        raise DefinitionError(
            f"{where}: {origin!r} is not in the engine's source", hint="paths here are relative to `engine.source`"
        )
    return found
