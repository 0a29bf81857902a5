"""What the verbs share that hold a release to its policy: where that comes from, and how a verdict is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.cli.console import Console

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.oci.store import Store
    from nexus_oci.oci.values import Descriptor
    from nexus_oci.pipeline.tier_check import Standard
    from nexus_oci.policy.judging import Finding, Verdict

_NAMED = re.compile(r"^[\"']?tier[\"']?\s*:", re.MULTILINE)
_WORDS = {"refused": "REFUSED", "warning": "warning", "waived": "waived"}


def standard_of(console: Console, tier: str | None) -> Standard:
    """The policy here, over the shipped one, for the tier that was asked for, or else the definition's."""
    from nexus_oci.bases.host import default_cache
    from nexus_oci.pipeline.project import default_folder
    from nexus_oci.pipeline.tier_check import Standard, today
    from nexus_oci.policy.loading import load_policy

    definition = _definition(console)
    policy = load_policy(console.directory, default_folder())
    return Standard(
        policy=policy,
        tier=tier or (definition.tier if definition else None),
        today=today(),
        definition=definition,
        cache=default_cache(console.environment, Path.home()),
    )


def names_tier(console: Console) -> bool:
    """Whether the definition here, if there is one, may name a tier: without loading what reads definitions."""
    try:
        text = (console.directory / "images" / "nexus.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(_NAMED.search(text))


def held_to_policy(console: Console, store: Store, root: Callable[[], Descriptor], tier: str | None) -> Standard | None:
    """What a release that is about to leave was held to, and passed; None where nothing asks for that. Raises `PolicyError`."""
    if tier is None and not names_tier(console):
        return None
    from nexus_oci.pipeline.tier_check import check_store

    standard = standard_of(console, tier)
    if standard.tier is None:
        return None
    verdict = check_store(store, root(), standard)
    verdict.enforce()
    console.say(
        f"the release meets the policy of the tier {standard.tier}: {len(verdict.asked)} gates, {len(verdict.proofs)} proofs"
    )
    for placed in verdict.waived:
        one = placed.waiver
        console.say(f"waived: {one.gate}, by {one.owner} until {one.until}: {one.reason}")
    for finding in verdict.findings:
        if finding.outcome == "warning":
            console.say(f"warning: {finding.gate}: {finding.where}: {finding.value}; meant: {finding.limit}")
    return standard


def _definition(console: Console) -> Definition | None:
    from nexus_oci.definition import load
    from nexus_oci.pipeline.project import default_folder

    if not (console.directory / "images" / "nexus.yaml").is_file():
        return None
    return load(console.directory, defaults=default_folder())


def report(console: Console, verdict: Verdict) -> None:
    """Show a verdict: as data with --json, otherwise a table on stdout; what nobody could look at goes to stderr."""
    if console.as_json:
        console.data(verdict.to_json())
        return
    show(console, verdict)
    for note in verdict.unchecked:
        console.say(f"not looked into: {note}")


def show(console: Console, verdict: Verdict) -> None:
    """The table of a verdict: proofs, then gates, each with what it found."""
    console.result(f"release {verdict.release}" + (f" for the tier {verdict.tier}" if verdict.tier else ""))
    if verdict.offerings:
        console.result(f"  offered as {', '.join(verdict.offerings)}")
    for one in verdict.proofs:
        console.result(f"  {'proof':<8} {one.proof:<18} {'there' if one.there else 'MISSING':<8} {one.detail}")
    for gate in verdict.asked:
        found = [finding for finding in verdict.findings if finding.gate == gate]
        if not found:
            console.result(f"  {'gate':<8} {gate:<18} passed")
        for finding in found:
            console.result(_row("gate", finding))
    for finding in verdict.findings:
        if finding.gate.startswith("tier-"):
            console.result(_row("tier", finding))


def _row(what: str, finding: Finding) -> str:
    row = f"  {what:<8} {finding.gate:<18} {_WORDS[finding.outcome]:<8} {finding.where}: {finding.value}"
    if finding.waiver is None:
        return row
    one = finding.waiver.waiver
    return f"{row}; by {one.owner} until {one.until}: {one.reason}"
