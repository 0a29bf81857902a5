"""What decides a repository, and what is refused before one is made; how clients take them is tried in tests/integration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pysequoia import CipherSuite

from nexus_oci.errors import BuildError, DefinitionError
from nexus_oci.oci.store import Store
from nexus_oci.pipeline.repositories import KINDS, URL, About, Kind, make_repository, repository_inputs
from nexus_oci.pipeline.toolbox import Toolbox
from nexus_oci.trust.openpgp import SigningKey, load_key
from tests.support.openpgp_keys import armored, make_key

ABOUT = About(name="nexus", description="Packages\n of  a test")


class NoEngine:
    """An engine that must not be asked."""

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"the engine was asked for {name}")


@pytest.fixture
def toolbox(tmp_path: Path) -> Toolbox:
    return Toolbox(engine=NoEngine(), image="none", store=Store.create(tmp_path / "store"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return load_key("env:KEY", environment={"KEY": armored(make_key(CipherSuite.Cv25519)).decode()})


def test_a_description_takes_one_line() -> None:
    assert ABOUT.title == "Packages of a test"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a b"},
        {"name": "-o"},
        {"name": "../up"},
        {"name": ""},
        {"suite": "Stable/x"},
        {"suite": "a\nb"},
        {"url": "https://a b"},
    ],
)
def test_what_would_break_a_list_s_line_or_a_file_s_name_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(DefinitionError, match="cannot name a repository"):
        replace(ABOUT, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_changes_a_repository_changes_its_inputs(kind: Kind, key: SigningKey) -> None:
    late = key.valid_from + 1
    variants = [
        repository_inputs(kind, key, late, ABOUT),
        repository_inputs(kind, None, late, ABOUT),
        repository_inputs(kind, replace(key, signer="0" * 40), late, ABOUT),
        repository_inputs(kind, replace(key, certificate=b"extended"), late, ABOUT),
        repository_inputs(kind, key, late + 1, ABOUT),
        repository_inputs(kind, key, late, replace(ABOUT, url="https://packages.nexus.example")),
        repository_inputs(kind, key, late, replace(ABOUT, suite="testing")),
    ]
    assert len({tuple(sorted(variant.items())) for variant in variants}) == len(variants)
    assert repository_inputs(kind, key, late, ABOUT) == variants[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_inputs_hold_nothing_of_the_secret(kind: Kind, key: SigningKey) -> None:
    with_phrase = replace(key, passphrase="only the test knows this")
    assert "only the test" not in str(repository_inputs(kind, with_phrase, 1, ABOUT))
    assert repository_inputs(kind, with_phrase, 1, ABOUT) == repository_inputs(kind, key, 1, ABOUT)


def test_the_way_to_use_it_says_whether_a_place_must_be_filled_in(key: SigningKey) -> None:
    unknown = repository_inputs("apt", key, 1, ABOUT)["readme"]
    known = repository_inputs("apt", key, 1, replace(ABOUT, url="https://packages.nexus.example"))["readme"]
    assert URL in unknown
    assert URL not in known
    assert key.fingerprint in known
    assert "NOT signed" in repository_inputs("yum", None, 1, ABOUT)["readme"]


def test_two_different_packages_of_one_name_are_refused(toolbox: Toolbox) -> None:
    packages = [("a.deb", toolbox.store.put(content, "x/y")) for content in (b"one", b"two")]
    with pytest.raises(BuildError, match=r"two packages of the apt repository are called a\.deb"):
        make_repository("apt", toolbox, None, packages, epoch=1, about=ABOUT)


def test_a_repository_of_nothing_is_refused(toolbox: Toolbox) -> None:
    with pytest.raises(BuildError, match="no packages for the yum repository"):
        make_repository("yum", toolbox, None, [], epoch=1, about=ABOUT)
