"""What a bundle's tree consists of: its sources laid over one another, and, for an archive, moved out of `usr`."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nexus_oci.staging.bundle import digest
from nexus_oci.staging.checks import Problem, conflicts
from nexus_oci.staging.tree import Item, parents


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was read of a tree that a bundle is laid out from.

    `name` is what messages call it. `moves` has folders and where they are moved to; the longest that fits counts.
    """

    name: str
    items: Sequence[Item]
    moves: Mapping[str, str] = field(default_factory=dict)


def merged(sources: Sequence[Source]) -> tuple[list[Item], list[Problem]]:
    """The items of all sources at their paths in the bundle, and every conflict between two of them."""
    whole = {path for source in sources for item in source.items for path in (item.path, *parents(item.path))}
    placed = [
        (source.name, [new for item in source.items if (new := _moved(item, source.moves, whole)) is not None])
        for source in sources
    ]
    problems = conflicts(placed, lambda item: digest(item.place))
    return sorted({item.path: item for _, items in placed for item in items}.values(), key=lambda item: item.path), problems


def _moved(item: Item, moves: Mapping[str, str], whole: Collection[str]) -> Item | None:
    """An item at its place in the bundle; a folder that is the bundle's root itself is none.

    Where things move, a link to what the bundle has becomes relative, so that it holds wherever the bundle is unpacked; a link to
    what it has not becomes absolute.
    """
    path = moved(item.path, moves)
    if path == "/":
        return None
    if item.kind != "link" or not moves:
        return replace(item, path=path)
    goal = posixpath.normpath(posixpath.join(posixpath.dirname(item.path), item.target))
    target = posixpath.relpath(moved(goal, moves), posixpath.dirname(path)) if goal in whole else goal
    return replace(item, path=path, target=target)


def moved(path: str, moves: Mapping[str, str]) -> str:
    """Where a path goes when folders move."""
    for above in (path, *parents(path)):
        if above in moves:
            return f"{moves[above].rstrip('/')}{path[len(above) :]}" or "/"
    return path
