"""The entitlement checker of a distribution: where it stands, what it is built from, and what it is told.

It is one static program in Go (dockerfiles/entitlement), compiled in a stage of its own for each target. In an image it is the
entrypoint, and it becomes the engine's command; in packages and archives it stands where the engine's program would, or before
it.
"""

from __future__ import annotations

import base64
import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nexus_oci.errors import DefinitionError, UsageError
from nexus_oci.pipeline.surroundings import engine_home, node_command
from nexus_oci.render.context import ContextFile, from_file, in_memory

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.definition.entitlement_model import Entitlement

FOLDER: Final = "entitlement"
"""Its sources in dockerfiles/ and in a build's context, and what the program is called."""
REFUSED: Final = 77
"""What it exits with where the engine may not start; starting it again would change nothing."""
BASE: Final = "go-build"
"""The base that it is compiled on."""


@dataclass(frozen=True, kw_only=True)
class Checker:
    """What stands before the engine of one distribution."""

    engine: str
    distribution: str
    tier: str
    required: bool
    entitlement: Entitlement
    link: str
    """The program that it stands in for, as installed, or nothing."""
    paths: tuple[str, ...]
    """Where that program is instead, from the checker's own folder."""
    arguments: tuple[str, ...]
    """What comes before the caller's arguments there."""
    command: tuple[str, ...]
    """The engine's command in an image."""

    @property
    def folder(self) -> str:
        """Its folder, as installed."""
        return f"/usr/libexec/{self.engine}"

    @property
    def program(self) -> str:
        """Where it is, as installed."""
        return f"{self.folder}/{FOLDER}"

    def before(self, command: Sequence[str]) -> list[str]:
        """The command with the checker in front; as it is where it begins with what the checker stands in for."""
        return list(command) if command[0] == self.link else [self.program, "--", *command]

    def values(self, base: str) -> dict[str, Any]:
        """What templates know as `entitlement`; `base` is the image that it is compiled on."""
        target = posixpath.relpath(self.program, posixpath.dirname(self.link)) if self.link else ""
        return {"base": base, "folder": self.folder, "program": self.program, "link": self.link, "target": target}

    def files(self, folders: Sequence[Path], root: Path, epoch: int) -> dict[str, ContextFile]:
        """`entitlement/` of a build's context: the sources of the first of `folders` that has them, and what is baked in.

        Raises `DefinitionError` for a key of the project at `root` that cannot be used.
        """
        own = next(folder / FOLDER for folder in folders if (folder / FOLDER).is_dir())
        sources = [
            path for path in sorted(own.iterdir()) if path.suffix in (".go", ".mod") and not path.name.endswith("_test.go")
        ]
        found = {f"{FOLDER}/{path.name}": from_file(path, 0o644) for path in sources}
        return found | {f"{FOLDER}/config.json": in_memory(self._config(public_keys(self.entitlement, root), epoch))}

    def _config(self, keys: Sequence[bytes], epoch: int) -> bytes:
        entitlement = self.entitlement
        data = {
            "engine": self.engine,
            "distribution": self.distribution,
            "tier": self.tier,
            "required": self.required,
            "epoch": epoch,
            "keys": [base64.b64encode(key).decode() for key in keys],
            "revoked": sorted(entitlement.revoked),
            "limits": dict(entitlement.limits),
            "caps": {} if self.required else dict(entitlement.caps),
            "exempt": [list(words) for words in entitlement.exempt],
            "command": list(self.command),
            "program": {"paths": list(self.paths), "arguments": list(self.arguments)},
            "state": f"/var/lib/{self.engine}",
        }
        return json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def is_checked(words: Sequence[str]) -> bool:
    """Whether a command is one with the checker in front."""
    return (
        len(words) > 2
        and posixpath.dirname(words[0]).startswith("/usr/libexec/")
        and words[1] == "--"
        and words[0].endswith(f"/{FOLDER}")
    )


def checker_of(definition: Definition, distribution: Distribution) -> Checker | None:
    """The checker of a distribution; nothing where the definition asks for no entitlement, and in those that run no engine."""
    from nexus_oci.definition.entitlement_model import FREE_TIERS, tier_of

    entitlement, engine = definition.entitlement, definition.engine
    tier = tier_of(entitlement, distribution, definition.tiers) if entitlement else None
    if entitlement is None or tier is None:
        return None
    link, paths, arguments = _stands_for(definition, distribution)
    if posixpath.basename(link) == FOLDER:
        raise DefinitionError(
            f"{definition.where('nexus', 'entitlement')}: an engine whose program is called {FOLDER!r} cannot have a checker",
            why="the checker has that name, and tells by it how it was called",
            hint="call the program otherwise",
        )
    command = list(distribution.image.command or engine.command)
    return Checker(
        engine=engine.name,
        distribution=distribution.distribution,
        tier=tier,
        required=tier not in FREE_TIERS,
        entitlement=entitlement,
        link=link,
        paths=paths,
        arguments=arguments,
        command=tuple(node_command(command, engine_home(engine)) if engine.runtime == "node" else command),
    )


def _stands_for(definition: Definition, distribution: Distribution) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What the checker stands in for, where that is instead, and what comes before the caller's arguments.

    A program of Go is moved beside the checker, which takes its place. Engines of interpreters have a launcher. A tree that was
    built elsewhere stays as it is; packages give it a command, where the definition does not.
    """
    engine = definition.engine
    if engine.runtime == "go":
        return f"/usr/bin/{engine.go.binary}", (engine.go.binary,), ()
    link = f"/usr/bin/{engine.name}"
    if engine.runtime != "binary" or distribution.distribution != "runtime" or not engine.command or _claimed(distribution, link):
        return "", (), ()
    home, name = engine_home(engine), engine.command[0]
    places = [f"{home}/{name}"] if "/" in name else [f"{home}/{name}", f"{home}/bin/{name}"]
    if name.startswith("/"):
        places = [name]
    return link, tuple(posixpath.relpath(place, f"/usr/libexec/{engine.name}") for place in places), tuple(engine.command[1:])


def _claimed(distribution: Distribution, path: str) -> bool:
    """Whether the definition puts something of its own there."""
    package = distribution.package
    overridden = {target for override in package.overrides.values() for target in override.files}
    return path in {*distribution.image.files, *package.files, *overridden}


def public_keys(entitlement: Entitlement, root: Path) -> list[bytes]:
    """The keys that verify entitlements, 32 bytes each. Raises `DefinitionError` for a file that is no Ed25519 public key."""
    from nexus_oci.pipeline.entitlements import read_key

    try:
        return [read_key(root / name, name) for name in entitlement.keys]
    except UsageError as error:
        raise DefinitionError(f"entitlement.keys: {error.what}", why=error.why, hint=error.hint) from error
