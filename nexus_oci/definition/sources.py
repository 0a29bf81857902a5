"""Whether the files are there that a definition names. Asked before a build, so that it does not end in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.definition.engine_model import FileVersion, GitSource, PathSource
from nexus_oci.definition.suggestions import did_you_mean
from nexus_oci.definition.yaml_nodes import Problem

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.definition.distribution_model import Distribution, Policies
    from nexus_oci.definition.package_model import Package


def missing(definition: Definition, root: Path, source: Path | None) -> tuple[Problem, ...]:
    """Every file and folder that is named and not there, or that leads out of the project through a link."""
    return tuple(_missing(definition, root, source))


def _missing(definition: Definition, root: Path, source: Path | None) -> Iterator[Problem]:
    look = _Looking(definition, root)
    engine = definition.engine
    written = "nexus", "engine", "source"
    if isinstance(engine.source, PathSource):
        if not (root / engine.source.path).is_dir():
            yield look.problem(
                f"engine.source: the folder {engine.source.path!r} is not there",
                root,
                engine.source.path,
                *written,
                "path",
            )
        else:
            source = root / engine.source.path
            yield from look.escapes(root, engine.source.path, *written, "path")
    if isinstance(engine.version, FileVersion) and not isinstance(engine.source, GitSource):
        yield from look.file(root, engine.version.file, "engine.version.file", "nexus", "engine", "version", "file")
    if definition.chart is not None:
        yield from _chart(look, definition, root)
    for index, key in enumerate(definition.entitlement.keys if definition.entitlement else ()):
        yield from look.file(root, key, "entitlement.keys", "nexus", "entitlement", "keys", index)
    if source is not None:
        yield from _runtime(look, definition, source)
        yield from _distributions(look, definition, source)


def _chart(look: _Looking, definition: Definition, root: Path) -> Iterator[Problem]:
    chart = definition.chart
    folders = [root] + ([definition.defaults] if definition.defaults else [])
    if chart and not any((folder / chart.path / "Chart.yaml").is_file() for folder in folders):
        yield look.problem(
            f"chart: there is no chart in {chart.path!r}; it would have a Chart.yaml",
            root,
            chart.path,
            "nexus",
            "chart",
            "path",
        )


def _runtime(look: _Looking, definition: Definition, source: Path) -> Iterator[Problem]:
    """What the engine's runtime needs in the source."""
    engine = definition.engine
    if engine.runtime == "go":
        yield from look.file(source, "go.mod", "engine.source", "nexus", "engine", "source")
        yield from look.folder(source, engine.go.package, "engine.go.package", "nexus", "engine", "go", "package")
    elif engine.runtime == "python":
        python = engine.python
        if python.requirements != "none":
            where = "nexus", "engine", "python", "requirements"
            yield from look.file(source, python.requirements, "engine.python.requirements", *where)
        if python.project and not any((source / name).is_file() for name in ("pyproject.toml", "setup.py")):
            yield look.problem(
                "engine.python.project: the source has no pyproject.toml",
                source,
                "pyproject.toml",
                "nexus",
                "engine",
                "python",
                "project",
            )
        yield from look.all(source, python.include, "engine.python.include", "nexus", "engine", "python", "include")
    elif engine.runtime == "node":
        yield from look.file(source, "package.json", "engine.source", "nexus", "engine", "source")
        if engine.node.entry:
            yield from look.file(source, engine.node.entry, "engine.node.entry", "nexus", "engine", "node", "entry")
        yield from look.all(source, engine.node.include, "engine.node.include", "nexus", "engine", "node", "include")
    else:
        for platform, tree in engine.binary.trees.items():
            yield from look.folder(source, tree, "engine.binary.trees", "nexus", "engine", "binary", "trees", platform)


def _distributions(look: _Looking, definition: Definition, source: Path) -> Iterator[Problem]:
    for item in definition.distributions:
        name = item.distribution
        for target, path in item.image.files.items():
            yield from look.anything(source, path, "image.files", name, "image", "files", target)
        if item.policies is not None:
            yield from _policies(look, definition, item, item.policies)
        if name == "runtime":
            for path, key, where in _packaged(item.package):
                yield from look.anything(source, path, f"package.{key}", name, "package", *where)


def _policies(look: _Looking, definition: Definition, item: Distribution, policies: Policies) -> Iterator[Problem]:
    folders = [folder for folder in (definition.root, definition.defaults) if folder]
    for path, where in [(policies.path, ("path",)), *((key, ("keys", n)) for n, key in enumerate(policies.keys))]:
        if not any((folder / path).exists() for folder in folders):
            label = ".".join(["policies", str(where[0])])
            yield look.problem(
                f"{label}: {path!r} is not in the project", definition.root, path, item.distribution, "policies", *where
            )


def _packaged(package: Package) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Every path of the source that a package names, with its key and where it is written below `package`."""
    for target, file in package.files.items():
        yield file.source, "files", ("files", target, "source")
    for format_, override in package.overrides.items():
        for target, file in override.files.items():
            yield file.source, f"overrides.{format_}.files", ("overrides", format_, "files", target, "source")
        for key, path in override.scripts.model_dump(by_alias=True).items():
            yield path, f"overrides.{format_}.scripts.{key}", ("overrides", format_, "scripts", key)
    blocks = {"scripts": package.scripts, "completions": package.completions}
    for name, block in blocks.items():
        for key, path in block.model_dump(by_alias=True).items():
            yield path, f"{name}.{key}", (name, key)
    for name, unit in (("service", package.service), ("socket", package.socket)):
        if unit is not None:
            yield unit.unit, f"{name}.unit", (name, "unit")
    for name, paths in (("manual", package.manual), ("licences", package.licences or ())):
        for index, path in enumerate(paths):
            yield path, name, (name, index)
    yield package.changelog, "changelog", ("changelog",)


class _Looking:
    """Looks for files, and says where the missing ones were named."""

    def __init__(self, definition: Definition, root: Path) -> None:
        self._definition = definition
        self._root = root.resolve()

    def problem(self, message: str, folder: Path, path: str, *where: str | int) -> Problem:
        """A problem at `where`, with the nearest name that is there."""
        parent = (folder / path).parent
        names = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
        return Problem(self._definition.positions.find(*where), message + did_you_mean(Path(path).name, names))

    def file(self, folder: Path, path: str, key: str, *where: str | int) -> Iterator[Problem]:
        if not (folder / path).is_file():
            yield self._wrong("file", folder, path, key, *where)
        else:
            yield from self.escapes(folder, path, *where)

    def folder(self, folder: Path, path: str, key: str, *where: str | int) -> Iterator[Problem]:
        if not (folder / path).is_dir():
            yield self._wrong("folder", folder, path, key, *where)
        else:
            yield from self.escapes(folder, path, *where)

    def anything(self, folder: Path, path: str, key: str, *where: str | int) -> Iterator[Problem]:
        if not path:
            return
        if not (folder / path).exists():
            yield self.problem(f"{key}: {path!r} is not in the engine's source", folder, path, *where)
        else:
            yield from self.escapes(folder, path, *where)

    def _wrong(self, kind: str, folder: Path, path: str, key: str, *where: str | int) -> Problem:
        if (folder / path).exists():
            return Problem(self._definition.positions.find(*where), f"{key}: {path!r} is not a {kind}")
        return self.problem(f"{key}: the {kind} {path!r} is not there", folder, path, *where)

    def all(self, folder: Path, paths: tuple[str, ...], key: str, *where: str | int) -> Iterator[Problem]:
        for index, path in enumerate(paths):
            yield from self.anything(folder, path, key, *where, index)

    def escapes(self, folder: Path, path: str, *where: str | int) -> Iterator[Problem]:
        """A link may stand for a path, but only for one inside what is built from."""
        allowed = [self._root, folder.resolve()]
        target = (folder / path).resolve()
        if not any(target.is_relative_to(inside) for inside in allowed):
            yield Problem(self._definition.positions.find(*where), f"{path!r} is a link that leads out of the project")
