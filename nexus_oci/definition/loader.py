"""Reads `images/`: every file, every fault of every file at once, and then one complete definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nexus_oci.definition.base_model import BasesFile
from nexus_oci.definition.completion import complete_chart, complete_distribution, complete_engine
from nexus_oci.definition.definition import Definition, Positions
from nexus_oci.definition.distribution_model import ALL_DISTRIBUTIONS, Distribution
from nexus_oci.definition.nexus_model import NexusFile
from nexus_oci.definition.references import References, check
from nexus_oci.definition.salvage import Checked, M, validate
from nexus_oci.definition.suggestions import nearest
from nexus_oci.definition.yaml_nodes import Node, Position, Problem, read
from nexus_oci.errors import DefinitionError

if TYPE_CHECKING:
    from nexus_oci.definition.base_model import DebianBase, ImageBase

NEXUS_FILE: Final = "images/nexus.yaml"
BASES_FILE: Final = "images/bases.yaml"
_SHIPPED_BASES: Final = f"nexus-oci's own {BASES_FILE}"
_MAX_PROBLEMS: Final = 100
_MAX_LINE: Final = 1000
"""Characters. A key or a value may be as long as its file."""

_EXAMPLE = f"""put a line `distribution: container` into images/container.yaml, and lines like these into {NEXUS_FILE}:
         engine:
           name: my-engine
           version: 1.0.0
           source: .
           runtime: python
           command: [python3, server.py]"""


def load_definition(root: Path, defaults: Path | None) -> Definition:
    """See `nexus_oci.definition.load`."""
    root = root.absolute()
    _require(root)
    loading = _Loading(root)
    nexus = loading.nexus()
    bases = loading.bases(defaults, nexus)
    distributions = loading.distributions()
    positions = Positions(documents=loading.documents, bases=loading.base_paths)
    problems = [
        *loading.problems,
        *check(
            References(
                nexus=nexus,
                distributions=distributions,
                bases=bases,
                base_names=loading.base_names,
                positions=positions,
            )
        ),
    ]
    if problems:
        raise _faulty(root, problems)
    if nexus.model is None:  # pragma: no cover  a file with no model has problems
        raise DefinitionError(f"the definition in {root} cannot be read")
    engine = complete_engine(nexus.model.engine)
    models = [checked.model for _, checked in distributions if checked.model is not None]
    completed = [complete_distribution(model, engine, nexus.model) for model in models]
    completed.sort(key=lambda item: ALL_DISTRIBUTIONS.index(item.distribution))
    return Definition(
        engine=engine,
        distributions=tuple(completed),
        bases=bases,
        platforms=nexus.model.platforms,
        registry=nexus.model.registry,
        tiers=nexus.model.tiers,
        tier=nexus.model.tier,
        chart=complete_chart(nexus.model.chart, tuple(completed)),
        entitlement=nexus.model.entitlement,
        root=root,
        defaults=defaults,
        positions=positions,
    )


def _faulty(root: Path, problems: Sequence[Problem]) -> DefinitionError:
    """All problems in the order of files and lines; of a file that is no definition at all, only the first ones."""
    lines = list(dict.fromkeys(str(problem) for problem in sorted(problems)))
    shown = [line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}..." for line in lines[:_MAX_PROBLEMS]]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return DefinitionError(f"the definition in {root} has {count}:", problems=tuple(shown))


def _require(root: Path) -> None:
    """Raise `DefinitionError` where there is no definition at all."""
    if (root / NEXUS_FILE).exists():
        return
    hint = _EXAMPLE
    above = next((folder for folder in root.parents if (folder / NEXUS_FILE).is_file()), None)
    misnamed = next((name for name in ("nexus.yml", "images/nexus.yml", "nexus.yaml") if (root / name).is_file()), None)
    if above:
        hint = f"the folder {above} has one: use -C {above}"
    elif misnamed:
        hint = f"there is {misnamed}: rename it to {NEXUS_FILE}"
    raise DefinitionError(f"there is no definition in {root}", why=f"looked for {root / NEXUS_FILE}", hint=hint)


class _Loading:
    """What one call gathers: documents by key, and problems."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.problems: list[Problem] = []
        self.documents: dict[str, Node] = {}
        self.base_paths: dict[str, tuple[str, ...]] = {}
        self.base_names: frozenset[str] | None = frozenset()

    def nexus(self) -> Checked[NexusFile]:
        """images/nexus.yaml."""
        node = self._read(self._root / NEXUS_FILE, NEXUS_FILE)
        if node is None:
            return Checked(model=None, dropped=frozenset(), problems=())
        self.documents["nexus"] = node
        return self._validate(NexusFile, node)

    def bases(self, defaults: Path | None, nexus: Checked[NexusFile]) -> dict[str, DebianBase | ImageBase]:
        """The shipped bases, the project's file over them, nexus.yaml's over both; those that are faulty left out."""
        found: dict[str, DebianBase | ImageBase] = {}
        for key, name, path in self._base_files(defaults):
            node = self._read(path, name)
            if node is None:
                self.base_names = None
                continue
            self.documents[key] = node
            model = self._validate(BasesFile, node).model
            found |= self._placed(key, model.bases if model else {})
        found |= self._placed("nexus", nexus.model.bases if nexus.model else {})
        return dict(sorted(found.items()))

    def distributions(self) -> list[tuple[str, Checked[Distribution]]]:
        """Every other file of images/ that has `distribution:`, by the key of its document."""
        found: list[tuple[str, Checked[Distribution]]] = []
        for path in self._listed():
            name = f"images/{path.name}"
            if path.suffix == ".yml" and path.stem in ("bases", *ALL_DISTRIBUTIONS):
                self._problem(name, f"the ending .yml is not read; rename it to images/{path.stem}.yaml")
            if path.suffix != ".yaml" or name in (NEXUS_FILE, BASES_FILE):
                continue
            node = self._read(path, name)
            if node is None or not self._is_distribution(path.stem, node):
                continue
            checked = self._validate(Distribution, node)
            key = checked.model.distribution if checked.model and checked.intact("distribution") else name
            key = name if key in self.documents else key
            self.documents[key] = node
            found.append((key, checked))
        if not found and not self.problems:
            self._problem(NEXUS_FILE, "no distribution is defined; write `distribution: container` into images/container.yaml")
        return found

    def _listed(self) -> list[Path]:
        try:
            return sorted((self._root / "images").iterdir())
        except OSError as error:
            self._problem("images", f"the folder cannot be listed: {error.strerror}")
            return []

    def _is_distribution(self, stem: str, node: Node) -> bool:
        """Whether the file is one; a file that was surely meant to be is a problem instead."""
        keys = node.entries or {}
        if "distribution" in keys:
            return True
        near = nearest("distribution", keys)
        if near:
            place = keys[near].position
            self.problems.append(Problem(place, f"unknown key {near!r}; did you mean 'distribution'?"))
        elif stem in ALL_DISTRIBUTIONS:
            self.problems.append(Problem(node.position, f"the key 'distribution' is missing; write `distribution: {stem}`"))
        return False

    def _base_files(self, defaults: Path | None) -> Iterator[tuple[str, str, Path]]:
        own = self._root / BASES_FILE
        shipped = defaults / BASES_FILE if defaults else None
        if shipped and shipped.exists() and not (own.exists() and own.samefile(shipped)):
            yield "shipped-bases", _SHIPPED_BASES, shipped
        if own.exists():
            yield "bases", BASES_FILE, own

    def _placed(self, key: str, bases: Mapping[str, DebianBase | ImageBase]) -> Mapping[str, DebianBase | ImageBase]:
        """Note where these bases were written, and the names of those beside them that are faulty."""
        node = self.documents.get(key)
        section = node.entries.get("bases") if node and node.entries else None
        written = section.value.entries or {} if section else {}
        self.base_paths |= {name: (key, "bases", name) for name in written}
        if self.base_names is not None:
            self.base_names |= written.keys()
        return bases

    def _read(self, path: Path, name: str) -> Node | None:
        node, problems = read(path, name)
        self.problems += problems
        return node

    def _validate(self, model: type[M], node: Node) -> Checked[M]:
        checked = validate(model, node)
        self.problems += checked.problems
        return checked

    def _problem(self, name: str, message: str) -> None:
        self.problems.append(Problem(Position(name, 1, 1), message))
