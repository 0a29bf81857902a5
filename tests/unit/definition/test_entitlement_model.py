"""The `entitlement:` block: its faults, its tiers, and that nothing changes where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nexus_oci.definition import check_sources, effective
from nexus_oci.definition.definition import Definition
from nexus_oci.definition.entitlement_model import tier_of
from tests.unit.definition.conftest import NEXUS

Loaded = Callable[..., Definition]
Problems = Callable[..., tuple[str, ...]]


def nexus(block: str) -> str:
    return f"{NEXUS}entitlement: {block}\n"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{tier: gold, keys: [a.pub]}", "entitlement.tier: found the text 'gold', expected community, developer, professional, enterprise, regulated or sovereign"),
        ("{tier: embedded, keys: [a.pub]}", "entitlement.tier: found the text 'embedded', expected"),
        ("{keys: [a.pub]}", "the key 'tier' is missing"),
        ("{tier: enterprise}", "entitlement.keys: container is for the tier 'enterprise', which starts with an entitlement only; name the public key"),
        ("{tier: enterprise, keys: [../a.pub]}", "leaves its folder through '..'"),
        ("{tier: enterprise, keys: [a.pub, a.pub]}", "'a.pub' is in the list twice"),
        ("{tier: enterprise, keys: [a.pub], limits: {workers: WORKERS}, caps: {workers: 2}}", "entitlement.caps: they are for engines that start without"),
        ("{tier: developer, limits: {workers: WORKERS}, caps: {worker: 2}}", "entitlement.caps: nothing holds the engine to 'worker'; did you mean 'workers'?"),
        ("{tier: developer, caps: {workers: 2}}", "nothing holds the engine to 'workers'; write limits: {workers: VARIABLE}"),
        ("{tier: developer, limits: {workers: WORKERS}, caps: {workers: 0}}", "expected"),
        ("{tier: developer, limits: {workers: WO RKERS}, caps: {workers: 1}}", "the name of an environment variable"),
        ("{tier: developer}", "entitlement: with neither keys nor caps it does nothing; take it out"),
        ("{tier: developer, keys: [a.pub], revoked: ['a b']}", "an entitlement's id"),
        ("{tier: developer, keys: [a.pub], exempt: [--version]}", "expected a list of words"),
    ],
)  # fmt: skip
def test_a_fault_of_the_block(problems: Problems, block: str, expected: str) -> None:
    (problem,) = problems(nexus(block))
    assert problem.startswith("images/nexus.yaml:")
    assert expected in problem


def test_the_tier_is_among_those_of_the_engine(problems: Problems) -> None:
    (problem,) = problems(f"{NEXUS}tiers: [professional, embedded]\nentitlement: {{tier: enterprise, keys: [a.pub]}}\n")
    assert (
        problem
        == "images/nexus.yaml:8:21: entitlement.tier: the engine is not offered in 'enterprise'; its tiers are professional"
    )


def test_a_distribution_is_offered_in_the_tier_or_in_a_higher_one(problems: Problems) -> None:
    (problem,) = problems(
        nexus("{tier: regulated, keys: [a.pub]}"), "distribution: container\ntiers: [professional, enterprise]\n"
    )
    assert problem.startswith("images/container.yaml:2:8: tiers: container is offered in no tier from 'regulated' on")


def test_each_distribution_asks_for_the_least_tier_that_it_is_offered_in(loaded: Loaded) -> None:
    container = "distribution: container\ntiers: [enterprise, professional, embedded]\n"
    runtime = "distribution: runtime\ntiers: [community, developer, professional]\n"
    definition = loaded(nexus("{tier: developer, keys: [a.pub]}"), container, {"images/runtime.yaml": runtime})
    assert definition.entitlement is not None
    found = {item.distribution: tier_of(definition.entitlement, item, definition.tiers) for item in definition.distributions}
    assert found == {"runtime": "developer", "container": "professional"}


def test_a_free_tier_needs_a_key_where_a_distribution_is_for_a_higher_one(problems: Problems) -> None:
    block = nexus("{tier: developer, limits: {workers: WORKERS}, caps: {workers: 2}}")
    (problem,) = problems(block, "distribution: container\ntiers: [professional]\n")
    assert "container is for the tier 'professional'" in problem


def test_a_key_that_is_not_there_is_missed(loaded: Loaded) -> None:
    definition = loaded(
        nexus("{tier: enterprise, keys: [keys/a.pub, keys/b.pub]}"),
        files={"keys/a.pub": "", "keys/bb.pub": "", "requirements.txt": ""},
    )
    (problem,) = check_sources(definition, definition.root)
    assert problem.startswith("images/nexus.yaml:7:")
    assert "entitlement.keys: the file 'keys/b.pub' is not there" in problem


def test_a_definition_without_the_block_is_written_out_as_before(loaded: Loaded) -> None:
    assert "entitlement" not in effective(loaded())


def test_the_block_is_part_of_what_the_definition_says(loaded: Loaded) -> None:
    plain = loaded().digest
    definition = loaded(nexus("{tier: enterprise, keys: [a.pub]}"))
    assert effective(definition)["entitlement"]["tier"] == "enterprise"
    assert definition.digest != plain
