"""The engine's source: a folder of the project, or a git repository at a commit; and what git says of when it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nexus_oci.errors import DefinitionError
from nexus_oci.pipeline.contexts import Stamp
from nexus_oci.render.context import ContextFile, from_tree

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition

NO_GIT_EPOCH = 315532800
"""The time of a release whose definition is in no git repository, in seconds: 1980-01-01, which every format can say."""


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """The engine's source on disk, and what it is."""

    source: Path
    address: str
    stamp: Stamp
    dirty: bool


def check_out(
    definition: Definition, cache: Path, environment: Mapping[str, str], say: Callable[[str], None]
) -> Checkout:
    """Find, or fetch, the engine's source and decide version, commit and epoch.

    The epoch is SOURCE_DATE_EPOCH where it is set, else the time of the newest commit involved. Raises `DefinitionError`
    where the source is missing or the version cannot be told.
    """
    from nexus_oci.definition.source_control import fetch_commit, inspect, resolve_version

    source = definition.engine.source
    project = inspect(definition.root)
    commit, dirty, newest, address = project.commit, project.dirty, project.committed, ""
    if hasattr(source, "git"):
        say(f"engine source: {source.git} at {source.commit[:12]}")
        top = fetch_commit(source.git, source.commit, cache / "git")
        engine = inspect(top)
        commit, dirty, address = source.commit, False, source.git
        newest = max(filter(None, (newest, engine.committed)), default=None)
        folder, version_root = top / source.path, top
    else:
        folder, version_root = definition.root / source.path, definition.root
    if not folder.is_dir():
        raise DefinitionError(
            f"{definition.where('nexus', 'engine', 'source')}: the source {source.path!r} is not there",
            why=f"{folder} is no folder", hint="correct `engine.source` in images/nexus.yaml",
        )  # fmt: skip
    stamp = Stamp(
        version=resolve_version(definition.engine.version, version_root),
        commit=commit or "",
        epoch=_epoch(environment, newest),
    )
    return Checkout(source=folder, address=address, stamp=stamp, dirty=bool(dirty))


def source_files(definition: Definition, checkout: Checkout) -> dict[str, ContextFile]:
    """Every file of the source that a build may read, under `source/`."""
    engine = definition.engine
    files = from_tree(checkout.source, "source", engine.source.ignore)
    include: tuple[str, ...] = (".",)
    manifests: tuple[str, ...] = ()
    if engine.runtime == "python":
        include, manifests = engine.python.include, (engine.python.requirements,)
    elif engine.runtime == "node":
        include, manifests = engine.node.include, ("package.json", "package-lock.json", "npm-shrinkwrap.json")
    if "." in include:
        return files
    wanted = [PurePosixPath("source", name).parts for name in (*include, *manifests)]
    return {
        name: entry
        for name, entry in files.items()
        if any(PurePosixPath(name).parts[: len(parts)] == parts for parts in wanted)
    }


def _epoch(environment: Mapping[str, str], committed: int | None) -> int:
    text = environment.get("SOURCE_DATE_EPOCH")
    if text is None:
        return NO_GIT_EPOCH if committed is None else committed
    if not text.isdigit() or int(text) > 253402300799:
        raise DefinitionError(
            f"SOURCE_DATE_EPOCH is {text!r}", why="it is a time in whole seconds since 1970", hint="unset it, or correct it"
        )
    return int(text)
