"""policies/: what is shipped, what a project puts over it, and every mistake at its place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import yaml

from nexus_oci.errors import DefinitionError
from nexus_oci.policy.loading import Policy, load_policy
from tests.unit.policy_kit import ROOT

GATE = """\
gate: root-user
description: x
applies-to: image
expression: "!image.root"
value: image.user
limit: at most {many}
limits: {many: 3}
advice: x
required: all
"""
WAIVER = "waivers:\n  - {gate: root-user, scope: {distribution: runtime}, owner: A, reason: b, until: 2027-01-31}\n"
Write = Callable[[str, str], Policy]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a file into a project's policies/ and loads them."""

    def put(name: str, text: str) -> Policy:
        path = tmp_path / "policies" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return load_policy(tmp_path, ROOT)

    return put


def test_what_is_shipped_is_the_table_of_tiers_and_offerings() -> None:
    tiers = load_policy(Path("/nowhere"), ROOT).tiers
    carry = {
        "runtime": ("developer professional enterprise regulated sovereign", "engine-as-a-runtime on-prem air-gapped"),
        "library": ("community developer professional embedded", "engine-as-a-library engine-as-a-module"),
        "container": ("professional enterprise regulated sovereign", "engine-as-a-runtime cloud edge"),
        "api": (" ".join(tiers), "engine-as-a-service"),
        "sdk": (" ".join(tiers), "engine-as-a-service engine-as-a-platform"),
    }  # fmt: skip
    for tier, rules in tiers.items():
        assert set(rules.distributions) == {name for name, (those, _) in carry.items() if tier in those.split()}
        assert set(rules.offerings) == {
            word for name, (_, words) in carry.items() if name in rules.distributions for word in words.split()
        }
    assert len(tiers) == 7


def test_signed_and_audited_is_what_regulated_and_sovereign_get() -> None:
    tiers = load_policy(Path("/nowhere"), ROOT).tiers
    everything = {"checksums", "signature", "sbom", "provenance", "reproducibility", "air-gap", "audit"}
    assert {tier for tier, rules in tiers.items() if set(rules.proofs) == everything} == {"regulated", "sovereign"}
    assert all("checksums" in rules.proofs for rules in tiers.values())


def test_every_shipped_gate_is_asked_in_every_tier() -> None:
    policy = load_policy(Path("/nowhere"), ROOT)
    assert len(policy.gates) == len(list((ROOT / "policies" / "gates").glob("*.yaml"))) >= 11
    for gate in policy.gates:
        assert {*gate.model.required, *gate.model.advisory} == set(policy.tiers), gate.model.gate


def test_a_project_replaces_a_shipped_gate_and_its_limits_and_nothing_else(write: Write) -> None:
    shipped = {gate.model.gate: gate for gate in load_policy(Path("/nowhere"), ROOT).gates}
    own = {gate.model.gate: gate for gate in write("gates/root-user.yaml", GATE).gates}
    assert own.keys() == shipped.keys()
    assert own["root-user"].limit == "at most 3"
    assert own["root-user"].file == "policies/gates/root-user.yaml"
    assert own["base-age"].file == "nexus-oci's own policies/gates/base-age.yaml"


def test_the_digest_is_of_what_the_policies_say(write: Write, tmp_path: Path) -> None:
    first = write("gates/root-user.yaml", GATE)
    assert write("gates/root-user.yaml", GATE + "# a comment\n").digest == first.digest
    assert write("gates/root-user.yaml", GATE.replace("many: 3", "many: 4")).digest != first.digest
    assert write("waivers.yaml", WAIVER).digest != first.digest


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gates/root-user.yaml", GATE.replace("expression:", "expresion:"), "policies/gates/root-user.yaml:4:1: unknown key 'expresion'; did you mean 'expression'?"),
        ("gates/root-user.yaml", GATE.replace("!image.root", "image.root <"), "policies/gates/root-user.yaml:4:13: expression: line 1, column 13 of the expression: Syntax error"),
        ("gates/root-user.yaml", GATE.replace("!image.root", "image.rot"), "policies/gates/root-user.yaml:4:13: expression: nothing is called 'rot'"),
        ("gates/root-user.yaml", GATE.replace("!image.root", "imag.root"), "policies/gates/root-user.yaml:4:13: expression: there is no variable 'imag'; did you mean 'image'?"),
        ("gates/root-user.yaml", GATE.replace("!image.root", "image.user"), "policies/gates/root-user.yaml:4:13: expression: gives '65532:65532', and true or false is wanted"),
        ("gates/root-user.yaml", GATE.replace("value: image.user", "value: image.layers"), "policies/gates/root-user.yaml:5:8: value: gives 2, and text is wanted"),
        ("gates/root-user.yaml", GATE.replace("image\n", "imgae\n", 1), "policies/gates/root-user.yaml:3:13: applies-to: found the text 'imgae', expected release, image, "),
        ("gates/root-user.yaml", GATE.replace("required: all", "required: [regulatd]"), "did you mean 'regulated'?"),
        ("gates/other.yaml", GATE, "policies/gates/other.yaml:1:7: gate: 'root-user' is in the file other.yaml; the two have one name"),
        ("gates/other.yml", GATE, "policies/gates/other.yml:1:1: the ending .yml is not read; rename it to other.yaml"),
        ("tiers.yaml", "tiers: {regulated: {distributions: [runtme]}}\n", "did you mean 'runtime'?"),
        ("tiers.yaml", "tiers: {regulated: {distributions: [runtime], proofs: [signatur]}}\n", "did you mean 'signature'?"),
        ("waivers.yaml", WAIVER.replace("root-user", "root-usr"), "policies/waivers.yaml:2:5: gate: there is no gate 'root-usr'; did you mean 'root-user'?"),
        ("waivers.yaml", WAIVER.replace("{distribution: runtime}", "{}"), "policies/waivers.yaml:2:5: scope: a waiver of everything is none"),
        ("waivers.yaml", WAIVER.replace("{distribution: runtime}", "{path: '*'}"), "scope: a waiver of everything is none"),
        ("waivers.yaml", WAIVER.replace(" scope: {distribution: runtime},", ""), "policies/waivers.yaml:2:5: waivers[1]: the key 'scope' is missing"),
        ("waivers.yaml", WAIVER.replace(" owner: A,", ""), "the key 'owner' is missing"),
        ("waivers.yaml", WAIVER.replace(", reason: b", ""), "the key 'reason' is missing"),
        ("waivers.yaml", WAIVER.replace(", until: 2027-01-31", ""), "the key 'until' is missing"),
        ("waivers.yaml", WAIVER.replace("2027-01-31", "2027-02-30"), "found the text '2027-02-30', expected a day, as in 2027-01-31"),
        ("waivers.yaml", WAIVER.replace("root-user", "api-artifact"), "gate: 'api-artifact' cannot be waived"),
        ("waivers.yaml", WAIVER.replace("root-user", "proof-signature"), "gate: 'proof-signature' cannot be waived"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(write: Write, name: str, text: str, expected: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        write(name, text)
    assert any(expected in problem for problem in raised.value.problems), raised.value.problems
    assert raised.value.exit_code == 2


def test_all_mistakes_of_all_files_come_at_once(write: Write) -> None:
    with pytest.raises(DefinitionError):
        write("waivers.yaml", WAIVER.replace("root-user", "nothing-such"))
    with pytest.raises(DefinitionError, match="the policies have 2 problems") as raised:
        write("gates/root-user.yaml", GATE.replace("!image.root", "image.rot"))
    assert [problem.split(":")[0] for problem in raised.value.problems] == [
        "policies/gates/root-user.yaml",
        "policies/waivers.yaml",
    ]


def test_a_waiver_covers_its_scope_until_its_last_day(write: Write) -> None:
    (placed,) = write("waivers.yaml", WAIVER.replace("distribution: runtime", "distribution: runtime, path: usr/*")).waivers
    fact = {"distribution": "runtime", "path": "usr/bin/x"}
    assert placed.covers("root-user", fact, date(2027, 1, 31))
    assert not placed.covers("root-user", fact, date(2027, 2, 1))
    assert not placed.covers("setuid-files", fact, date(2027, 1, 1))
    assert not placed.covers("root-user", {**fact, "distribution": "container"}, date(2027, 1, 1))
    assert not placed.covers("root-user", {"distribution": "runtime"}, date(2027, 1, 1))


def test_the_shipped_files_are_yaml_for_every_reader() -> None:
    for path in [ROOT / "policies" / "tiers.yaml", *(ROOT / "policies" / "gates").glob("*.yaml")]:
        assert isinstance(yaml.safe_load(path.read_text()), dict), path
