"""The files of policies/: tiers.yaml, gates/*.yaml and waivers.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator, StrictBool, StrictInt, WithJsonSchema

from nexus_oci.definition.distribution_model import DistributionName
from nexus_oci.definition.model import Model, Written
from nexus_oci.definition.nexus_model import TIERS, Tier
from nexus_oci.definition.scalars import Line, Name, Unique

Proof = Literal["checksums", "signature", "sbom", "provenance", "reproducibility", "air-gap", "audit"]
PROOFS: Final[tuple[Proof, ...]] = ("checksums", "signature", "sbom", "provenance", "reproducibility", "air-gap", "audit")
Kind = Literal["release", "image", "artifact", "layer", "file", "secret", "component", "waiver"]
"""What a gate looks at: an expression is evaluated once for each thing of that kind."""
MOST_EXPRESSION: Final = 2000
"""Characters of an expression. What it may do beside that, see `expression`."""
_DATE: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def _all_tiers(value: Any) -> Any:
    return TIERS if value == "all" else value


def _date(value: Any) -> date:
    try:
        return date.fromisoformat(value if isinstance(value, str) and len(value) == 10 else "")
    except ValueError:
        raise ValueError("expected a day, as in 2027-01-31") from None


Expression = Annotated[str, Field(min_length=1, max_length=MOST_EXPRESSION)]
Day = Annotated[date, PlainValidator(_date), WithJsonSchema({"type": "string", "pattern": _DATE})]
SomeTiers = Annotated[tuple[Tier, ...], Unique, BeforeValidator(_all_tiers)]
Pattern = Annotated[str, Field(min_length=1, max_length=1000)]
Limit = Annotated[StrictBool | StrictInt | Line | tuple[Line, ...], Written]


class TierRules(Model):
    """What a release for customers of one tier may carry, and what has to be proved of it."""

    distributions: Annotated[tuple[DistributionName, ...], Field(min_length=1), Unique]
    """The distributions that it may carry."""
    offerings: Annotated[tuple[Line, ...], Unique] = ()
    """What the tier buys them as; reports show it."""
    formats: Mapping[DistributionName, Annotated[tuple[Line, ...], Unique]] = {}
    """The formats, beside images, that are meant for it. Default: every format of a distribution."""
    other_formats: Literal["note", "refuse"] = "note"
    """What becomes of a release that has others too."""
    proofs: Annotated[tuple[Proof, ...], Unique] = ()
    """What has to be proved of it."""


class TiersFile(Model):
    """policies/tiers.yaml: the rules of each tier."""

    tiers: Annotated[Mapping[Tier, TierRules], Field(min_length=1)]
    """The rules by tier; a tier that is left out can be asked for by nobody."""


class GateFile(Model):
    """policies/gates/GATE.yaml: one condition that things of a release have to meet."""

    gate: Name
    """Its name, which is also its file's."""
    description: Line
    """What it is for."""
    applies_to: Kind
    """What it looks at; the thing is a variable of that name in every expression."""
    when: Expression | Literal[""] = ""
    """CEL: whether it has a say about a thing at all. Default: about each."""
    expression: Expression
    """CEL: true where the thing is as it should be. It sees `release`, `tier`, `limits`, and the thing."""
    value: Expression
    """CEL: what a refusal shows of the thing."""
    limit: Line
    """What a refusal says is allowed; {name} stands for a limit."""
    limits: Mapping[Name, Limit] = {}
    """Parameters of the expression."""
    advice: Line
    """What to do about a refusal, other than to waive it."""
    required: SomeTiers = ()
    """The tiers whose releases it refuses, or `all`: then also where no tier is named."""
    advisory: SomeTiers = ()
    """The tiers for which it only warns, or `all`."""
    waivable: StrictBool = True
    """Whether a waiver may let something pass."""


class Scope(Model):
    """What a waiver is for: each key that is given has to match; patterns are as in a shell."""

    release: Pattern | Literal[""] = ""
    """Versions."""
    tier: Tier | Literal[""] = ""
    """A tier."""
    distribution: DistributionName | Literal[""] = ""
    """A distribution."""
    platform: Pattern | Literal[""] = ""
    """Platforms, as in linux/amd64."""
    format: Pattern | Literal[""] = ""
    """Formats of artifacts."""
    path: Pattern | Literal[""] = ""
    """Files."""
    digest: Pattern | Literal[""] = ""
    """Digests of layers, files, images or artifacts."""
    package: Pattern | Literal[""] = ""
    """Names of packages."""

    def given(self) -> dict[str, str]:
        """The keys that are given, with their patterns."""
        return {name: value for name, value in self.model_dump().items() if value}


class Waiver(Model):
    """An exception from a gate, which somebody answers for, and which ends."""

    gate: Line
    """The gate."""
    scope: Scope
    """What it holds for; never everything."""
    owner: Line
    """Who answers for it."""
    reason: Line
    """Why it is right."""
    until: Day
    """The last day that it holds."""


class WaiversFile(Model):
    """policies/waivers.yaml: the exceptions."""

    waivers: tuple[Waiver, ...] = ()
    """Each exception."""
