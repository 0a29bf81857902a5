"""What the documentation names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_on_packages_names_exists() -> None:
    page = (ROOT / "docs/linux-packages.md").read_text(encoding="utf-8")
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests/integration").glob("test_*.py")}
    named = set(re.findall(r"`(?:test_\w+\.py: )?(test_\w+)`", page))
    defined = set(re.findall(r"^def (test_\w+)\(", "\n".join(files.values()), re.MULTILINE))
    assert named
    assert named - defined == set()
    assert set(re.findall(r"\b(test_\w+\.py)\b", page)) - set(files) == set()


def test_the_page_on_policies_names_every_gate_and_proof() -> None:
    page = (ROOT / "docs/policies.md").read_text(encoding="utf-8")
    gates = {path.stem for path in (ROOT / "policies/gates").glob("*.yaml")}
    rows = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    assert gates <= rows
    from nexus_oci.policy.model import PROOFS

    assert set(PROOFS) <= set(re.findall(r"^\| ([a-z-]+) \|", page, re.MULTILINE))
