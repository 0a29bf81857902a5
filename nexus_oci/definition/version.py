"""The engine's version: a literal, a file, or git's tags.

From tags: a clean checkout at a tag has the tag's version, the highest where there are several. Anything else is on its
way to the next version and sorts after the tag and before that version: after v1.2.3 comes `1.2.4-dev.N.gCOMMIT`, after
v1.3.0-rc.1 comes `1.3.0-rc.1.dev.N.gCOMMIT`, N being the number of commits since; `.dirty` follows where files were
changed. There is no `+` in it, so the same text is a tag in a registry. Without any tag it is `0.0.0-dev.N.gCOMMIT`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import semver

from nexus_oci.definition.engine_model import FileVersion, GitSource
from nexus_oci.definition.scalars import semantic_version
from nexus_oci.definition.source_control import SourceState, Tags, inspect, tags
from nexus_oci.errors import DefinitionError

if TYPE_CHECKING:
    from nexus_oci.definition.engine_model import Engine

_MAX_VERSION_FILE = 1024


def resolve_version(
    engine: Engine,
    root: Path,
    git: Callable[[Path], SourceState] = inspect,
    *,
    checkout: Path | None = None,
    git_tags: Callable[[Path, str], Tags] = tags,
) -> str:
    """The version of `engine`, a semantic version without a `v`.

    `root` is the project's folder. `checkout` is the root of the fetched repository for an engine whose source is one:
    its version file and its tags are meant then. `git` and `git_tags` ask git about a folder.
    Raises `DefinitionError` where the file, or git, gives no semantic version.
    """
    if isinstance(engine.version, str):
        return engine.version
    folder = root if checkout is None or not isinstance(engine.source, GitSource) else checkout
    if isinstance(engine.version, FileVersion):
        return _from_file(folder, engine.version.file)
    if not isinstance(engine.source, GitSource):
        folder = root / engine.source.path
    return _from_tags(folder, engine.version.prefix, git(folder), git_tags)


def _from_file(folder: Path, name: str) -> str:
    path = folder / name
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_VERSION_FILE).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(
            f"the version file {name} cannot be read",
            why=getattr(error, "strerror", None) or "it is not UTF-8 text",
            hint="let `engine.version` name a file that holds the version and nothing else",
        ) from error
    try:
        return semantic_version(text)
    except ValueError as error:
        raise DefinitionError(f"{name}:1:1: the file holds no version", why=str(error)[:300]) from error


def _from_tags(folder: Path, prefix: str, state: SourceState, git_tags: Callable[[Path, str], Tags]) -> str:
    if state.commit is None:
        raise DefinitionError(
            "the version comes from git's tags, and git knows nothing",
            why=state.fault,
            hint="write the version itself, as in `version: 1.0.0`, or {file: PATH}",
        )
    found = git_tags(folder, prefix)
    here = sorted(_parsed(tag, prefix) for tag in found.here)
    if here and not state.dirty:
        return str(here[-1])
    if not here and found.before is None and state.shallow:
        raise DefinitionError(
            f"there is no tag {prefix}MAJOR.MINOR.PATCH, and the repository is a shallow clone",
            why="its tags may have been left out",
            hint="run `git fetch --unshallow --tags`, or clone with the whole history",
        )
    before = here[-1] if here else _parsed(found.before, prefix) if found.before else None
    suffix = f"dev.{0 if here else found.distance}.g{state.commit[:7]}{'.dirty' if state.dirty else ''}"
    if before is None:
        return f"0.0.0-{suffix}"
    if before.prerelease:
        return str(before.replace(prerelease=f"{before.prerelease}.{suffix}", build=None))
    return str(before.bump_patch().replace(prerelease=suffix))


def _parsed(tag: str, prefix: str) -> semver.Version:
    try:
        return semver.Version.parse(semantic_version(tag.removeprefix(prefix)))
    except ValueError as error:
        raise DefinitionError(
            f"the tag {tag!r} gives no version",
            why=str(error),
            hint=f"tag the commit {prefix}MAJOR.MINOR.PATCH, as in {prefix}1.0.0, or change `engine.version.prefix`",
        ) from error
