from __future__ import annotations

import json

import pytest

from nexus_oci.acceptance.results import Check, Row, read_checks
from nexus_oci.errors import BuildError


def line(**changes: object) -> str:
    return json.dumps({"group": "install", "name": "it installs", "status": "passed", "why": "", "seconds": 0.5, **changes})


def row(*states: str, note: str = "") -> Row:
    checks = tuple(
        Check(group=f"group{index}", name=f"check {index}", status=state, why="" if state == "passed" else f"reason {index}")
        for index, state in enumerate(states)
    )
    return Row(file="a.deb", format="deb", platform="linux/amd64", checks=checks, seconds=1.0, note=note)


def test_a_line_of_the_testbed_becomes_a_check() -> None:
    (check,) = read_checks(line(status="failed", why="no"), "a.deb")
    assert check == Check(group="install", name="it installs", status="failed", why="no", seconds=0.5)


@pytest.mark.parametrize("text", ["Traceback (most recent call last):", line(status="fine"), '{"group": "install"}', "[]"])
def test_what_is_no_result_is_an_error_that_names_the_package(text: str) -> None:
    with pytest.raises(BuildError, match="something else than results about a.deb"):
        read_checks(f"{line()}\n{text}", "a.deb")


def test_one_failure_fails_the_row_and_is_its_reason() -> None:
    found = row("passed", "failed", "skipped")
    assert (found.status, found.why) == ("failed", "group1: check 1: reason 1")


def test_a_row_that_only_skipped_has_not_passed() -> None:
    found = row("skipped", "skipped")
    assert (found.status, found.why) == ("skipped", "reason 0")


def test_a_group_with_a_failure_has_failed_whatever_else_passed() -> None:
    checks = tuple(Check(group="one", name=state, status=state) for state in ("passed", "failed", "skipped"))
    found = Row(file="a", format="deb", platform="p", checks=checks, seconds=0)
    assert found.groups() == {"one": "failed"}
