"""Sets scalars in YAML text and leaves every other character, comments included, as it is.

The text is parsed into nodes, which know where they stand; only the characters of the scalars named are replaced, and
the result is parsed again to prove that nothing else changed. YAML 1.1, as PyYAML and Helm read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import yaml

from nexus_oci.errors import DefinitionError

_Edit = tuple[int, int, str]
"""First character, character after the last, and what comes between them."""


def set_scalars(text: str, values: Mapping[str, object], *, file: str) -> str:
    """`text` with the scalars that `values` names replaced; the rest is kept character by character.

    `values` is nested as the document is: `{"image": {"digest": "sha256:…"}}`. Its leaves are strings, whole
    numbers, booleans or None. `file` is named in errors. Raises `DefinitionError` where the text is not YAML, a key is
    missing or given twice, or what stands there is not a plain or quoted scalar of its own.
    """
    root = _compose(text, file)
    if not isinstance(root, yaml.MappingNode):
        raise DefinitionError(f"{file} is not a mapping of keys to values", why=f"the document is a {_kind(root)}")
    shared = _shared(root)
    wanted = dict(_leaves(values))
    edits = [_edit(_find(root, path, shared, file), path, value, file) for path, value in wanted.items()]
    edited = text
    for start, end, replacement in sorted(edits, reverse=True):
        edited = edited[:start] + replacement + edited[end:]
    if not _only_scalars_changed(text, edited, edits):
        paths = ", ".join(".".join(path) for path in wanted)
        raise DefinitionError(
            f"{paths} cannot be set in {file} without changing something else",
            why="a value there is written in a way that cannot be replaced on its own, as with an anchor (&name)",
            hint="write it plainly, on a line of its own",
        )
    return edited


def _compose(text: str, file: str) -> yaml.Node:
    """The document's node tree. Aliases are shared nodes here, so an alias bomb costs nothing."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DefinitionError(f"{file} is not YAML", why=" ".join(str(error).split())[:300]) from error
    if node is None:
        raise DefinitionError(f"{file} is empty", why="a mapping of keys to values is needed")
    return node


def _leaves(values: Mapping[str, object], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Path and value of every leaf of a nested mapping, in order."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _shared(root: yaml.Node) -> frozenset[int]:
    """Identities of the nodes that stand in more than one place, through an alias."""
    seen, shared, waiting = set(), set(), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            shared.add(id(node))
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting.extend(part for pair in node.value for part in pair)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
    return frozenset(shared)


def _find(root: yaml.MappingNode, path: tuple[str, ...], shared: frozenset[int], file: str) -> yaml.Node:
    """The node at `path`, found among the mapping's own keys; merged keys (`<<`) are somebody else's text."""
    node: yaml.Node = root
    for depth, key in enumerate(path):
        name = ".".join(path[: depth + 1])
        if not isinstance(node, yaml.MappingNode):
            raise DefinitionError(
                f"{file}:{_place(node)}: {'.'.join(path[:depth])} is a {_kind(node)}, not a mapping",
                why=f"{name} is looked for in it",
            )
        found = [value for name_node, value in node.value if name_node.value == key]
        if not found:
            raise DefinitionError(
                f"{file} has no key {name}",
                why="only a key that is there can be set, so that the comments around it stay true",
                hint=f"add {name} to {file}, with an empty value",
            )
        if len(found) > 1:
            raise DefinitionError(f"{file}:{_place(found[-1])}: {name} is given twice", hint="keep one of them")
        node = found[0]
        if id(node) in shared:
            raise DefinitionError(
                f"{file}:{_place(node)}: {name} is used in several places",
                why="an alias (*name) repeats it, so that setting one would change the others",
                hint=f"write {name} out in full",
            )
    return node


def _edit(node: yaml.Node, path: tuple[str, ...], value: object, file: str) -> _Edit:
    """Where `node` stands, and the text to put there."""
    name = ".".join(path)
    if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
        raise DefinitionError(
            f"{file}:{_place(node)}: {name} is a {_kind(node)}", why="a plain or quoted value is needed in its place"
        )
    start, end = node.start_mark.index, node.end_mark.index
    # An empty value has no characters: it stands directly after its key's colon.
    return start, end, (" " if start == end else "") + _scalar(value, name)


def _scalar(value: object, name: str) -> str:
    """One value as YAML; a string is always quoted, so that it stays one."""
    if isinstance(value, str):
        return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**31).rstrip("\n")
    if value is None or isinstance(value, int):
        return json.dumps(value)
    raise DefinitionError(
        f"{name} cannot be set to a {type(value).__name__}", why="a string, a whole number, a boolean or None is needed"
    )


def _only_scalars_changed(before: str, after: str, edits: list[_Edit]) -> bool:
    """Whether the two documents differ in the values of as many scalars as were edited, and in nothing else."""
    try:
        old, new = list(_events(before)), list(_events(after))
        yaml.compose(after, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return False
    if len(old) != len(new):
        return False
    changed = [(left, right) for left, right in zip(old, new, strict=True) if left != right]
    return len(changed) <= len(edits) and all(left[:2] == right[:2] for left, right in changed)


def _events(text: str) -> Iterator[tuple[str, str | None, object]]:
    """Kind, anchor and value of each event of the document."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        yield type(event).__name__, getattr(event, "anchor", None), getattr(event, "value", None)


def _kind(node: yaml.Node) -> str:
    """What a node is, in a user's words."""
    if isinstance(node, yaml.ScalarNode):
        return "block of text" if node.style in ("|", ">") else "single value"
    return "list" if isinstance(node, yaml.SequenceNode) else "mapping"


def _place(node: yaml.Node) -> str:
    """Line and column of a node, both from 1."""
    return f"{node.start_mark.line + 1}:{node.start_mark.column + 1}"
