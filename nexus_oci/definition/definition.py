"""The definition as the rest of the program sees it: complete, checked, and able to say where each part was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_oci.definition.yaml_nodes import Node, Position
from nexus_oci.oci.values import Digest, Platform, canonical_json, digest_of

if TYPE_CHECKING:
    from nexus_oci.definition.base_model import DebianBase, ImageBase
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.definition.engine_model import Engine
    from nexus_oci.definition.entitlement_model import Entitlement
    from nexus_oci.definition.nexus_model import Chart


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Where each key was written.

    A path begins with `nexus`, `bases` or a distribution's name; keys and indexes follow.
    """

    documents: Mapping[str, Node]
    bases: Mapping[str, tuple[str, ...]]
    """For each base, the path of where it was written, as the file may be one of three."""

    def find(self, *path: str | int) -> Position:
        """The position of the key or list entry at `path`, or of the nearest one above it that was written."""
        return self._find(path)[0]

    def find_value(self, *path: str | int) -> Position:
        """The position of the value at `path`; of the nearest key above it where none was written."""
        return self._find(path)[1]

    def _find(self, path: tuple[str | int, ...]) -> tuple[Position, Position]:
        """The positions of the key and of its value."""
        start: tuple[str | int, ...] = path
        if path[0] == "bases" and len(path) > 1 and path[1] in self.bases:
            start = (*self.bases[str(path[1])], *path[2:])
        node = self.documents.get(str(start[0]))
        if node is None:
            return Position("images", 1, 1), Position("images", 1, 1)
        position = node.position
        for step in start[1:]:
            if node.entries is not None and step in node.entries:
                entry = node.entries[str(step)]
                position, node = entry.position, entry.value
            elif node.items is not None and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
                position = node.position
            else:
                return position, position
        return position, node.position


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One engine and its distributions, every default filled in."""

    engine: Engine
    distributions: tuple[Distribution, ...]
    bases: Mapping[str, DebianBase | ImageBase]
    platforms: tuple[Platform, ...]
    registry: str
    """Where releases are published, or nothing."""
    tiers: tuple[str, ...]
    tier: str | None
    """The tier that a release is held to before it is pushed, or none."""
    chart: Chart | None
    entitlement: Entitlement | None
    """What the engine asks for before it starts, or nothing."""
    root: Path
    """The project's folder, which holds `images/`."""
    defaults: Path | None
    """The folder of what the program ships; a chart that the project does not have is looked for there."""
    positions: Positions

    @cached_property
    def digest(self) -> Digest:
        """Of the canonical JSON of `effective`: two definitions that mean the same have the same digest."""
        return digest_of(canonical_json(effective(self)))

    def where(self, *path: str | int) -> str:
        """`images/runtime.yaml:3:7`: where the thing at `path` was written.

        The path begins with `nexus`, `bases` or a distribution's name: `where("runtime", "image", "user")`.
        """
        return str(self.positions.find(*path))

    def distribution(self, name: str) -> Distribution | None:
        """The distribution of that name."""
        return next((item for item in self.distributions if item.distribution == name), None)


def effective(definition: Definition) -> dict[str, Any]:
    """The definition with every default written out, as JSON data: what the digest covers.

    Blocks of runtimes that were not chosen are left out, and so are the positions and the project's folder.
    """
    engine, chart = definition.engine, definition.chart
    others = {"go", "python", "node", "binary"} - {engine.runtime}
    entitlement = definition.entitlement
    # A definition without the block is written, and so hashed, as it was before there was one.
    asked = {"entitlement": entitlement.model_dump(mode="json", by_alias=True)} if entitlement else {}
    return asked | {
        "engine": engine.model_dump(mode="json", by_alias=True, exclude=others),
        "distributions": {item.distribution: _distribution(item) for item in definition.distributions},
        "bases": {name: base.model_dump(mode="json", by_alias=True) for name, base in sorted(definition.bases.items())},
        "platforms": [str(platform) for platform in definition.platforms],
        "registry": definition.registry,
        "tiers": list(definition.tiers),
        "tier": definition.tier,
        "chart": chart.model_dump(mode="json", by_alias=True) if chart else None,
    }


def _distribution(distribution: Distribution) -> dict[str, Any]:
    others = set() if distribution.distribution == "runtime" else {"package"}
    data = distribution.model_dump(mode="json", by_alias=True, exclude=others)
    image = distribution.image
    if image.healthcheck is None and "healthcheck" in image.model_fields_set:
        # `none` and nothing differ: without a word, some templates bring a check of their own.
        data["image"]["healthcheck"] = "none"
    return data
