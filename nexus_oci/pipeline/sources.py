"""The engine's source: a folder of the project, or a git repository at a commit; and what git says of when it was made."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nexus_oci.errors import DefinitionError, UnreachableError
from nexus_oci.pipeline.contexts import Stamp, requirement_files
from nexus_oci.render.context import ALWAYS_IGNORED, VERSION_CONTROL, ContextFile, from_tree

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


def check_out(definition: Definition, cache: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> Checkout:
    """Find, or fetch, the engine's source and decide version, commit and epoch.

    The epoch is SOURCE_DATE_EPOCH where it is set, else the time of the newest commit involved. Raises `DefinitionError`
    where the source is missing or the version cannot be told.
    """
    from nexus_oci.definition.engine_model import GitSource, GitVersion
    from nexus_oci.definition.source_control import inspect
    from nexus_oci.definition.version import resolve_version

    engine = definition.engine
    source = engine.source
    state = inspect(definition.root)
    times = [state.time]
    commit, dirty, address, top = state.commit, bool(state.dirty), state.address or "", None
    if isinstance(source, GitSource):
        say(f"engine source: {source.git} at {source.commit[:12]}")
        top = fetch_commit(source.git, source.commit, cache / "git", with_tags=isinstance(engine.version, GitVersion))
        times.append(inspect(top).time)
        commit, dirty, address = source.commit, False, source.git
    folder = (top or definition.root) / source.path
    if not folder.is_dir():
        raise DefinitionError(
            f"{definition.where('nexus', 'engine', 'source')}: the source {source.path!r} is not there",
            why="no folder of that name is there",
            hint="correct `engine.source` in images/nexus.yaml",
        )
    stamp = Stamp(
        version=resolve_version(engine, definition.root, checkout=top),
        commit=commit or "",
        epoch=_epoch(environment, max((time for time in times if time is not None), default=None)),
    )
    return Checkout(source=folder, address=address, stamp=stamp, dirty=dirty)


def fetch_commit(address: str, commit: str, cache: Path, *, with_tags: bool) -> Path:
    """The work tree of a git repository at `commit`, fetched once and kept; raises `UnreachableError` or `DefinitionError`."""
    target = cache / hashlib.sha256(f"{address} {commit} {with_tags}".encode()).hexdigest()[:32]
    if (target / ".git").is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
        tree = Path(scratch) / "tree"
        _git("init", "--quiet", str(tree))
        depth = ["--tags"] if with_tags else ["--depth=1", "--no-tags"]
        wanted = [address] if with_tags else [address, commit]
        _git("-C", str(tree), "fetch", "--quiet", *depth, "--", *wanted)
        _git("-C", str(tree), "checkout", "--quiet", "--detach", commit)
        with contextlib.suppress(OSError):
            tree.rename(target)
    return target


def _git(*arguments: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603  no shell; the address was checked by the definition
            ["git", *arguments],  # noqa: S607  the user's git, as PATH has it
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=1800,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DefinitionError("the engine's source cannot be fetched", why=f"git does not run: {error}") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise UnreachableError(
            "the engine's source cannot be fetched",
            why=f"git said: {lines[-1][:300] if lines else 'nothing'}",
            hint="check `engine.source.git` and `engine.source.commit`, and that git may read that repository from here",
        )


def source_files(
    definition: Definition, checkout: Checkout, look: Callable[[str, int], None] | None = None
) -> dict[str, ContextFile]:
    """Every file of the source that a build may read, under `source/`; `look` is as in `from_tree`."""
    engine = definition.engine
    # A tree that was built elsewhere is taken whole: it may well carry its own node_modules.
    always = VERSION_CONTROL if engine.runtime == "binary" else ALWAYS_IGNORED
    files = from_tree(checkout.source, "source", engine.source.ignore, always=always, look=look)
    definitions = _definition_files(definition, checkout.source)
    files = {name: entry for name, entry in files.items() if not _below(name, definitions)}
    include: tuple[str, ...] = (".",)
    manifests: list[str] = []
    if engine.runtime == "python":
        include = engine.python.include
        if "." not in include and engine.python.requirements != "none":
            manifests = requirement_files(files, engine.python.requirements)
    elif engine.runtime == "node":
        include, manifests = engine.node.include, ["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"]
    if "." in include:
        return files
    wanted = [f"source/{name}" for name in (*include, *manifests)]
    return {name: entry for name, entry in files.items() if _below(name, wanted)}


def _definition_files(definition: Definition, source: Path) -> list[str]:
    """What in the source is the definition's, not the engine's: where the source is the project's folder or one around it."""
    root = definition.root.resolve()
    if not root.is_relative_to(source.resolve()):
        return []
    top = PurePosixPath("source", root.relative_to(source.resolve()).as_posix())
    names = ["nexus.yaml", "bases.yaml", "bases.lock", *(f"{item.distribution}.yaml" for item in definition.distributions)]
    found = [top / "images" / name for name in names]
    found += [top / "dockerfiles" / path.name for path in (root / "dockerfiles").glob("*.j2")]
    if definition.chart is not None:
        found.append(top / definition.chart.path)
    return [str(path) for path in found]


def _below(name: str, paths: Iterable[str]) -> bool:
    """Whether a file is one of `paths`, or in a folder of them."""
    parts = PurePosixPath(name).parts
    return any(parts[: len(path.parts)] == path.parts for path in map(PurePosixPath, paths))


def _epoch(environment: Mapping[str, str], committed: int | None) -> int:
    text = environment.get("SOURCE_DATE_EPOCH")
    if text is None:
        return NO_GIT_EPOCH if committed is None else committed
    if not text.isdigit() or int(text) > 253402300799:
        raise DefinitionError(
            f"SOURCE_DATE_EPOCH is {text!r}", why="it is a time in whole seconds since 1970", hint="unset it, or correct it"
        )
    return int(text)
