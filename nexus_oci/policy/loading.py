"""Reads policies/: the project's own files over the shipped ones, file by file, with every fault of every file at once."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from nexus_oci.definition.salvage import M, validate
from nexus_oci.definition.suggestions import did_you_mean
from nexus_oci.definition.yaml_nodes import Node, Position, Problem, read
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Digest, canonical_json, digest_of
from nexus_oci.policy.expression import Expression, ExpressionFault, compiled
from nexus_oci.policy.facts import EXAMPLES
from nexus_oci.policy.model import PROOFS, GateFile, TierRules, TiersFile, Waiver, WaiversFile

FOLDER: Final = "policies"
TIERS_FILE: Final = "policies/tiers.yaml"
GATES: Final = "policies/gates"
WAIVERS_FILE: Final = "policies/waivers.yaml"
TIER_GATES: Final = ("tier-distributions", "tier-formats", *(f"proof-{proof}" for proof in PROOFS))
"""The conditions that tiers.yaml itself makes, by the names under which they are refused and waived."""
NEVER_WAIVED: Final = frozenset({"proof-checksums", "proof-signature"})
_SHIPPED: Final = "nexus-oci's own "
_EXPRESSIONS: Final = ("when", "expression", "value")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate ready to be asked: its file, what messages call it, and its expressions with where each is written."""

    model: GateFile
    file: str
    expressions: Mapping[str, Expression]
    places: Mapping[str, str]
    limits: Mapping[str, Any]

    def evaluate(self, which: str, values: Mapping[str, Any]) -> Any:
        """The value of one of its expressions; raises `DefinitionError`, with file and line, where it has none."""
        try:
            return self.expressions[which].evaluate({**values, "limits": self.limits})
        except ExpressionFault as fault:
            raise DefinitionError(
                f"the gate {self.model.gate} is broken:", problems=(f"{self.places[which]}: {which}: {fault}",)
            ) from fault

    @property
    def limit(self) -> str:
        """What is allowed, in words, with the limits filled in."""
        text = self.model.limit
        for name, value in self.limits.items():
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            text = text.replace(f"{{{name}}}", shown)
        return text


@dataclass(frozen=True, kw_only=True)
class PlacedWaiver:
    """A waiver and where it is written; `recorded` says that a release's signed provenance holds it instead."""

    waiver: Waiver
    place: str
    recorded: bool = False

    def covers(self, gate: str, fact: Mapping[str, Any], today: date) -> bool:
        """Whether it lets a refusal by that gate pass today."""
        if self.waiver.gate != gate or today > self.waiver.until:
            return False
        return all(
            fnmatch.fnmatchcase(str(fact.get(key, "")).lstrip("/"), pattern.lstrip("/"))
            for key, pattern in self.waiver.scope.given().items()
        )

    def to_json(self) -> dict[str, Any]:
        """The waiver as provenance and reports have it."""
        one = self.waiver
        scope = one.scope.given()
        return {"gate": one.gate, "scope": scope, "owner": one.owner, "reason": one.reason, "until": one.until.isoformat()}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything under policies/ that decides about a release."""

    tiers: Mapping[str, TierRules]
    tiers_file: str
    gates: tuple[Gate, ...]
    waivers: tuple[PlacedWaiver, ...]

    @cached_property
    def digest(self) -> Digest:
        """Of all that it says."""
        return digest_of(
            canonical_json(
                {
                    "tiers": {name: rules.model_dump(mode="json") for name, rules in self.tiers.items()},
                    "gates": [gate.model.model_dump(mode="json") for gate in self.gates],
                    "waivers": [placed.to_json() for placed in self.waivers],
                }
            )
        )


def load_policy(root: Path, defaults: Path) -> Policy:
    """The policy of the project at `root`, each file over the shipped one of its name in `defaults`.

    Raises `DefinitionError` with every problem: unknown keys, expressions that are none, waivers of gates that nothing has.
    """
    loading = _Loading(root, defaults)
    tiers_file, tiers = loading.model(TIERS_FILE, TiersFile)
    gates = tuple(gate for name in loading.gate_names() if (gate := loading.gate(name)) is not None)
    names = [*(gate.model.gate for gate in gates), *TIER_GATES]
    waivers = tuple(loading.waivers(names, {gate.model.gate for gate in gates if not gate.model.waivable}))
    if loading.problems:
        count = "1 problem" if len(loading.problems) == 1 else f"{len(loading.problems)} problems"
        raise DefinitionError(f"the policies have {count}:", problems=tuple(map(str, sorted(set(loading.problems)))))
    rules = {str(name): of_tier for name, of_tier in tiers.tiers.items()} if tiers else {}
    return Policy(tiers=rules, tiers_file=tiers_file, gates=gates, waivers=waivers)


def read_waivers(data: Iterable[Any], place: str) -> tuple[PlacedWaiver, ...]:
    """The waivers that a release's provenance holds; those that are none, or of everything, are passed over."""
    from pydantic import ValidationError

    found = []
    for one in data:
        try:
            waiver = Waiver.model_validate(one)
        except ValidationError:
            continue
        if _says_something(waiver):
            found.append(PlacedWaiver(waiver=waiver, place=place, recorded=True))
    return tuple(found)


class _Loading:
    """What one call gathers."""

    def __init__(self, root: Path, defaults: Path) -> None:
        self._root, self._defaults = root, defaults
        self.problems: list[Problem] = []
        self._nodes: dict[str, Node] = {}

    def _place(self, file: str) -> tuple[Path, str] | None:
        """Where a file is, the project's own first, and what messages call it."""
        own, shipped = self._root / file, self._defaults / file
        if own.is_file():
            return own, file
        return (shipped, _SHIPPED + file) if shipped.is_file() else None

    def model(self, file: str, model: type[M]) -> tuple[str, M | None]:
        """A file, read and checked; its problems are kept."""
        found = self._place(file)
        if found is None:
            return file, None
        path, name = found
        node, problems = read(path, name)
        self.problems += problems
        if node is None:
            return name, None
        self._nodes[name] = node
        checked = validate(model, node)
        self.problems += checked.problems
        return name, checked.model if not checked.problems else None

    def gate_names(self) -> list[str]:
        """The names of all files of gates, shipped and own."""
        folders = [folder / GATES for folder in (self._defaults, self._root)]
        paths = {path.name: path for folder in folders if folder.is_dir() for path in folder.iterdir()}
        for name, path in sorted(paths.items()):
            if path.suffix == ".yml":
                place = Position(f"{GATES}/{name}", 1, 1)
                self.problems.append(Problem(place, f"the ending .yml is not read; rename it to {path.stem}.yaml"))
        return sorted(path.name for path in paths.values() if path.suffix == ".yaml")

    def gate(self, file: str) -> Gate | None:
        name, model = self.model(f"{GATES}/{file}", GateFile)
        if model is None:
            return None
        node = self._nodes[name]
        if model.gate != file.removesuffix(".yaml"):
            self._problem(node, "gate", f"gate: {model.gate!r} is in the file {file}; the two have one name")
        expressions: dict[str, Expression] = {}
        for key in _EXPRESSIONS:
            text = getattr(model, key)
            if text:
                try:
                    expressions[key] = compiled(text)
                except ExpressionFault as fault:
                    self._problem(node, key, f"{key}: {fault}")
        limits = {key: list(value) if isinstance(value, tuple) else value for key, value in model.limits.items()}
        places = {key: str(_position(node, key)) for key in _EXPRESSIONS}
        gate = Gate(model=model, file=name, expressions=expressions, places=places, limits=limits)
        self.problems += _tried(gate, node)
        return gate

    def waivers(self, gates: list[str], never: set[str]) -> Iterator[PlacedWaiver]:
        name, model = self.model(WAIVERS_FILE, WaiversFile)
        node = self._nodes.get(name)
        entries = node.entries["waivers"].value.items if node and node.entries and "waivers" in node.entries else None
        for index, waiver in enumerate(model.waivers if model else ()):
            item = entries[index] if entries else None
            place = item.position if item else Position(name, 1, 1)
            if waiver.gate not in gates:
                known = did_you_mean(waiver.gate, gates) or f"; there are {', '.join(gates)}"
                self.problems.append(Problem(place, f"gate: there is no gate {waiver.gate!r}{known}"))
            elif waiver.gate in never or waiver.gate in NEVER_WAIVED:
                self.problems.append(Problem(place, f"gate: {waiver.gate!r} cannot be waived"))
            if not _says_something(waiver):
                message = "scope: a waiver of everything is none; name a distribution, a platform, a path, a package or a digest"
                self.problems.append(Problem(place, message))
            yield PlacedWaiver(waiver=waiver, place=str(place))

    def _problem(self, node: Node, key: str, message: str) -> None:
        self.problems.append(Problem(_position(node, key), message))


def _says_something(waiver: Waiver) -> bool:
    """Whether a waiver's scope leaves anything out."""
    return any(pattern.strip("*?/") for pattern in waiver.scope.given().values())


def _position(node: Node, key: str) -> Position:
    entry = node.entries.get(key) if node.entries else None
    return entry.value.position if entry else node.position


def _tried(gate: Gate, node: Node) -> Iterator[Problem]:
    """What is wrong with a gate's expressions, found by asking them about an example."""
    kind = gate.model.applies_to
    known = {kind, "release", "tier", "limits"}
    values = {"release": EXAMPLES["release"], "tier": "", kind: EXAMPLES[kind], "limits": gate.limits}
    for key, expression in gate.expressions.items():
        unknown = sorted(expression.variables - known)
        if unknown:
            meant = did_you_mean(unknown[0], known) or f"; there are {', '.join(sorted(known))}"
            yield Problem(_position(node, key), f"{key}: there is no variable {unknown[0]!r}{meant}")
            continue
        try:
            value = expression.evaluate(values)
        except ExpressionFault as fault:
            yield Problem(_position(node, key), f"{key}: {fault}")
            continue
        wanted, words = (str, "text") if key == "value" else (bool, "true or false")
        if not isinstance(value, wanted):
            yield Problem(_position(node, key), f"{key}: gives {value!r}, and {words} is wanted")
