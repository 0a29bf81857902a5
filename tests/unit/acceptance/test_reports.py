from __future__ import annotations

import xml.etree.ElementTree as ET

from nexus_oci.acceptance.junit import junit
from nexus_oci.acceptance.results import Check, Row
from nexus_oci.acceptance.table import table

ROWS = [
    Row(
        file="a.deb",
        format="deb",
        platform="linux/amd64",
        seconds=2.5,
        checks=(
            Check(group="install", name="it installs", status="passed", seconds=1.0),
            Check(group="lint", name="lintian", status="failed", why="E: one\nE: two \x1b[31m"),
        ),
    ),
    Row(
        file="a.apk",
        format="apk",
        platform="linux/arm64",
        seconds=1.0,
        checks=(
            Check(group="service", name="it runs", status="skipped", why="no handler"),
            Check(group="upgrade", name="it runs", status="skipped", why="no handler"),
        ),
    ),
]


def test_the_junit_file_counts_and_tells_why() -> None:
    root = ET.fromstring(junit(ROWS))
    assert {key: root.get(key) for key in ("tests", "failures", "skipped", "time")} == {
        "tests": "4", "failures": "1", "skipped": "2", "time": "3.500",
    }  # fmt: skip
    (failure,) = root.iter("failure")
    assert failure.get("message") == "E: one"
    assert failure.text == "E: one\nE: two \N{REPLACEMENT CHARACTER}[31m"
    assert [case.get("classname") for case in root.iter("testcase")][:2] == ["a.deb.install", "a.deb.lint"]
    assert {skipped.get("message") for skipped in root.iter("skipped")} == {"no handler"}


def test_the_table_marks_groups_and_gives_each_reason_once() -> None:
    lines = table(ROWS).splitlines()
    assert [line.split()[:3] for line in lines[1:2]] == [["deb", "linux/amd64", "failed"]]
    assert "install !lint" in lines[1]
    assert lines[2] == "    failed: lint: lintian: E: one"
    assert "-service -upgrade" in lines[4]
    assert lines[5:] == ["    skipped: it runs: no handler"]
