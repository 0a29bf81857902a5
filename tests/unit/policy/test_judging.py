"""Verdicts: what refuses for whom, what a waiver changes, and what a refusal says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.errors import DefinitionError, PolicyError, UsageError
from nexus_oci.policy.facts import EXAMPLES, Facts
from nexus_oci.policy.judging import Proved, Verdict, judge
from nexus_oci.policy.loading import Policy, load_policy, read_waivers
from tests.unit.policy_kit import ROOT

TODAY = date(2026, 11, 28)
WAIVER = {
    "gate": "root-user",
    "scope": {"distribution": "runtime"},
    "owner": "Ann <ann@shop.example>",
    "reason": "a port",
    "until": "2026-12-31",
}
Write = Callable[[str, str], Policy]


def facts(**more: list[dict[str, Any]]) -> Facts:
    """A release of the runtime distribution, and more."""
    return {"release": [EXAMPLES["release"]], **more}  # type: ignore[return-value]


def image(**changed: object) -> dict[str, Any]:
    return {**EXAMPLES["image"], **changed}


ROOT_USER = image(root=True, user="0:0", where="runtime linux/amd64, the image")


@pytest.fixture
def policy() -> Policy:
    return load_policy(Path("/nowhere"), ROOT)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, text: str) -> Policy:
        path = tmp_path / "policies" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return load_policy(tmp_path, ROOT)

    return put


def gates(verdict: Verdict, outcome: str = "refused") -> list[str]:
    return [finding.gate for finding in verdict.findings if finding.outcome == outcome]


def test_a_refusal_names_gate_thing_value_limit_file_and_how_to_waive_it(policy: Policy) -> None:
    verdict = judge(policy, None, facts(image=[ROOT_USER]), today=TODAY)
    with pytest.raises(PolicyError) as raised:
        verdict.enforce()
    said = str(raised.value)
    assert raised.value.exit_code == 3
    for words in (
        "the release is refused by root-user:",
        "root-user: runtime linux/amd64, the image: user 0:0; allowed: a user that is not root (nexus-oci's own policies/gates/root-user.yaml)",
        'policies/waivers.yaml: - {gate: root-user, scope: {distribution: "runtime", platform: "linux/amd64"}, owner: WHO, reason: WHY, until: YYYY-MM-DD}',
    ):
        assert words in said


def test_the_waiver_that_a_refusal_suggests_is_one_and_covers_just_that(policy: Policy, write: Write) -> None:
    refused = judge(policy, None, facts(image=[ROOT_USER, image(root=True, distribution="container")]), today=TODAY).refused
    text = refused[0].waive.replace("WHO", "Ann").replace("WHY", "a port").replace("YYYY-MM-DD", "2026-12-31")
    again = judge(
        write("waivers.yaml", f"waivers:\n  {text}\n"),
        None,
        facts(image=[ROOT_USER, image(root=True, distribution="container")]),
        today=TODAY,
    )
    assert gates(again, "waived") == ["root-user"] == gates(again)
    assert again.to_json()["waivers"][0]["owner"] == "Ann"


def test_where_no_tier_is_named_only_what_all_require_refuses(policy: Policy) -> None:
    old = image(base={"name": "static", "digest": "", "date": "2026-01-01", "age": 300})
    assert gates(judge(policy, None, facts(image=[old]), today=TODAY)) == []
    assert gates(judge(policy, None, facts(image=[old]), today=TODAY), "warning") == ["base-age"]
    assert "base-age" in gates(judge(policy, "regulated", facts(image=[old]), today=TODAY))
    assert "base-age" in gates(judge(policy, "community", facts(image=[old]), today=TODAY), "warning")


@pytest.mark.parametrize(
    ("kind", "changed", "gate"),
    [
        ("image", {"base": {"name": "s", "digest": "", "date": "2026-01-01", "age": 91}}, "base-age"),
        ("image", {"root": True}, "root-user"),
        ("image", {"layers": 127}, "layer-count"),
        ("image", {"growth": 21, "size": 9 << 20, "previous": {"release": "1", "size": 7 << 20}}, "size-budget"),
        ("layer", {"readable": False, "why": "zstd"}, "layers-readable"),
        ("file", {"setuid": True}, "setuid-files"),
        ("file", {"setgid": True}, "setuid-files"),
        ("file", {"capabilities": True}, "setuid-files"),
        ("file", {"distribution": "sdk", "engine": "it is"}, "sdk-engine"),
        ("file", {"distribution": "sdk", "readable": False, "why": "zstd"}, "sdk-engine"),
        ("secret", {}, "secrets"),
        ("component", {"base": False, "licences": [["MIT", "GPL-3.0-only"]], "licence": "MIT AND GPL-3.0-only"}, "licences"),
        ("component", {"base": False, "known": False}, "licences"),
    ],
)  # fmt: skip
def test_each_shipped_gate_refuses_what_it_is_for(policy: Policy, kind: str, changed: dict[str, Any], gate: str) -> None:
    bad = {**EXAMPLES[kind], **changed}  # type: ignore[index]
    good = EXAMPLES[kind] if kind != "secret" else None  # type: ignore[index]
    assert gates(judge(policy, "enterprise", facts(**{kind: [bad]}), today=TODAY)).count(gate) == 1
    assert gate not in gates(judge(policy, "enterprise", facts(**{kind: [good] if good else []}), today=TODAY))


@pytest.mark.parametrize(
    ("kind", "changed", "gate"),
    [
        ("image", {"layers": 126}, "layer-count"),
        ("image", {"growth": 300, "size": 900_000, "previous": {"release": "1", "size": 300_000}}, "size-budget"),
        ("image", {"base": {"name": "s", "digest": "", "date": "2026-01-01", "age": 90}}, "base-age"),
        ("file", {"setuid": True, "hidden": True}, "setuid-files"),
        ("file", {"setuid": True, "installed": False}, "setuid-files"),
        ("file", {"distribution": "container", "engine": "it is"}, "sdk-engine"),
        ("component", {"base": True, "licences": [["GPL-3.0-only"]]}, "licences"),
        ("component", {"base": False, "licences": [["GPL-3.0-only"], ["MIT"]]}, "licences"),
        ("component", {"base": False, "licences": []}, "licences"),
    ],
)  # fmt: skip
def test_no_gate_refuses_what_is_within_its_limits(policy: Policy, kind: str, changed: dict[str, Any], gate: str) -> None:
    fine = {**EXAMPLES[kind], **changed}  # type: ignore[index]
    assert gate not in gates(judge(policy, "enterprise", facts(**{kind: [fine]}), today=TODAY))


def test_nothing_of_api_may_be_in_a_release_and_nobody_can_waive_that(policy: Policy) -> None:
    release = {**EXAMPLES["release"], "distributions": ["runtime", "api"], "api": ["the tar.gz x.tar.gz of api"]}
    (refused,) = judge(policy, None, {"release": [release]}, today=TODAY).refused
    assert (refused.gate, refused.value, refused.waive) == ("api-artifact", "the release carries the tar.gz x.tar.gz of api", "")


def test_a_tier_refuses_distributions_that_are_not_for_it_and_notes_formats(policy: Policy) -> None:
    release = {
        **EXAMPLES["release"],
        "distributions": ["runtime", "library"],
        "formats": ["runtime/deb", "runtime/tar.gz", "library/image"],
    }
    verdict = judge(policy, "regulated", {"release": [release]}, today=TODAY)
    (refused,) = [finding for finding in verdict.refused if finding.gate == "tier-distributions"]
    assert refused.value == "it carries the distribution library"
    assert refused.limit == "runtime, container, api, sdk"
    assert [finding.value for finding in verdict.findings if finding.gate == "tier-formats"] == ["it carries runtime as tar.gz"]
    assert gates(verdict, "warning") == ["tier-formats"]


def test_other_formats_are_refused_where_the_policy_says_so(write: Write) -> None:
    rules = "tiers: {regulated: {distributions: [runtime], formats: {runtime: [deb]}, other-formats: refuse}}\n"
    release = {**EXAMPLES["release"], "formats": ["runtime/image", "runtime/tar.gz"]}
    assert gates(judge(write("tiers.yaml", rules), "regulated", {"release": [release]}, today=TODAY)) == ["tier-formats"]


def test_each_proof_that_a_tier_wants_has_to_be_there(policy: Policy) -> None:
    there = [Proved(proof=name, there=True, detail="x") for name in policy.tiers["sovereign"].proofs]
    assert gates(judge(policy, "sovereign", facts(), today=TODAY, proofs=there)) == []
    for index, one in enumerate(there):
        lacking = [*there[:index], Proved(proof=one.proof, there=False, detail="none", advice="make one"), *there[index + 1 :]]
        verdict = judge(policy, "sovereign", facts(), today=TODAY, proofs=lacking)
        assert gates(verdict) == [f"proof-{one.proof}"]
    assert len(gates(judge(policy, "sovereign", facts(), today=TODAY))) == 7


@pytest.mark.parametrize(("until", "outcome"), [("2026-11-28", "waived"), ("2026-11-27", "refused")])
def test_a_waiver_ends_and_one_that_has_ended_is_refused_itself(write: Write, until: str, outcome: str) -> None:
    text = f"waivers:\n  - {{gate: root-user, scope: {{distribution: runtime}}, owner: Ann, reason: port, until: {until}}}\n"
    verdict = judge(write("waivers.yaml", text), None, facts(image=[ROOT_USER]), today=TODAY)
    assert [finding.outcome for finding in verdict.findings if finding.gate == "root-user"] == [outcome]
    ended = [finding for finding in verdict.refused if finding.gate == "waiver-dates"]
    assert bool(ended) == (outcome == "refused")
    if ended:
        assert (ended[0].where, ended[0].waive) == ("policies/waivers.yaml:2:5", "")


@pytest.mark.parametrize(
    ("scope", "outcome"),
    [
        ("release: '1.0.*'", "waived"),
        ("release: '2.*'", "refused"),
        ("tier: regulated, distribution: runtime", "waived"),
        ("tier: sovereign, distribution: runtime", "refused"),
        ("platform: linux/*", "waived"),
        ("platform: windows/*", "refused"),
        ("path: usr/bin/x", "refused"),
    ],
)
def test_everything_that_a_scope_says_has_to_match(write: Write, scope: str, outcome: str) -> None:
    text = f"waivers:\n  - {{gate: root-user, scope: {{{scope}}}, owner: Ann, reason: port, until: 2026-12-31}}\n"
    verdict = judge(write("waivers.yaml", text), "regulated", facts(image=[ROOT_USER]), today=TODAY)
    assert [finding.outcome for finding in verdict.findings if finding.gate == "root-user"] == [outcome]


def test_a_waiver_for_ever_is_refused(write: Write) -> None:
    text = "waivers:\n  - {gate: root-user, scope: {distribution: runtime}, owner: Ann, reason: port, until: 2099-12-31}\n"
    assert gates(judge(write("waivers.yaml", text), None, facts(), today=TODAY)) == ["waiver-dates"]


def test_a_waiver_that_a_signed_provenance_records_counts_too(policy: Policy) -> None:
    everything = {**WAIVER, "scope": {"path": "*"}}
    recorded = read_waivers([everything, WAIVER, {"gate": "x"}, "nonsense"], "the provenance")
    verdict = judge(policy, None, facts(image=[ROOT_USER]), today=TODAY, recorded=recorded)
    assert gates(verdict, "waived") == ["root-user"]
    assert [placed.to_json() for placed in verdict.waived] == [WAIVER]


def test_a_tier_that_is_none_is_told_with_the_nearest(policy: Policy) -> None:
    with pytest.raises(UsageError, match="there is no tier 'regulatd'; did you mean 'regulated'"):
        judge(policy, "regulatd", facts(), today=TODAY)


def test_a_tier_without_rules_is_a_fault_of_the_policy(write: Write) -> None:
    with pytest.raises(DefinitionError, match="the tier sovereign has no rules"):
        judge(write("tiers.yaml", "tiers: {regulated: {distributions: [sdk]}}\n"), "sovereign", facts(), today=TODAY)


def test_a_gate_that_breaks_on_what_it_meets_is_a_definition_error_with_its_place(write: Write) -> None:
    text = (ROOT / "policies" / "gates" / "base-age.yaml").read_text().replace("when: has(image.base)\n", "")
    policy = write("gates/base-age.yaml", text)
    without = {key: value for key, value in EXAMPLES["image"].items() if key != "base"}
    with pytest.raises(DefinitionError) as raised:
        judge(policy, "enterprise", facts(image=[without]), today=TODAY)
    (problem,) = raised.value.problems
    assert problem.startswith("policies/gates/base-age.yaml:6:13: expression: nothing is called 'base'")


def test_the_report_is_plain_data(policy: Policy) -> None:
    data = judge(policy, "community", facts(image=[ROOT_USER]), today=TODAY, unchecked=["x: y"]).to_json()
    assert data["passed"] is False
    assert data["tier"] == "community"
    assert data["unchecked"] == ["x: y"]
    assert {finding["gate"] for finding in data["findings"]} >= {"root-user", "tier-distributions"}
