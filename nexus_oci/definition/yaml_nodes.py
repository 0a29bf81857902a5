"""Reads a YAML file into nodes that remember where they stand, and refuses what a definition should never hold.

YAML 1.2.2, core schema (section 10.3), narrowed: only `true` and `false` are booleans, so `on`, `yes` and `no` stay
text; a number that readers disagree about (`0755`, `0x1F`, `1_000`) is refused. Tags, merge keys, several documents in
one file and keys that are no text are refused too. Every limit is checked while the file streams in, before memory is
spent on it.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

MAX_FILE_SIZE: Final = 1024 * 1024
"""Bytes. Checked with `stat`, before a byte is read."""
MAX_NODES: Final = 10_000
"""Values in one file, counted as if every alias were written out."""
MAX_DEPTH: Final = 50
"""Levels of nesting, aliases written out."""

Plain = str | int | float | bool | None
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_DISPUTED = re.compile(r"[-+]?0[0-9]+\Z|0[xob][0-9a-fA-F_]+\Z|[-+]?[0-9][0-9_]*_[0-9_]*\Z")
_MAX_DIGITS = 18
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: about eight times faster."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file: what to call the file, and line and column, both counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """`file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of a definition, and where it is."""

    position: Position
    message: str

    def __str__(self) -> str:
        """`file:line:column: message`."""
        return f"{self.position}: {self.message}"


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list or a mapping, and where it begins. `text` is a scalar as it was written."""

    position: Position
    scalar: Plain = None
    text: str = ""
    items: tuple[Node, ...] | None = None
    entries: dict[str, Entry] | None = None
    size: int = 1
    depth: int = 1

    def plain(self) -> Any:
        """The node as plain Python data."""
        if self.entries is not None:
            return {key: entry.value.plain() for key, entry in self.entries.items()}
        if self.items is not None:
            return [item.plain() for item in self.items]
        return self.scalar

    def describe(self) -> str:
        """What was found here, for a message."""
        if self.entries is not None:
            return "a mapping"
        if self.items is not None:
            return "a list"
        if self.scalar is None:
            return "nothing"
        if isinstance(self.scalar, str):
            shown = self.scalar if len(self.scalar) <= 60 else self.scalar[:57] + "..."
            return f"the text {shown!r}"
        return self.text if isinstance(self.scalar, bool) else f"the number {self.text}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, where the key stands, and its value."""

    position: Position
    value: Node


class _RefusedError(Exception):
    """The file cannot be read on from here."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(position, message)


@dataclass(slots=True)
class _Open:
    """A list or a mapping whose end has not come yet."""

    mapping: bool
    position: Position
    anchor: str | None
    children: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


def read(path: Path, name: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """Read the YAML file at `path`, called `name` in messages.

    Returns the root node, always a mapping, and the problems; with problems that end the reading the node is None.
    """
    problems: list[Problem] = []
    try:
        text = _text(path, name)
        root = _Composer(text, name, problems).compose()
    except _RefusedError as error:
        return None, (*problems, error.problem)
    return root, tuple(problems)


def _text(path: Path, name: str) -> str:
    """The file's text, after the checks that need no parser."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _RefusedError(Position(name, 1, 1), "is not a regular file")
        if status.st_size > MAX_FILE_SIZE:
            raise _RefusedError(
                Position(name, 1, 1),
                f"has {status.st_size} bytes; a definition file may have {MAX_FILE_SIZE}. Is it one at all?",
            )
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise _RefusedError(Position(name, 1, 1), f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_SIZE:
        raise _RefusedError(Position(name, 1, 1), f"grew over {MAX_FILE_SIZE} bytes while it was read")
    try:
        data = data.removeprefix(b"\xef\xbb\xbf")
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(errors="replace")
        raise _RefusedError(
            _at(name, before), f"found the byte 0x{data[error.start]:02x}, which is not UTF-8; save the file as UTF-8"
        ) from error
    bad = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if bad:
        raise _RefusedError(_at(name, text[: bad.start()]), f"found the control character U+{ord(bad[0]):04X}; YAML allows none")
    return text


def _at(name: str, before: str) -> Position:
    """The position right after the text `before`."""
    return Position(name, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


class _Composer:
    """Builds nodes from libyaml's events with a stack of its own, so that no nesting can overflow Python's."""

    def __init__(self, text: str, name: str, problems: list[Problem]) -> None:
        self._text = text
        self._name = name
        self._problems = problems
        self._anchors: dict[str, Node | None] = {}
        self._stack: list[_Open] = []
        self._root: Node | None = None
        self._count = 0

    def compose(self) -> Node:
        """Read the one document; raises `_RefusedError` where that cannot be done."""
        documents = 0
        for event in self._events():
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _RefusedError(self._mark(event.start_mark), "a second document begins; a file holds one")
            elif isinstance(event, yaml.AliasEvent):
                node = self._alias(event)
                self._add(node, self._mark(event.start_mark), node.size)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar_event(event)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._start(event)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self._end()
        if self._root is None:
            raise _RefusedError(Position(self._name, 1, 1), "the file is empty; expected a mapping of keys to values")
        if self._root.entries is None:
            raise _RefusedError(self._root.position, f"found {self._root.describe()}, expected a mapping of keys to values")
        return self._root

    def _events(self) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(self._text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            raise _RefusedError(*self._syntax(error)) from error
        except yaml.YAMLError as error:
            raise _RefusedError(Position(self._name, 1, 1), f"is not YAML: {' '.join(str(error).split())}") from error

    def _syntax(self, error: yaml.MarkedYAMLError) -> tuple[Position, str]:
        """A syntax error in words that say what to do, where the usual causes can be told."""
        mark = error.problem_mark or error.context_mark
        position = self._mark(mark) if mark else Position(self._name, 1, 1)
        problem = str(error.problem or error.context)
        lines = self._text.splitlines()
        line = lines[position.line - 1] if position.line <= len(lines) else ""
        found = line[position.column - 1 : position.column]
        if "\t" in (found, line[:1]) and "tab" in problem + ("tab" if found == "\t" else ""):
            return position, "found a tab; YAML is indented with spaces only"
        if "cannot start any token" in problem and found:
            return position, f"found {found!r} at the start of a value; put the value in quotes"
        if "nesting depth" in problem:  # the library's own limit, which it may meet before a value is seen here
            return position, f"is nested more than {MAX_DEPTH} levels deep"
        if "mapping values are not allowed" in problem:
            return position, "found a second ':' in one value, or a wrong indentation; put a text with ': ' in quotes"
        began = ""
        if error.context and error.context_mark and error.context_mark is not mark:
            began = f" ({error.context}, begun on line {error.context_mark.line + 1})"
        return position, f"is not YAML: {problem}{began}"

    def _problem(self, position: Position, message: str) -> None:
        self._problems.append(Problem(position, message))

    def _mark(self, mark: Any) -> Position:
        return Position(self._name, mark.line + 1, mark.column + 1)

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        position = self._mark(event.start_mark)
        if event.tag and event.tag not in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._problem(position, f"found the tag {event.tag!r}; a definition has no tags")
        if len(self._stack) >= MAX_DEPTH:
            raise _RefusedError(position, f"is nested more than {MAX_DEPTH} levels deep")
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(isinstance(event, yaml.MappingStartEvent), position, event.anchor))

    def _end(self) -> None:
        opened = self._stack.pop()
        if opened.mapping:
            node = Node(opened.position, entries=self._entries(opened), size=opened.size, depth=opened.depth)
        else:
            node = Node(opened.position, items=tuple(opened.children), size=opened.size, depth=opened.depth)
        if opened.anchor:
            self._anchors[opened.anchor] = node
        self._add(node, node.position, 1)

    def _scalar_event(self, event: yaml.ScalarEvent) -> None:
        position = self._mark(event.start_mark)
        value: Plain = event.value
        if event.tag and event.tag not in ("!", "tag:yaml.org,2002:str"):
            self._problem(position, f"found the tag {event.tag!r}; a definition has no tags")
        elif event.implicit[0]:
            value = self._resolve(event.value, position)
        node = Node(position, scalar=value, text=event.value)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._add(node, position, 1)

    def _resolve(self, text: str, position: Position) -> Plain:
        """What an unquoted scalar means."""
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _DISPUTED.match(text):
            self._problem(
                position,
                f'found the unquoted number {text}, which YAML readers understand differently; write "{text}" in quotes',
            )
            return text
        if _INTEGER.match(text) and len(text) <= _MAX_DIGITS:
            return int(text)
        return float(text.replace(".in", "in").replace(".nan", "nan").lower()) if _is_float(text) else text

    def _alias(self, event: yaml.AliasEvent) -> Node:
        position = self._mark(event.start_mark)
        if event.anchor not in self._anchors:
            raise _RefusedError(position, f"found the alias '*{event.anchor}', but nothing before it is '&{event.anchor}'")
        node = self._anchors[event.anchor]
        if node is None:
            raise _RefusedError(position, f"found the alias '*{event.anchor}' inside of what it stands for")
        return node

    def _add(self, node: Node, position: Position, cost: int) -> None:
        """Hand a finished node to whatever holds it; `cost` is how many values it adds to what was counted before."""
        self._count += cost
        if self._count > MAX_NODES:
            raise _RefusedError(
                position, f"the file holds more than {MAX_NODES} values, counting each alias as what it stands for"
            )
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        parent.children.append(node)
        parent.size += node.size
        parent.depth = max(parent.depth, node.depth + 1)
        if parent.depth + len(self._stack) > MAX_DEPTH + 1:
            raise _RefusedError(position, f"is nested more than {MAX_DEPTH} levels deep")

    def _entries(self, opened: _Open) -> dict[str, Entry]:
        """Pair keys with values; keys that are no text and keys written twice become problems."""
        entries: dict[str, Entry] = {}
        for key, value in zip(opened.children[::2], opened.children[1::2], strict=True):
            if not isinstance(key.scalar, str):
                self._problem(key.position, f"found {key.describe()} as a key, expected text; put it in quotes")
            elif key.text == "<<":
                self._problem(key.position, "found a merge key '<<', which YAML 1.2 does not have; write its keys out")
            elif key.scalar in entries:
                first = entries[key.scalar].position
                self._problem(key.position, f"the key {key.scalar!r} is written twice in one mapping, first on line {first.line}")
            else:
                entries[key.scalar] = Entry(key.position, value)
        return entries


def _is_float(text: str) -> bool:
    return bool(_FLOAT.match(text)) or bool(_INTEGER.match(text))
