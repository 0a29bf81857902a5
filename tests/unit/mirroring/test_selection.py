"""What is wanted, and what may go."""

from __future__ import annotations

import pytest
import semver

from nexus_oci.errors import NotFoundError, UsageError
from nexus_oci.mirroring.selection import Retention, Selection, is_attached
from nexus_oci.mirroring.versions import VersionRange, version_of

TAGS = ["1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "stable", "latest", "v0.9.0", f"sha256-{'0' * 64}", f"sha256-{'0' * 64}.sig"]


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.2 <2", ["1.2.0", "1.99.0"], ["1.1.9", "2.0.0", "2.0.0-rc.1"]),
        (">=1.2,<2", ["1.2.0"], ["2.0.0"]),
        (">= 1.2", ["1.2.0", "9.0.0"], ["1.1.0"]),
        ("^1.4", ["1.4.0", "1.9.9"], ["1.3.9", "2.0.0"]),
        ("^0.4.1", ["0.4.1", "0.4.9"], ["0.5.0", "0.4.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("~1.4.2", ["1.4.2", "1.4.9"], ["1.5.0", "1.4.1"]),
        ("~1", ["1.0.0", "1.9.0"], ["2.0.0"]),
        ("1.4.x", ["1.4.0", "1.4.7"], ["1.5.0"]),
        ("1.4", ["1.4.0", "1.4.7"], ["1.5.0"]),
        ("1.4.2", ["1.4.2"], ["1.4.3"]),
        (">1.4", ["1.5.0"], ["1.4.9"]),
        ("<=1.4", ["1.4.9", "1.0.0"], ["1.5.0"]),
        ("1.2 || 1.4", ["1.2.5", "1.4.0"], ["1.3.0"]),
        ("*", ["0.0.1", "9.9.9"], ["1.0.0-rc.1"]),
        (">=2.0.0-rc.1", ["2.0.0-rc.1", "2.0.0-rc.2", "2.0.0"], ["2.1.0-rc.1", "2.0.0-beta"]),
    ],
)
def test_ranges_are_read_as_people_mean_them(text: str, inside: list[str], outside: list[str]) -> None:
    found = VersionRange.parse(text)
    assert [version for version in (*inside, *outside) if semver.Version.parse(version) in found] == inside


@pytest.mark.parametrize("text", ["", "newest", ">=", "1.2 ||", "1.2.3.4", ">=1.x.y"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a range of versions"):
        VersionRange.parse(text)


def test_tags_are_versions_with_a_v_and_an_underscore_too() -> None:
    assert version_of("v1.2.3") == version_of("1.2.3")
    assert version_of("1.2.3_build") == semver.Version.parse("1.2.3+build")
    assert version_of("stable") is None


def test_everything_is_wanted_in_order_but_what_is_attached() -> None:
    assert Selection().of(TAGS, "x") == ["v0.9.0", "1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "latest", "stable"]
    assert [tag for tag in TAGS if is_attached(tag)] == TAGS[-2:]


def test_channels_stand_for_themselves_and_come_last() -> None:
    assert Selection(channels=("stable",)).of(TAGS, "x") == ["stable"]
    both = Selection(channels=("stable",), versions=VersionRange.parse("1.x"))
    assert both.of(TAGS, "x") == ["1.0.0", "1.2.0", "1.10.0", "stable"]


def test_conditions_have_to_hold_together() -> None:
    assert Selection(versions=VersionRange.parse("1.x"), patterns=("1.2*", "2*")).of(TAGS, "x") == ["1.2.0"]
    assert Selection(patterns=("1.1*", "lat*")).of(TAGS, "x") == ["1.10.0", "latest"]


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="x has no channel beta") as caught:
        Selection(channels=("beta",)).of(TAGS, "x")
    assert "latest, stable" in str(caught.value)
    with pytest.raises(NotFoundError, match="nothing in x is to be mirrored"):
        Selection(patterns=("3*",)).of(TAGS, "x")
    with pytest.raises(NotFoundError, match="nothing in x"):
        Selection().of([], "x")


def test_only_versions_may_go() -> None:
    assert Retention().doomed(TAGS, ["1.10.0"]) == ["1.0.0", "1.2.0", "2.0.0-rc.1", "v0.9.0"]
    assert Retention(newest=2).doomed(TAGS, []) == ["1.0.0", "1.2.0", "v0.9.0"]
    assert Retention(patterns=("1.*",)).doomed(TAGS, []) == ["2.0.0-rc.1", "v0.9.0"]


def test_a_hundred_thousand_tags_are_sorted_out() -> None:
    tags = [f"1.{number}.0" for number in range(100_000)]
    assert Selection(versions=VersionRange.parse(">=1.99998")).of(tags, "x") == ["1.99998.0", "1.99999.0"]
    assert len(Retention(newest=10).doomed(tags, [])) == 99_990
