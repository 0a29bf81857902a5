"""SLSA provenance, version 1 (slsa.dev/spec/v1.0/provenance): how a release was made, in enough detail to make it again.

What the caller asked for are the external parameters. What follows from them and from the definition are the internal ones, and
the dependencies name everything that was read, each with its digest. There is no time of day in it: the same build says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nexus_oci.errors import VerificationError

PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:nexus-oci:build:v1"
"""What the parameters mean: `nexus-oci build` with these options, of this definition."""
BUILDER: Final = "urn:nexus-oci:builder:local"
"""The builder where nobody says another: some machine that ran this program."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a build was asked for: the options of the command, and the time that counts as now, in seconds since 1970."""

    distributions: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    epoch: int = 0


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """Something that a build read: `digest` has values by algorithm, `uri` says where it comes from, if from anywhere."""

    name: str
    digest: Mapping[str, str]
    uri: str = ""

    def to_json(self) -> dict[str, Any]:
        """A `ResourceDescriptor` of in-toto."""
        data: dict[str, Any] = {"name": self.name, "digest": dict(self.digest)}
        return data | {"uri": self.uri} if self.uri else data


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a release was made. `source` says of which commit; `internal` what followed from the definition; `tools` by what."""

    name: str
    version: str
    parameters: Parameters
    source: Mapping[str, Any]
    internal: Mapping[str, Any]
    dependencies: tuple[Dependency, ...]
    tools: Mapping[str, str]
    builder: str = BUILDER

    def to_json(self) -> dict[str, Any]:
        """The predicate."""
        given = self.parameters
        external = {
            "name": self.name,
            "version": self.version,
            "source": dict(self.source),
            "distributions": list(given.distributions),
            "platforms": list(given.platforms),
            "formats": list(given.formats),
            "epoch": given.epoch,
        }
        return {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": external,
                "internalParameters": dict(self.internal),
                "resolvedDependencies": [dependency.to_json() for dependency in self.dependencies],
            },
            "runDetails": {"builder": {"id": self.builder, "version": dict(self.tools)}},
        }

    @classmethod
    def from_json(cls, predicate: Mapping[str, Any]) -> Provenance:
        """Read a predicate that this program wrote; raises `VerificationError` for any other."""
        try:
            definition = predicate["buildDefinition"]
            if definition["buildType"] != BUILD_TYPE:
                raise VerificationError(
                    "the provenance is of a build of another kind",
                    why=f"its buildType is {str(definition['buildType'])[:200]}, and {BUILD_TYPE} is known here",
                )
            given = definition["externalParameters"]
            builder = predicate["runDetails"]["builder"]
            return cls(
                name=str(given["name"]),
                version=str(given["version"]),
                source=dict(given["source"]),
                parameters=Parameters(
                    distributions=_texts(given["distributions"]),
                    platforms=_texts(given["platforms"]),
                    formats=_texts(given["formats"]),
                    epoch=int(given["epoch"]),
                ),
                internal=dict(definition["internalParameters"]),
                dependencies=tuple(_dependency(each) for each in definition["resolvedDependencies"]),
                tools={str(key): str(value) for key, value in builder.get("version", {}).items()},
                builder=str(builder["id"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VerificationError("the provenance cannot be read", why=f"{type(error).__name__}: {error}"[:200]) from error


def builder_of(predicate: Mapping[str, Any]) -> str:
    """Who a provenance of any build says it was built by (`runDetails.builder.id`); nothing where it does not say."""
    try:
        return str(predicate["runDetails"]["builder"]["id"])
    except (KeyError, TypeError):
        return ""


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _dependency(data: Mapping[str, Any]) -> Dependency:
    digest = {str(key): str(value) for key, value in data["digest"].items()}
    return Dependency(name=str(data["name"]), digest=digest, uri=str(data.get("uri", "")))


@dataclass(frozen=True, kw_only=True)
class Change:
    """What two builds do not have in common: what it is, and what either has of it; nothing where it has none."""

    what: str
    then: str
    now: str


@dataclass(kw_only=True)
class _Changes:
    found: list[Change] = field(default_factory=list)

    def compare(self, what: str, then: object, now: object) -> None:
        if then != now:
            self.found.append(Change(what=what, then=_shown(then), now=_shown(now)))


def changes(then: Provenance, now: Provenance) -> tuple[Change, ...]:
    """What went into one build and not into the other, or differently; the parameters first, dependencies by name.

    Waivers go into no build: what they say is for those who judge a release.
    """
    result = _Changes()
    result.compare("version", then.version, now.version)
    for name in sorted({*then.source, *now.source}):
        result.compare(f"source {name}", then.source.get(name), now.source.get(name))
    for name in ("distributions", "platforms", "formats", "epoch"):
        result.compare(name, getattr(then.parameters, name), getattr(now.parameters, name))
    for name in sorted({*then.internal, *now.internal} - {"plan", "waivers"}):
        result.compare(name, then.internal.get(name), now.internal.get(name))
    for name in sorted({*then.tools, *now.tools}):
        result.compare(f"tool {name}", then.tools.get(name), now.tools.get(name))
    before, after = _by_name(then.dependencies), _by_name(now.dependencies)
    for name in sorted({*before, *after}):
        result.compare(name, before.get(name), after.get(name))
    return tuple(result.found)


def _by_name(dependencies: Sequence[Dependency]) -> dict[str, str]:
    """Each dependency's digests and place as one text; several of a name are one."""
    found: dict[str, list[str]] = {}
    for dependency in dependencies:
        words = [dependency.uri, *(f"{key}:{value}" for key, value in sorted(dependency.digest.items()))]
        found.setdefault(dependency.name, []).append(" ".join(word for word in words if word))
    return {name: ", ".join(sorted(texts)) for name, texts in found.items()}


def _shown(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
