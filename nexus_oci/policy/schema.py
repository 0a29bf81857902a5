"""The JSON schema of policies/, made from the models: `python -m nexus_oci.policy.schema [--check]`.

One schema (draft 2020-12) serves tiers.yaml, waivers.yaml and every gate: their top keys tell them apart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from nexus_oci.definition.schema import describe, documented, tidy
from nexus_oci.policy import model
from nexus_oci.policy.model import GateFile, TiersFile, WaiversFile

SCHEMA_FILE: Final = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """The schema, as JSON data."""
    roots: list[type[BaseModel]] = [TiersFile, GateFile, WaiversFile]
    _, generated = models_json_schema([(root, "validation") for root in roots], ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = generated["$defs"]
    for found, texts in documented(model):
        if found.__name__ in definitions:
            describe(definitions[found.__name__], found, texts)
    for key in ("required", "advisory"):  # `all` is short for every tier
        tiers = definitions["GateFile"]["properties"][key]
        moved = {name: tiers.pop(name) for name in ("type", "items", "uniqueItems") if name in tiers}
        tiers["anyOf"] = [moved, {"const": "all"}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:nexus-oci:policy",
        "title": "Policies of nexus-oci",
        "description": "policies/tiers.yaml, policies/waivers.yaml, or a gate in policies/gates/.",
        "type": "object",
        "if": {"required": ["gate"]},
        "then": {"$ref": "#/$defs/GateFile"},
        "else": {
            "if": {"required": ["tiers"]},
            "then": {"$ref": "#/$defs/TiersFile"},
            "else": {"$ref": "#/$defs/WaiversFile"},
        },
        "$defs": dict(sorted(tidy(definitions).items())),
    }


def rendered() -> str:
    """The text of schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write schema.json, or with `--check` compare it; returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m nexus_oci.policy.schema [--check]\n")
        return 2
    text = rendered()
    if not arguments:
        SCHEMA_FILE.write_text(text, encoding="utf-8")
        return 0
    if SCHEMA_FILE.is_file() and SCHEMA_FILE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{SCHEMA_FILE.name} is not what the models say; run: python -m nexus_oci.policy.schema\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
