"""The rules of `.helmignore`, as Helm applies them (helm.sh/docs/chart_template_guide/helm_ignore_file).

Where Helm differs from .gitignore, Helm is followed: the first rule that speaks decides, and a negated rule ignores
everything that it does *not* match.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from nexus_oci.errors import DefinitionError

_ALWAYS = "templates/.?*"
"""Helm leaves hidden files out of templates/, whatever the file says."""


@dataclass(frozen=True, kw_only=True)
class _Rule:
    pattern: re.Pattern[str]
    whole_path: bool
    folders_only: bool
    negated: bool

    def matches(self, path: PurePosixPath) -> bool:
        """Whether the pattern fits the path, or its last part where the rule has no slash."""
        return bool(self.pattern.match(str(path) if self.whole_path else path.name))


@dataclass(frozen=True, kw_only=True)
class IgnoreRules:
    """The parsed rules of one chart."""

    rules: tuple[_Rule, ...]

    @classmethod
    def parse(cls, text: str) -> IgnoreRules:
        """Read a `.helmignore`; raises `DefinitionError` for a pattern that Helm refuses."""
        lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
        patterns = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
        return cls(rules=tuple(_rule(line, number) for number, line in [*patterns, (0, _ALWAYS)]))

    def ignores(self, path: PurePosixPath, *, folder: bool) -> bool:
        """Whether `path`, relative to the chart, is left out; for a folder, with all that is below it."""
        for rule in self.rules:
            if rule.negated:
                if (rule.folders_only and not folder) or not rule.matches(path):
                    return True
            elif (folder or not rule.folders_only) and rule.matches(path):
                return True
        return False


def _rule(line: str, number: int) -> _Rule:
    """One line of the file as a rule."""
    pattern = line.removeprefix("!")
    if "**" in pattern:
        raise DefinitionError(f".helmignore:{number}: {line!r} uses **", why="Helm does not know it and refuses the file")
    folders_only = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    try:
        return _Rule(
            pattern=re.compile(_translate(pattern.removeprefix("/"))),
            whole_path="/" in pattern,
            folders_only=folders_only,
            negated=line.startswith("!"),
        )
    except re.error as error:
        raise DefinitionError(f".helmignore:{number}: {line!r} is not a pattern", why=str(error)) from error


_TOKEN = re.compile(r"\\(?P<escaped>.)|\[(?P<negate>\^?)(?P<members>(?:\\.|[^\]\\])+)\]|(?P<other>.)", re.DOTALL)


def _translate(glob: str) -> str:
    """A pattern of Go's path/filepath.Match as a regular expression; no wildcard matches a slash."""
    wildcards = {"*": "[^/]*", "?": "[^/]"}
    parts = []
    for token in _TOKEN.finditer(glob):
        if token["escaped"] is not None:
            parts.append(re.escape(token["escaped"]))
        elif token["members"] is not None:
            # Brackets inside a class mean nothing to Go, and warn in Python.
            members = re.sub(r"(?<!\\)([\[&~|])", r"\\\1", token["members"])
            parts.append(f"(?!/)[{token['negate']}{members}]")
        elif token["other"] == "[":
            raise re.error("a [ without its ]", glob)
        else:
            parts.append(wildcards.get(token["other"], re.escape(token["other"])))
    return "".join(parts) + r"\Z"
