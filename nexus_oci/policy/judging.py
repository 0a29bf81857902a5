"""Holds the facts of a release against a policy.

1. What tiers.yaml says of the tier: distributions, formats, proofs. 2. Every gate that has a say there, about every thing that
it applies to. 3. A refusal that a waiver covers, one that has not ended, becomes a note that somebody answers for. 4. What is
left is either refused or, where the gate is only advisory for the tier, a warning.

Pure: the facts come as plain data, and today as an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from nexus_oci.definition.nexus_model import TIERS
from nexus_oci.definition.suggestions import did_you_mean
from nexus_oci.errors import DefinitionError, PolicyError, UsageError
from nexus_oci.oci.values import Digest
from nexus_oci.policy.facts import Fact, Facts
from nexus_oci.policy.loading import NEVER_WAIVED, WAIVERS_FILE, Gate, PlacedWaiver, Policy
from nexus_oci.policy.model import Kind, Proof, TierRules

Outcome = Literal["refused", "warning", "waived"]
_MOST = 20
"""Refusals that a message tells."""
_SCOPE = ("distribution", "platform", "format", "path", "package", "digest")
"""What a suggested waiver is narrowed by, as far as the thing has it."""


@dataclass(frozen=True, kw_only=True)
class Proved:
    """Whether a proof is there: `detail` says what was found, or what is missing; `advice` how to bring it."""

    proof: Proof
    there: bool
    detail: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A thing that does not meet a gate. `file` is the gate's; `waive` is a waiver to begin with, or nothing where none helps."""

    gate: str
    outcome: Outcome
    where: str
    value: str
    limit: str
    file: str
    advice: str
    waive: str
    waiver: PlacedWaiver | None = None

    def __str__(self) -> str:
        """Gate, thing, value, limit and file in one line; what to do, and how to waive it, in two more."""
        waive = f"to waive it, write under `waivers:` in {WAIVERS_FILE}: {self.waive}" if self.waive else "it cannot be waived"
        return f"{self.gate}: {self.where}: {self.value}; allowed: {self.limit} ({self.file})\n      {self.advice}\n      {waive}"

    def to_json(self) -> dict[str, Any]:
        """The finding's part of the report."""
        return {
            "gate": self.gate,
            "outcome": self.outcome,
            "where": self.where,
            "value": self.value,
            "limit": self.limit,
            "file": self.file,
            "advice": self.advice,
            "waive": self.waive or None,
            "waiver": self.waiver.to_json() if self.waiver else None,
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of judging a release. `asked` are the gates that had a say; `unchecked` what nobody could look at."""

    release: str
    tier: str | None
    policy: Digest
    findings: tuple[Finding, ...]
    proofs: tuple[Proved, ...]
    asked: tuple[str, ...]
    offerings: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = field(default=())

    @property
    def refused(self) -> tuple[Finding, ...]:
        """The findings that keep the release back."""
        return tuple(finding for finding in self.findings if finding.outcome == "refused")

    @property
    def waived(self) -> tuple[PlacedWaiver, ...]:
        """The waivers that were used, each once."""
        return tuple({id(one.waiver): one.waiver for one in self.findings if one.waiver is not None}.values())

    def to_json(self) -> dict[str, Any]:
        """The whole report as plain data."""
        return {
            "release": self.release,
            "tier": self.tier,
            "offerings": list(self.offerings),
            "policy": self.policy,
            "passed": not self.refused,
            "gates": list(self.asked),
            "proofs": [{"proof": one.proof, "there": one.there, "detail": one.detail} for one in self.proofs],
            "findings": [finding.to_json() for finding in self.findings],
            "waivers": [placed.to_json() for placed in self.waived],
            "unchecked": list(self.unchecked),
        }

    def enforce(self) -> None:
        """Raise `PolicyError`, naming gate, value, limit, file and waiver, where anything is refused."""
        refused = self.refused
        if not refused:
            return
        shown = "".join(f"\n  {finding}" for finding in refused[:_MOST])
        more = f"\n  and {len(refused) - _MOST} more" if len(refused) > _MOST else ""
        tier = f" for the tier {self.tier}" if self.tier else ""
        gates = ", ".join(dict.fromkeys(finding.gate for finding in refused))
        raise PolicyError(
            f"the release is refused{tier} by {gates}:{shown}{more}",
            hint=f"correct it, or let somebody answer for it in {WAIVERS_FILE}; then run the command again",
        )


def known_tier(policy: Policy, tier: str) -> TierRules:
    """The rules of a tier; raises `UsageError` for a name that is none, and `DefinitionError` for one without rules."""
    if tier in policy.tiers:
        return policy.tiers[tier]
    if tier in TIERS:
        raise DefinitionError(f"the tier {tier} has no rules", hint=f"write them into {policy.tiers_file}")
    raise UsageError(f"there is no tier {tier!r}{did_you_mean(tier, TIERS)}", why="there are " + ", ".join(TIERS))


def judge(
    policy: Policy,
    tier: str | None,
    facts: Facts,
    *,
    today: date,
    proofs: Sequence[Proved] = (),
    recorded: Sequence[PlacedWaiver] = (),
    unchecked: Sequence[str] = (),
) -> Verdict:
    """The verdict on a release. Without a tier only gates that are required for all of them refuse, and nothing has to be proved.

    `recorded` are waivers of a provenance that a trusted key signed; they count like the policy's own.
    """
    rules = known_tier(policy, tier) if tier else None
    waivers = (*policy.waivers, *recorded)
    facts = {**facts, "waiver": [_waiver_fact(placed, today) for placed in waivers]}
    release = facts["release"][0]
    asked = [gate for gate in policy.gates if _severity(gate, tier)]
    findings = [*_tier_findings(policy, tier, rules, release, proofs)] if tier and rules else []
    for gate in asked:
        findings += _gate_findings(gate, tier, facts)
    return Verdict(
        release=str(release["digest"]),
        tier=tier,
        policy=policy.digest,
        findings=tuple(
            _settled(finding, {**fact, "release": release["version"], "tier": tier or ""}, waivers, today)
            for finding, fact in findings
        ),
        proofs=tuple(proofs),
        asked=tuple(gate.model.gate for gate in asked),
        offerings=rules.offerings if rules else (),
        unchecked=tuple(unchecked),
    )


def _severity(gate: Gate, tier: str | None) -> Outcome | None:
    """What a gate's no means for the tier. Where none is named, only what is required for all is."""
    required, advisory = gate.model.required, gate.model.advisory
    if tier is None:
        return "refused" if set(required) == set(TIERS) else "warning" if required or advisory else None
    return "refused" if tier in required else "warning" if tier in advisory else None


def _gate_findings(gate: Gate, tier: str | None, facts: Facts) -> Iterator[tuple[Finding, Fact]]:
    kind: Kind = gate.model.applies_to
    shared = {"release": facts["release"][0], "tier": tier or ""}
    for fact in facts.get(kind, ()):
        values = {**shared, kind: fact}
        if gate.model.when and not _truth(gate, "when", values):
            continue
        if _truth(gate, "expression", values):
            continue
        yield (
            Finding(
                gate=gate.model.gate,
                outcome=_severity(gate, tier) or "warning",
                where=str(fact["where"]),
                value=str(gate.evaluate("value", values)),
                limit=gate.limit,
                file=gate.file,
                advice=gate.model.advice,
                waive=_waive(gate.model.gate, fact) if gate.model.waivable else "",
            ),
            fact,
        )


def _truth(gate: Gate, which: str, values: Mapping[str, Any]) -> bool:
    value = gate.evaluate(which, values)
    if not isinstance(value, bool):
        problem = f"{gate.places[which]}: {which}: gives {value!r}, and true or false is wanted"
        raise DefinitionError(f"the gate {gate.model.gate} is broken:", problems=(problem,))
    return value


def _tier_findings(
    policy: Policy, tier: str | None, rules: TierRules, release: Fact, proofs: Sequence[Proved]
) -> Iterator[tuple[Finding, Fact]]:
    """What tiers.yaml itself refuses or notes."""
    for name in release["distributions"]:
        if name not in rules.distributions:
            yield _of_tier(
                policy,
                "tier-distributions",
                {**release, "distribution": name, "tier": tier},
                value=f"it carries the distribution {name}",
                limit=", ".join(rules.distributions),
                advice=f"build or deliver a release without {name} for this tier (`--distribution`)",
            )
    for item in release["formats"]:
        name, _, kind = item.partition("/")
        meant = rules.formats.get(name)
        if meant is not None and kind != "image" and kind not in meant:
            yield _of_tier(
                policy,
                "tier-formats",
                {**release, "distribution": name, "format": kind, "tier": tier},
                value=f"it carries {name} as {kind}",
                limit=", ".join(meant),
                advice="deliver the other formats to this tier",
                outcome="refused" if rules.other_formats == "refuse" else "warning",
            )
    found = {one.proof: one for one in proofs}
    for proof in rules.proofs:
        one = found.get(proof)
        if one is None or not one.there:
            yield _of_tier(
                policy,
                f"proof-{proof}",
                {**release, "tier": tier},
                value=one.detail if one else "it was not looked for",
                limit=f"{proof} has to be there",
                advice=one.advice if one and one.advice else "see docs/policies.md",
            )


def _of_tier(
    policy: Policy, gate: str, fact: Fact, *, value: str, limit: str, advice: str, outcome: Outcome = "refused"
) -> tuple[Finding, Fact]:
    finding = Finding(
        gate=gate,
        outcome=outcome,
        where=str(fact["where"]),
        value=value,
        limit=limit,
        file=policy.tiers_file,
        advice=advice,
        waive="" if gate in NEVER_WAIVED else _waive(gate, {key: value for key, value in fact.items() if key != "digest"}),
    )
    return finding, fact


def _settled(finding: Finding, fact: Fact, waivers: Sequence[PlacedWaiver], today: date) -> Finding:
    """The finding, waived where a waiver covers it."""
    if not finding.waive or finding.outcome != "refused":
        return finding
    placed = next((one for one in waivers if one.covers(finding.gate, fact, today)), None)
    if placed is None:
        return finding
    return Finding(**{**finding.__dict__, "outcome": "waived", "waiver": placed})


def _waive(gate: str, fact: Fact) -> str:
    """A waiver for exactly this thing, to be filled in."""
    given = {key: fact[key] for key in ("tier", *_SCOPE) if fact.get(key)}
    if len(given) > 1:  # another build has other digests, and what was waived should not come back for that
        given.pop("digest", None)
    if "path" in given or "package" in given:
        given.pop("format", None)
    if not given or set(given) == {"tier"}:
        given |= {"release": fact.get("version", "")}
    scope = ", ".join(f'{key}: "{value}"' for key, value in given.items())
    return f"- {{gate: {gate}, scope: {{{scope}}}, owner: WHO, reason: WHY, until: YYYY-MM-DD}}"


def _waiver_fact(placed: PlacedWaiver, today: date) -> Fact:
    one = placed.waiver
    return {
        "gate": one.gate,
        "owner": one.owner,
        "reason": one.reason,
        "until": one.until.isoformat(),
        "days": (one.until - today).days,
        "scope": one.scope.given(),
        "where": placed.place,
    }
