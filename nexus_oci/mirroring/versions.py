"""Ranges of versions (semver 2.0.0), as people write them: `>=1.2 <2`, `^1.4`, `~1.4.2`, `1.4.x`, `1.2 || 1.4`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import semver

from nexus_oci.errors import UsageError

_CLAUSE = re.compile(r"(?P<sign>>=|<=|>|<|=|\^|~)?\s*v?(?P<version>[0-9xX*][0-9A-Za-z.+*-]*)\Z")
_NUMBERS = re.compile(r"(\d+)(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?\Z")
_ANY = frozenset("xX*")
_PLAIN = re.compile(r"v?(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\Z")
Precedence = tuple[int, int, int, tuple[tuple[int, int, str], ...]]
"""What versions are ordered by, in a form that compares fast: registries have very many tags."""
_Test = Callable[[Precedence], bool]


def version_of(tag: str) -> semver.Version | None:
    """The version that a tag says, with or without a leading v; `_` stands for `+` there. None for other tags."""
    if plain := _PLAIN.match(tag):
        return semver.Version(int(plain[1]), int(plain[2]), int(plain[3]))
    try:
        return semver.Version.parse(tag.removeprefix("v").replace("_", "+"))
    except ValueError:
        return None


def precedence(version: semver.Version) -> Precedence:
    """The order of versions (semver 2.0.0, 11): a version comes after its own pre-releases."""
    if not version.prerelease:
        return version.major, version.minor, version.patch, ((2, 0, ""),)
    parts = (part if not part.isdigit() else int(part) for part in version.prerelease.split("."))
    words = tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in parts)
    return version.major, version.minor, version.patch, words


@dataclass(frozen=True, kw_only=True)
class VersionRange:
    """Some versions. Pre-releases are among them only where a clause names one of the same version, as in `>=2.0.0-rc.1`."""

    text: str
    alternatives: tuple[tuple[_Test, ...], ...]
    previews: frozenset[tuple[int, int, int]]

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Read a range; raises `UsageError` that says which part is wrong."""
        previews: set[tuple[int, int, int]] = set()
        alternatives = []
        for part in text.split("||"):
            # A sign may stand apart from its version.
            words = re.sub(r"(>=|<=|>|<|=|\^|~)\s+", r"\1", part.replace(",", " ")).split()
            if not words:
                raise _unreadable(text, "a part of it is empty")
            alternatives.append(tuple(test for word in words for test in _clause(word, text, previews)))
        return cls(text=text, alternatives=tuple(alternatives), previews=frozenset(previews))

    def __contains__(self, version: semver.Version) -> bool:
        """Whether a version is one of them."""
        if version.prerelease and (version.major, version.minor, version.patch) not in self.previews:
            return False
        found = precedence(version)
        return any(all(test(found) for test in tests) for tests in self.alternatives)


def _clause(word: str, text: str, previews: set[tuple[int, int, int]]) -> list[_Test]:
    """The tests of one clause."""
    if word in _ANY:
        return [lambda _: True]
    found = _CLAUSE.match(word)
    if found is None:
        raise _unreadable(text, f"{word!r} is not a version with a sign before it")
    sign, written = found["sign"] or "=", found["version"]
    low, high, given = _span(written, text)
    if low.prerelease:
        previews.add((low.major, low.minor, low.patch))
    if sign == "^":
        high = _caret(low, given)
    elif sign == "~":
        high = low.bump_minor() if given > 1 else low.bump_major()
    first, after = precedence(low), precedence(high)
    if sign == ">=":
        return [lambda found: found >= first]
    if sign == "<":
        return [lambda found: found < first]
    if sign == ">":
        return [lambda found: found > first] if given == 3 else [lambda found: found >= after]
    if sign == "<=":
        return [lambda found: found <= first] if given == 3 else [lambda found: found < after]
    if sign == "=" and given == 3:
        return [lambda found: found == first]
    return [lambda found: found >= first, lambda found: found < after]


def _span(written: str, text: str) -> tuple[semver.Version, semver.Version, int]:
    """The first version that is meant, the first one after, and how many numbers were given."""
    numbers = _NUMBERS.match(written)
    if numbers is None:
        try:
            low = semver.Version.parse(written)
        except ValueError as error:
            raise _unreadable(text, f"{written!r} is not a version") from error
        return low, low.bump_patch(), 3
    given = [int(number) for number in numbers.groups() if number is not None and number not in _ANY]
    major, minor, patch = (*given, 0, 0)[:3]
    low = semver.Version(major, minor, patch)
    return low, (low.bump_major(), low.bump_minor(), low.bump_patch())[len(given) - 1], len(given)


def _caret(low: semver.Version, given: int) -> semver.Version:
    """The first version that may break what works with `low`: the leftmost number that is not 0 changes."""
    if low.major or given == 1:
        return semver.Version(low.major + 1)
    if low.minor or given == 2:
        return semver.Version(0, low.minor + 1)
    return semver.Version(0, 0, low.patch + 1)


def _unreadable(text: str, why: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a range of versions", why=why, hint="write for example '>=1.2 <2', '^1.4', '~1.4.2' or '1.4.x'"
    )
