"""The JSON schema of policies: current, described throughout, and of one mind with the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from nexus_oci.policy.schema import SCHEMA_FILE, main, rendered
from tests.unit.policy_kit import ROOT

WAIVER = {"gate": "x", "scope": {"distribution": "sdk"}, "owner": "A", "reason": "b", "until": "2027-01-31"}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_schema_file_is_what_the_models_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert SCHEMA_FILE.read_text() == rendered(), "run: python -m nexus_oci.policy.schema"
    assert main(["--check"]) == 0
    assert main(["--chek"]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_stale_schema_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("nexus_oci.policy.schema.SCHEMA_FILE", tmp_path / "schema.json")
    assert main(["--check"]) == 1
    assert "run: python -m nexus_oci.policy.schema" in capsys.readouterr().err


def test_every_property_is_described(validator: Draft202012Validator) -> None:
    for name, definition in validator.schema["$defs"].items():
        for key, field in definition.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"


def test_the_shipped_files_are_valid(validator: Draft202012Validator) -> None:
    for path in [ROOT / "policies" / "tiers.yaml", *(ROOT / "policies" / "gates").glob("*.yaml")]:
        assert not list(validator.iter_errors(yaml.safe_load(path.read_text()))), path


@pytest.mark.parametrize(
    ("change", "valid"),
    [({}, True), ({"owner": 1}, False), ({"until": "soon"}, False), ({"until": 7}, False), ({"scope": {"file": "x"}}, False), ({"extra": 1}, False)],
)  # fmt: skip
def test_waivers_are_what_the_schema_says(validator: Draft202012Validator, change: dict[str, Any], valid: bool) -> None:
    assert validator.is_valid({"waivers": [{**WAIVER, **change}]}) is valid


@pytest.mark.parametrize("tiers", [["regulatd"], "some", ["regulated", "regulated"]])
def test_tiers_that_are_none_are_refused(validator: Draft202012Validator, tiers: object) -> None:
    gate = yaml.safe_load((ROOT / "policies/gates/root-user.yaml").read_text())
    assert validator.is_valid(gate)
    assert not validator.is_valid({**gate, "required": tiers})
