"""What two bundles differ in, by their inventories alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nexus_oci.bundle.inventory import Inventory
from nexus_oci.oci.values import Descriptor, Digest


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Names with what they lead to in the first and the second bundle (None: nothing), and contents that only one carries."""

    names: dict[str, tuple[Digest | None, Digest | None]]
    removed: tuple[Descriptor, ...]
    added: tuple[Descriptor, ...]

    def to_json(self) -> dict[str, Any]:
        """The comparison for machines; sizes in bytes."""
        return {
            "names": {name: {"before": before, "after": after} for name, (before, after) in self.names.items()},
            "removed": [one.to_json() for one in self.removed],
            "added": [one.to_json() for one in self.added],
            "removedBytes": sum(one.size for one in self.removed),
            "addedBytes": sum(one.size for one in self.added),
        }

    def lines(self) -> list[str]:
        """The comparison for people."""
        lines = []
        for name, (before, after) in self.names.items():
            sign = "+" if before is None else "-" if after is None else "~"
            lines.append(f"{sign} {name}  " + " → ".join(one.short for one in (before, after) if one is not None))
        lines += [f"- {one.digest}  {one.size} bytes  {one.media_type}" for one in self.removed]
        lines += [f"+ {one.digest}  {one.size} bytes  {one.media_type}" for one in self.added]
        return lines or ["no difference"]


def compare(before: Inventory, after: Inventory) -> Comparison:
    """Compare two inventories."""
    names = {}
    for name in sorted({*before.names, *after.names}):
        old, new = before.names.get(name), after.names.get(name)
        if old is None or new is None or old.digest != new.digest:
            names[name] = (old.digest if old else None, new.digest if new else None)
    first = {one.digest: one for one in before.contents}
    second = {one.digest: one for one in after.contents}
    return Comparison(
        names=names,
        removed=tuple(one for digest, one in first.items() if digest not in second),
        added=tuple(one for digest, one in second.items() if digest not in first),
    )
