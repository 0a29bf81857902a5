"""Turns pydantic's errors into problems: file, line, column, what was found, what was expected, what may be meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from nexus_oci.definition.distribution_model import is_secret
from nexus_oci.definition.scalars import EXPECTED
from nexus_oci.definition.suggestions import did_you_mean, nearest
from nexus_oci.definition.yaml_nodes import Node, Position, Problem

Path = tuple[str | int, ...]

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "mapping_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}
_YAML_1_1_BOOLEANS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false"))


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault that pydantic found: pydantic's name for it, its path as written, and the problem to report."""

    kind: str
    path: Path
    problem: Problem


def explain(model: type[BaseModel], root: Node, error: ValidationError) -> list[Fault]:
    """Every fault of `error`, which validating `root` against `model` raised."""
    found: list[Fault] = []
    for detail in error.errors(include_url=False, include_input=False):
        place = locate(root, detail["loc"])
        about_key = place.on_key or detail["type"] in ("missing", "extra_forbidden")
        problem = Problem(place.key if about_key else place.value, _message(model, detail, place))
        found.append(Fault(kind=detail["type"], path=place.path, problem=problem))
    return [fault for fault in found if not _follows(fault, found)]


def _follows(fault: Fault, found: list[Fault]) -> bool:
    """Whether a list counts as too short only because its entries are faulty."""
    length = len(fault.path)
    return fault.kind == "too_short" and any(len(other.path) > length and other.path[:length] == fault.path for other in found)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where pydantic's `loc` is in the nodes."""

    path: Path
    """As written: without the names of union members."""
    depth: int
    """How many steps of the path the nodes have."""
    node: Node | None
    """The node there, or None where there is none."""
    key: Position
    """The position of the nearest key or list entry that was written."""
    value: Position
    """The position of its value."""
    on_key: bool
    """Whether the fault is in the key itself."""


def locate(root: Node, loc: Path) -> Place:
    """Follow pydantic's `loc` into the nodes."""
    steps = tuple(step for step in loc if not _is_tag(step))
    on_key = steps[-1:] == ("[key]",)
    path = steps[:-1] if on_key else steps
    node: Node | None = root
    key = value = root.position
    depth = 0
    for step in path:
        if node is not None and node.entries is not None and isinstance(step, str) and step in node.entries:
            entry = node.entries[step]
            key, node = entry.position, entry.value
        elif node is not None and node.items is not None and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            key = node.position
        else:
            return Place(path=path, depth=depth, node=None, key=key, value=value, on_key=on_key)
        value = node.position
        depth += 1
    return Place(path=path, depth=depth, node=node, key=key, value=value, on_key=on_key)


def _is_tag(step: str | int) -> bool:
    """Whether a step of pydantic's `loc` is the name of a union member: ours are in angle brackets."""
    return isinstance(step, str) and step.startswith("<") and step.endswith(">")


def _message(model: type[BaseModel], detail: ErrorDetails, place: Place) -> str:
    kind, path, node = detail["type"], place.path, place.node
    if kind == "extra_forbidden":
        return _unknown_key(model, detail["loc"], path)
    if kind == "missing":
        return f"{_shown(path[:-1])}the key {str(path[-1])!r} is missing"
    if place.on_key:
        said = _said(detail, "a key") if kind == "value_error" else f"expected {_expectation(detail)}"
        return f"{_shown(path[:-1])}found the key {str(path[-1])!r}, {said}"
    found = _found(path, node)
    shown = _shown(path[: place.depth])
    if kind == "value_error":
        return f"{shown}{_said(detail, found)}"
    return f"{shown}found {found}, expected {_expectation(detail)}{_advice(detail, path, node)}"


def _shown(path: Path) -> str:
    """The path as a prefix: `image.ports[1]: `."""
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else step
    return f"{text}: " if text else ""


def _found(path: Path, node: Node | None) -> str:
    """What stands there; never the value of what may be a secret."""
    if node is None:
        return "nothing"
    return "a value that may be a secret" if _may_be_secret(path) else node.describe()


def _may_be_secret(path: Path) -> bool:
    return any(isinstance(step, str) and is_secret(step) for step in path)


def _said(detail: ErrorDetails, found: str) -> str:
    """A validator's own words, with what was found before them where they only say what was expected."""
    message = str(detail.get("ctx", {}).get("error") or detail["msg"])
    return f"found {found}, {message}" if message.startswith("expected ") else message


def _expectation(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _WANTED:
        return _WANTED[kind]
    if kind == "string_pattern_mismatch":
        return EXPECTED.get(str(context.get("pattern")), f"text that matches {context.get('pattern')}")
    if kind == "literal_error":
        return _alternatives(_choices(detail))
    if kind == "too_short":
        return "at least one entry"
    if kind == "string_too_short":
        return "text that is not empty"
    if kind in ("greater_than_equal", "less_than_equal"):
        limit = context.get("ge", context.get("le"))
        return f"a number that is {'at least' if 'ge' in context else 'at most'} {limit}"
    message = detail["msg"]
    return message[:1].lower() + message[1:] if not message.startswith(("{", "HOST")) else message


def _choices(detail: ErrorDetails) -> list[str]:
    return list(filter(None, re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))))


def _alternatives(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _advice(detail: ErrorDetails, path: Path, node: Node | None) -> str:
    if _may_be_secret(path):
        return "; put it in quotes"
    return _trap(detail["type"], node) + _meant(detail, node)


def _trap(kind: str, node: Node | None) -> str:
    """The usual YAML traps, by name."""
    if node is None:
        return ""
    if kind in ("string_type", "shape") and isinstance(node.scalar, float):
        number = f"{node.scalar:g}"
        return f'; without quotes YAML reads {node.text} as a number, {number}, and loses the rest: write "{node.text}"'
    if kind == "string_type" and isinstance(node.scalar, bool | int):
        return f'; put it in quotes: "{node.text}"'
    if kind == "bool_type" and isinstance(node.scalar, str) and node.text.lower() in _YAML_1_1_BOOLEANS:
        word = "true" if node.text.lower() in ("y", "yes", "on", "true") else "false"
        return f"; in YAML 1.2 {node.text} is text: write {word}"
    if kind == "tuple_type" and isinstance(node.scalar, str | int) and not isinstance(node.scalar, bool):
        return f"; write [{node.text}]"
    return ""


def _meant(detail: ErrorDetails, node: Node | None) -> str:
    if detail["type"] != "literal_error" or node is None or not isinstance(node.scalar, str):
        return ""
    return did_you_mean(node.scalar, _choices(detail))


def _unknown_key(model: type[BaseModel], loc: Path, path: Path) -> str:
    key = str(path[-1])
    here = list(_models_at(model, tuple(loc[:-1])))
    keys = sorted({str(field.alias) for candidate in here for field in candidate.model_fields.values()})
    shown = f"{_shown(path[:-1])}unknown key {key!r}"
    below = [parent for candidate in here for parent in _parents_of(candidate, key)]
    if below:
        return f"{shown}; it goes under {below[0]!r}"
    near = nearest(key, keys)
    if near:
        return f"{shown}; did you mean {near!r}?"
    return f"{shown}; expected {_alternatives(keys)}"


def _parents_of(model: type[BaseModel], key: str) -> Iterator[str]:
    """The keys of `model` whose own mappings have `key`."""
    for field in model.model_fields.values():
        for child in _models(field.annotation):
            if any(inner.alias == key for inner in child.model_fields.values()):
                yield str(field.alias)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of this annotation may be, itself or as a member of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for member in get_args(annotation):
            yield from _models(member)


def _models_at(annotation: Any, loc: Path) -> Iterator[type[BaseModel]]:
    """The models that pydantic had at `loc`, by walking the annotations as it did."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _models_at(get_args(annotation)[0], loc)
    elif origin in (Union, UnionType):
        tag = loc[0] if loc and isinstance(loc[0], str) and loc[0].startswith("<") else None
        for member in get_args(annotation):
            if tag is None:
                yield from _models_at(member, loc)
            elif any(isinstance(extra, Tag) and extra.tag == tag for extra in getattr(member, "__metadata__", ())):
                yield from _models_at(member, loc[1:])
    elif origin is tuple:
        yield from _models_at(get_args(annotation)[0], loc[1:])
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from _models_at(get_args(annotation)[1], loc[1:])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            yield annotation
        for field in annotation.model_fields.values():
            if loc and field.alias == loc[0]:
                yield from _models_at(field.annotation, loc[1:])
