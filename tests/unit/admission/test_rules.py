from __future__ import annotations

from dataclasses import replace

import pytest

from nexus_oci.admission.rules import Mirror, Rules, Scope, require_keys, within, yaml_text
from nexus_oci.errors import UsageError
from tests.unit.admission.conftest import EVERY, ONLY, PLACE


def test_a_scope_covers_what_is_below_it_and_nothing_beside_it() -> None:
    scope = Scope(repository=f"{PLACE}/engine", keys=())
    assert scope.covers(f"{PLACE}/engine")
    assert scope.covers(f"{PLACE}/engine/more")
    assert not scope.covers(f"{PLACE}/engine2")
    assert not within("registry.example:5000/team/engine", "registry.example")


@pytest.mark.parametrize(("repository", "copy"), [
    ("registry.example/team/engine", "mirror.site/nx/engine"),
    ("registry.example/team", "mirror.site/nx"),
    ("registry.example/teams/engine", None),
])  # fmt: skip
def test_a_mirror_puts_its_own_beginning_in_place(repository: str, copy: str | None) -> None:
    assert Mirror(source="registry.example/team", copy="mirror.site/nx").apply(repository) == copy


def test_repositories_are_gathered_by_the_keys_that_they_need(rules: Rules) -> None:
    one, two = rules.groups()
    assert (one.name, one.keys, one.repositories) == (
        "nexus-engine", (EVERY, ONLY), (f"{PLACE}/engine", "mirror.site:5000/nx/engine"),
    )  # fmt: skip
    assert (two.name, two.keys, two.repositories) == (
        "nexus-engine-2", (EVERY,), (f"{PLACE}/runtime", "mirror.site:5000/nx/runtime"),
    )  # fmt: skip


def test_a_scope_that_nobody_may_sign_is_refused_and_not_left_open(rules: Rules) -> None:
    open_one = Scope(repository=f"{PLACE}/sdk", keys=())
    with pytest.raises(UsageError, match=f"would let in everything of {PLACE}/sdk"):
        require_keys(replace(rules, scopes=(*rules.scopes, open_one)), "Kyverno")


def test_names_of_objects_are_labels() -> None:
    assert Rules(name="A" * 80 + "-", scopes=()).slug == "a" * 50
    assert Rules(name="§§", scopes=()).slug == "release"


def test_several_objects_are_parted_and_none_of_them_is_empty() -> None:
    assert yaml_text([{"a": 1}, {"b": 2}], ["head"]) == "# head\na: 1\n---\nb: 2\n"


def test_keys_stand_in_yaml_as_they_stand_in_files() -> None:
    assert yaml_text([{"key": "a\nb\n"}], ["head"]) == "# head\nkey: |\n  a\n  b\n"
