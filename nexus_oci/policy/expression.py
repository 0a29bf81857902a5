"""Expressions in CEL (github.com/google/cel-spec), compiled and evaluated within limits.

CEL itself ends: it has no loops but over lists that are there, and its patterns take linear time. What is left to bound is how
much an expression can multiply: its length, how deep it is nested, and how many loops it has, two of which inside one another are
as much as the lists of a release allow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nexus_oci.policy.model import MOST_EXPRESSION

MOST_LOOPS: Final = 2
MOST_DEPTH: Final = 30
_TEXTS: Final = re.compile(r"""(?s)[rb]*(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_LOOP: Final = re.compile(r"\.\s*(all|exists|exists_one|existsOne|map|filter)\s*\(\s*(\w+)\s*,")
_NUMBER: Final = re.compile(r"^ERROR: <input>:(\d+):(\d+): ")


class ExpressionFault(Exception):  # noqa: N818  it is translated where the file is known
    """An expression is wrong, or cannot be evaluated; the text says why, in one line."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A compiled expression, its text, and the variables that it names."""

    text: str
    variables: frozenset[str]
    program: Any

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Its value for these variables, as plain data; raises `ExpressionFault`."""
        try:
            return self.program.execute(dict(values))
        except KeyError as error:
            raise ExpressionFault(f"nothing is called {error.args[0]!r}; where it may be missing, ask has(…) first") from error
        except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, OverflowError) as error:
            raise ExpressionFault(" ".join(str(error).split())[:300]) from error


def compiled(text: str) -> Expression:
    """An expression ready to be evaluated; raises `ExpressionFault` where it is none, or over a limit."""
    import cel

    if len(text) > MOST_EXPRESSION:
        raise ExpressionFault(f"it has {len(text)} characters; {MOST_EXPRESSION} are allowed")
    bare = _TEXTS.sub('""', text)
    loops = _LOOP.findall(bare)
    if len(loops) > MOST_LOOPS:
        raise ExpressionFault(f"it has {len(loops)} loops ({', '.join(name for name, _ in loops)}); {MOST_LOOPS} are allowed")
    if _depth(bare) > MOST_DEPTH:
        raise ExpressionFault(f"it is nested more than {MOST_DEPTH} levels deep")
    try:
        program = cel.compile(text)
    except ValueError as error:
        raise ExpressionFault(_syntax(str(error), text)) from error
    bound = {name for _, name in loops}
    return Expression(text=text, variables=frozenset(set(program.variables()) - bound), program=program)


def _depth(text: str) -> int:
    """How deep brackets, signs and negations are nested."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    longest = max((len(run) for run in re.findall(r"(?:[!-]\s*)+", text)), default=0)
    return max(deepest, longest, text.count("?"))


def _syntax(message: str, text: str) -> str:
    """The parser's own words, without the expression that it repeats."""
    found = message.rpartition(f"{text}': ")[2] if f"{text}': " in message else message
    first = found.splitlines()[0] if found else message
    place = _NUMBER.match(first)
    shown = first.partition(", expecting")[0].partition(" expecting {")[0]
    return f"line {place[1]}, column {place[2]} of the expression: {shown[place.end() :]}" if place else shown[:300]
