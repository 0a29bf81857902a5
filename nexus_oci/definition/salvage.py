"""Keeps checking a file that has faults: the faulty parts are taken out, and the rest becomes a model all the same.

So one run reports the unknown key in one place and the missing base in another, and nobody corrects a definition fault
by fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from nexus_oci.definition.explain import Path, explain
from nexus_oci.definition.yaml_nodes import Node, Problem

M = TypeVar("M", bound=BaseModel)

_STAND_INS: Final[dict[str, Any]] = {"name": "engine", "version": "0.0.0", "source": {"path": "."}, "runtime": "binary"}
"""Values for required keys of the engine that are missing or wrong; no check looks at them."""
_ROUNDS = 8


@dataclass(frozen=True, kw_only=True)
class Checked(Generic[M]):
    """What came of a file: the model where there is one, the paths that were taken out of it, and its problems."""

    model: M | None
    dropped: frozenset[Path]
    problems: tuple[Problem, ...]

    def intact(self, *path: str) -> bool:
        """Whether nothing was taken out at `path`, above it or below it."""
        return all(dropped[: len(path)] != path[: len(dropped)] for dropped in self.dropped)


def validate(model: type[M], root: Node) -> Checked[M]:
    """Validate a file against its model; `model` in the result is None only where nothing could be saved."""
    data = root.plain()
    problems: list[Problem] = []
    dropped: set[Path] = set()
    for attempt in range(_ROUNDS):
        try:
            valid = model.model_validate(data)
        except ValidationError as error:
            faults = explain(model, root, error)
            # Once something was taken out, what is then missing is our doing; checks that only now could run are not.
            problems += [fault.problem for fault in faults if attempt == 0 or fault.kind == "value_error"]
            for fault in faults:
                dropped.add(_take_out(data, fault.path))
        else:
            return Checked(model=valid, dropped=frozenset(dropped), problems=tuple(problems))
    return Checked(model=None, dropped=frozenset(dropped), problems=tuple(problems))


def _take_out(data: Any, path: Path) -> Path:
    """Remove what is at `path`, or the whole list that it is in, or its mapping where it is missing; return which.

    What the engine cannot be without is replaced by a stand-in.
    """
    holder = data
    for depth, step in enumerate(path):
        here = path[: depth + 1]
        if not isinstance(holder, dict) or step not in holder:
            return path if _stand_in(data, path) else _take_out(data, path[:depth]) if depth else path
        inner = holder[step]
        if here == path or not isinstance(inner, dict):
            del holder[step]
            _stand_in(data, here)
            return here
        holder = inner
    return path


def _stand_in(data: Any, path: Path) -> bool:
    """Put a stand-in for a key of the engine, or for the whole engine, in its place; False where there is none."""
    if path == ("engine",):
        data["engine"] = dict(_STAND_INS)
    elif len(path) == 2 and path[0] == "engine" and path[1] in _STAND_INS:
        data["engine"][path[1]] = _STAND_INS[path[1]]
    else:
        return False
    return True
