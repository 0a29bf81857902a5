"""Python's reader against the vectors that the checker in Go is held to as well."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

import pytest

from nexus_oci.entitlement.judgement import Site, judge
from nexus_oci.entitlement.refusals import Refused
from nexus_oci.entitlement.token import key_id, read
from tests.unit.entitlement import vectors

DOCUMENT: dict[str, Any] = json.loads(vectors.FILE.read_bytes())
KEYS = {name: base64.b64decode(text) for name, text in DOCUMENT["keys"].items()}


def test_the_file_is_what_its_makers_write() -> None:
    assert vectors.FILE.read_text() == vectors.text(), "run python -m tests.unit.entitlement.vectors"


def test_names_are_used_once_and_every_verdict_occurs() -> None:
    names = Counter(case["name"] for case in DOCUMENT["cases"])
    assert [name for name, count in names.items() if count > 1] == []
    assert {case["expect"] for case in DOCUMENT["cases"]} == {
        "valid", "grace", "malformed", "wrong-key", "edited", "revoked", "wrong-engine", "wrong-distribution", "wrong-tier", "clock",
        "not-yet-valid", "expired",
    }  # fmt: skip


@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=lambda case: case["name"])
def test_verdict(case: dict[str, Any]) -> None:
    keys = {key_id(KEYS[name]): KEYS[name] for name in case["keys"]}
    site = Site(**{**case["site"], "revoked": frozenset(case["site"]["revoked"])})
    try:
        verdict: str = judge(read(case["token"].encode(), keys), site, case["now"])
    except Refused as refused:
        verdict = refused.reason
    assert verdict == case["expect"]
