"""What a build is given: the values its template is rendered with, and the files of its context.

The context has `source/` (the engine's source), `files/` (what the image adds, where it goes), `package/` (what packages add),
`nexus/` (the program's own scripts), `entitlement/` (the checker, where there is one) and `trust/` (the host's; added when the
build is sent, and in no key).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.checker import Checker, checker_of
from nexus_oci.pipeline.packaging import Packaging, packs
from nexus_oci.pipeline.surroundings import NOTHING, engine_home, node_command, placed, surroundings
from nexus_oci.render.context import Context, ContextFile, folder, in_memory

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.definition.distribution_model import Distribution

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}
_NODE_CPUS = {"amd64": "x64", "386": "ia32", "ppc64le": "ppc64"}
_SCRIPTS = {"python": "python_install.py", "node": "npm_target.cjs"}
"""What a runtime's template runs in its build stage, from dockerfiles/."""
_MANAGERS = ("npm", "npx", "yarn", "pnpm")
_NODE_FILES = ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
_KEEP_MODE = ("/", "/tmp", "/var/tmp", "/root", "/run/lock")  # noqa: S108  paths in an image
"""Folders of a base whose mode is not 0755: a working directory there is not made, as it would change that."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What a release says about when and from what it was made."""

    version: str
    commit: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class StartingPoints:
    """The local names that a Dockerfile may start from, for one target platform."""

    base: str
    build_base: str | None
    toolbox: str | None
    build_platform: Platform
    buildkit: bool
    checker_base: str | None = None
    """What the entitlement checker is compiled on, where the engine has one."""


def template_values(
    definition: Definition,
    distribution: Distribution,
    platform: Platform,
    source: Mapping[str, ContextFile],
    stamp: Stamp,
    images: StartingPoints,
    packaging: Packaging | None = None,
) -> dict[str, Any]:
    """Everything that a template may use. Default: packages that know of no interpreter's version."""
    engine, image = definition.engine, distribution.image
    home = engine_home(engine)
    packaging = packaging or _packaging(definition, distribution, platform, source, stamp)
    checker = checker_of(definition, distribution)
    values: dict[str, Any] = {
        "engine": {"name": engine.name, "version": stamp.version, "commit": stamp.commit},
        "platform": {"os": platform.os, "architecture": platform.architecture, "variant": platform.variant or ""},
        "machine": _MACHINES.get(platform.architecture, platform.architecture),
        "build_platform": str(images.build_platform),
        "buildkit": images.buildkit,
        "base": images.base,
        "build_base": images.build_base,
        "toolbox": images.toolbox,
        "home": home,
        "has_files": bool(image.files or image.volumes or image.working_directory or distribution.policies),
        "formats": [name for name in distribution.formats if name != "image"],
        "image": _image_values(definition, distribution, home, source, checker),
        "package": packaging.values() if packs(distribution) else None,
        "entitlement": checker.values(images.checker_base or "") if checker else None,
    }
    if distribution.distribution != "sdk":
        values[engine.runtime] = _runtime_values(definition, platform, source, stamp, checker)
    return values


def build_context(
    definition: Definition,
    distribution: Distribution,
    platform: Platform,
    source: Mapping[str, ContextFile],
    stamp: Stamp,
    folders: Sequence[Path],
    packaging: Packaging | None = None,
) -> Context:
    """The context without `trust/`: all of it decides bytes. Scripts of the templates are those of the first folder with them."""
    files = dict(source)
    image = distribution.image
    for target, origin in image.files.items():
        files |= placed(source, origin, f"files{target}", definition.where(distribution.distribution, "image", "files", target))
    if image.working_directory and posixpath.normpath(image.working_directory) not in _KEEP_MODE:
        files.setdefault(f"files{image.working_directory}", folder())
    for volume in image.volumes:
        files[f"files{volume}"] = folder(0o750, image.user)
    script = _SCRIPTS.get(definition.engine.runtime) if distribution.distribution != "sdk" else None
    if script:
        files[f"nexus/{script}"] = in_memory(next(f / script for f in folders if (f / script).is_file()).read_bytes())
    checker = checker_of(definition, distribution)
    if checker:
        files |= checker.files(folders, definition.root, stamp.epoch)
    packaging = packaging or _packaging(definition, distribution, platform, source, stamp)
    files |= {f"files{path}": entry for path, entry in packaging.added.items()}
    return Context(files=files | packaging.files() if packs(distribution) else files)


def _packaging(
    definition: Definition, distribution: Distribution, platform: Platform, source: Mapping[str, ContextFile], stamp: Stamp
) -> Packaging:
    return Packaging(definition=definition, distribution=distribution, platform=platform, source=source, stamp=stamp)


def _image_values(
    definition: Definition, distribution: Distribution, home: str, source: Mapping[str, ContextFile], checker: Checker | None
) -> dict[str, Any]:
    engine, image = definition.engine, distribution.image
    runtime = "" if distribution.distribution == "sdk" else engine.runtime
    command = list(image.command or (engine.command if runtime else ()))
    around = surroundings(engine) if runtime else NOTHING
    if runtime == "node":
        _refuse_package_manager(definition, command, source)
        command = node_command(command, home)
    if not command and runtime:
        raise DefinitionError(
            f"{definition.where('nexus', 'engine')}: the engine has no command",
            why="an image has to know what it runs",
            hint="set `engine.command: [PROGRAM, ARGUMENTS…]`",
        )
    return {
        "command": checker.before(command) if checker else command,
        "arguments": list(image.arguments),
        "user": f"{image.user}:{image.user if image.group is None else image.group}",
        "working_directory": image.working_directory or around.work,
        "path": around.path,
        "environment": {**around.environment, **image.environment},
        "ports": list(image.ports),
        "volumes": _volumes(runtime, distribution),
        "stop_signal": image.stop_signal,
        "healthcheck": _healthcheck(runtime, distribution),
    }


def _volumes(runtime: str, distribution: Distribution) -> list[str]:
    """What the definition says; where it says nothing, an interpreter's image can write to /tmp under a read-only root."""
    image = distribution.image
    if "volumes" not in image.model_fields_set and runtime in ("python", "node"):
        return ["/tmp"]  # noqa: S108  a path in the image
    return list(image.volumes)


def _refuse_package_manager(definition: Definition, command: list[str], source: Mapping[str, ContextFile]) -> None:
    """`npm start` is a line of package.json; raises `DefinitionError` with that line, as npm is in no image."""
    if not command or command[0] not in _MANAGERS:
        return
    names = [word for word in command[1:] if word not in ("run", "run-script", "exec") and not word.startswith("-")]
    script = _package_json(source).get("scripts", {}).get(names[0] if names else "start")
    hint = "write the command that it runs"
    if isinstance(script, str):
        hint += f": package.json says {json.dumps(script)}"
        if not re.search(r"[&|;<>$`\"'\\=]", script):
            hint += f", which is `command: {json.dumps(script.split())}`"
    raise DefinitionError(
        f"{definition.where('nexus', 'engine', 'command')}: the image cannot run `{' '.join(command)}`",
        why=f"{command[0]} is used to build the image, and is not in it",
        hint=hint,
    )


def _package_json(source: Mapping[str, ContextFile]) -> dict[str, Any]:
    entry = source.get("source/package.json")
    if entry is None or entry.path is None:
        return {}
    try:
        found = json.loads(entry.path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DefinitionError("the engine's package.json is no JSON", why=str(error)) from error
    return found if isinstance(found, dict) else {}


def _healthcheck(runtime: str, distribution: Distribution) -> dict[str, Any] | None:
    """What the definition says; where it says nothing, an interpreter's image knocks at its first TCP port."""
    image = distribution.image
    if image.healthcheck is not None:
        check = image.healthcheck
        return {
            "command": list(check.command),
            "interval": check.interval,
            "timeout": check.timeout,
            "retries": check.retries,
            "start_period": check.start_period,
        }
    port = next((entry.partition("/")[0] for entry in image.ports if entry.endswith("/tcp")), None)
    if "healthcheck" in image.model_fields_set or port is None or runtime not in ("python", "node"):
        return None
    knock = {
        "python": ["python3", "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"],
        "node": [
            "node",
            "-e",
            f"require('net').connect({port},'127.0.0.1').on('connect',()=>process.exit(0)).on('error',()=>process.exit(1))",
        ],
    }
    return {"command": knock[runtime], "interval": "30s", "timeout": "5s", "retries": 3, "start_period": "5s"}


def _runtime_values(
    definition: Definition, platform: Platform, source: Mapping[str, ContextFile], stamp: Stamp, checker: Checker | None
) -> dict[str, Any]:
    engine = definition.engine
    if engine.runtime == "go":
        go = engine.go
        filled = {k: v.format(version=stamp.version, commit=stamp.commit) for k, v in go.variables.items()}
        words = ["-s", "-w", "-buildid=", *(f"-X '{key}={value}'" for key, value in sorted(filled.items()))]
        return {
            "package": go.package,
            "binary": go.binary or engine.name,
            "folder": checker.folder if checker else "/usr/bin",
            "tags": list(go.tags),
            "ldflags": " ".join(words),
        }
    if engine.runtime == "python":
        python = engine.python
        requirements = "" if python.requirements == "none" else python.requirements
        manifests = requirement_files(source, requirements) if requirements else []
        return {"requirements": requirements, "manifests": manifests, "project": python.project}
    if engine.runtime == "node":
        if "source/package.json" not in source:
            raise DefinitionError(
                f"{definition.where('nexus', 'engine', 'source')}: the source has no package.json",
                why="npm installs what package.json asks for",
            )
        manifests = [name for name in _NODE_FILES if f"source/{name}" in source]
        package = _package_json(source)
        if "workspaces" in package or '"file:' in json.dumps(package.get("dependencies", {})):
            inner = [name.removeprefix("source/") for name in source if name.endswith("/package.json")]
            manifests += sorted(set(inner) - set(manifests))
        cpu = _NODE_CPUS.get(platform.architecture, platform.architecture)
        locked = not {"package-lock.json", "npm-shrinkwrap.json"}.isdisjoint(manifests)
        return {"manifests": manifests, "locked": locked, "cpu": cpu}
    tree = engine.binary.trees.get(str(platform))
    if tree is None:
        raise DefinitionError(
            f"{definition.where('nexus', 'engine', 'binary')}: there is no tree for {platform}",
            hint=f"add it under `engine.binary.trees`, or leave {platform} out of the platforms",
        )
    return {"tree": tree}


def requirement_files(source: Mapping[str, ContextFile], first: str) -> list[str]:
    """The requirements file and those that it includes (-r, -c), as paths in the source.

    Raises `DefinitionError` for one that is not there, and for a requirement that is a path: only the files themselves are read.
    """
    found: list[str] = []
    queue = [(first, "engine.python.requirements")]
    while queue:
        name, named_by = queue.pop(0)
        entry = source.get(f"source/{name}")
        if entry is None or entry.path is None:
            raise DefinitionError(
                f"the requirements file {name!r} is not in the engine's source",
                why=f"{named_by} names it",
                hint="add the file, or correct its name",
            )
        found.append(name)
        for number, line in enumerate(entry.path.read_text(errors="replace").splitlines(), 1):
            included = re.match(r"\s*(?:--requirement|--constraint|-r|-c)[\s=]*([^\s#]+)", line)
            if included and "://" not in included[1]:
                target = posixpath.normpath(str(PurePosixPath(name).parent / included[1]))
                if target not in {*found, *(queued for queued, _ in queue)}:
                    queue.append((target, f"{name}:{number}"))
            elif re.match(r"\s*(?:(?:-e|--editable)[\s=]|\.{1,2}(?:/|\s|\[|$)|file:)", line):
                raise DefinitionError(
                    f"{name}:{number}: {line.strip()!r} is a folder of the source",
                    why="requirements are installed apart from the source, so a folder cannot be one of them",
                    hint="take that line out; `python: {project: true}` installs the source's own project",
                )
    return found
