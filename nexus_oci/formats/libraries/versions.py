"""A semantic version in the words of each library ecosystem, so that its own comparison gives semver's order.

npm and NuGet compare as semver.org says (NuGet without regard to case). PEP 440 and Maven order a few words of pre-releases; of
others nothing can be made, and they are refused, with what to write instead. `dev`, which untagged commits get, has no place of
its own between beta and rc in either: it becomes what stands there, `rc0.dev3` and `beta-99999-3`. As with Linux packages `rc1`
and `rc.1` are one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from nexus_oci.errors import DefinitionError

_PEP440: Final = {"alpha": "a{}", "beta": "b{}", "dev": "rc0.dev{}", "rc": "rc{}"}
_MAVEN: Final = {"alpha": "alpha-{}", "beta": "beta-{}", "dev": "beta-99999-{}", "milestone": "milestone-{}", "rc": "rc-{}"}
"""Words that Maven orders among themselves and before the release (ComparableVersion); others come after it."""
_SHAPE: Final = re.compile(r"([A-Za-z]+)(?:[.-]?([0-9]+))?")
_COMMIT: Final = re.compile(r"g[0-9a-f]{7,40}")


def python_version(version: str) -> str:
    """PEP 440: `1.0.0-rc.1+build.5` is `1.0.0rc1+build.5`. Raises `DefinitionError`."""
    core, pre, build = _parts(version)
    local = re.sub(r"[^a-z0-9]+", ".", build.lower()).strip(".")
    suffix = _said(version, pre, "a wheel", _PEP440) if pre else ""
    return f"{core}{suffix}" + (f"+{local}" if local else "")


def maven_version(version: str) -> str:
    """Maven: `1.0.0-rc.1+build.5` is `1.0.0-rc-1`; build metadata is left out. Raises `DefinitionError`."""
    core, pre, _ = _parts(version)
    return f"{core}-{_said(version, pre, 'a jar', _MAVEN)}" if pre else core


def nuget_version(version: str) -> str:
    """NuGet: semver 2.0 as it is, without build metadata, which names no other package."""
    return version.partition("+")[0]


def npm_version(version: str) -> str:
    """npm: semver as it is, without build metadata, which the registry drops."""
    return version.partition("+")[0]


def _parts(version: str) -> tuple[str, str, str]:
    core, _, build = version.partition("+")
    number, _, pre = core.partition("-")
    return number, pre, build


def _said(version: str, pre: str, what: str, words: Mapping[str, str]) -> str:
    """A pre-release of one word and one number, in an ecosystem's words; a commit after them orders nothing and is left out."""
    identifiers = [one for one in pre.split(".") if not _COMMIT.fullmatch(one)]
    found = _SHAPE.fullmatch(".".join(identifiers))
    if found is None or found[1].lower() not in words:
        raise DefinitionError(
            f"{what} cannot say the version {version}",
            why=f"before a release its ecosystem orders {', '.join(words)}, each with one number, and nothing else",
            hint=f"call it {version.partition('-')[0]}-rc.1 (or alpha, beta), or leave the format out of `formats`",
        )
    return words[found[1].lower()].format(int(found[2] or 0))
