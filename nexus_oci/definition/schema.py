"""The JSON schema of a definition's files, made from the models: `python -m nexus_oci.definition.schema [--check]`.

One schema (draft 2020-12) serves every file under images/: their top keys tell them apart. The text under a field in
the models becomes that field's description. `--check` writes nothing and fails where schema.json is not what the models
say.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from nexus_oci.definition import base_model, distribution_model, engine_model, entitlement_model, nexus_model, package_model
from nexus_oci.definition.base_model import BasesFile
from nexus_oci.definition.distribution_model import FORMATS, Distribution
from nexus_oci.definition.engine_model import RUNTIMES
from nexus_oci.definition.nexus_model import NexusFile

SCHEMA_FILE: Final = Path(__file__).with_name("schema.json")
_MODULES: Final = (engine_model, base_model, entitlement_model, nexus_model, package_model, distribution_model)


def schema() -> dict[str, Any]:
    """The schema, as JSON data."""
    roots: list[type[BaseModel]] = [NexusFile, Distribution, BasesFile]
    _, generated = models_json_schema([(root, "validation") for root in roots], ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = generated["$defs"]
    for module in _MODULES:
        for model, described in documented(module):
            if model.__name__ in definitions:
                describe(definitions[model.__name__], model, described)
    _short_forms(definitions)
    _refusals(definitions)
    tidied = tidy(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:nexus-oci:definition",
        "title": "A definition of nexus-oci",
        "description": "images/nexus.yaml, images/bases.yaml, or the file of one distribution.",
        "type": "object",
        "if": {"required": ["distribution"]},
        "then": {"$ref": "#/$defs/Distribution"},
        "else": {
            "if": {"required": ["engine"]},
            "then": {"$ref": "#/$defs/NexusFile"},
            "else": {"$ref": "#/$defs/BasesFile"},
        },
        "$defs": dict(sorted(tidied.items())),
    }


def rendered() -> str:
    """The text of schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def documented(module: ModuleType) -> Iterator[tuple[type[BaseModel], Mapping[str, str]]]:
    """Every model of a module, with the texts under its fields.

    Read from the source here, where it is wanted, and not by pydantic each time the models are imported.
    """
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            texts: dict[str, str] = {}
            for field, text in zip(node.body, node.body[1:], strict=False):
                target = field.target if isinstance(field, ast.AnnAssign) else None
                value = text.value if isinstance(text, ast.Expr) else None
                if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    texts[target.id] = " ".join(value.value.split())
            yield getattr(module, node.name), texts


def describe(definition: dict[str, Any], model: type[BaseModel], texts: Mapping[str, str]) -> None:
    """Put a model's text, and those of its fields, into its part of a schema."""
    definition["description"] = inspect.cleandoc(model.__doc__ or "")
    for name, field in model.model_fields.items():
        definition["properties"][str(field.alias)]["description"] = texts[name]


def _short_forms(definitions: dict[str, Any]) -> None:
    """What validators accept in place of a mapping, which pydantic cannot tell."""
    text = {"type": "string", "minLength": 1}
    for model, field in (("Engine", "source"), ("NexusFile", "chart")):
        _widen(definitions[model]["properties"][field], text)
    for model in ("Package", "Override"):
        files = definitions[model]["properties"]["files"]["patternProperties"]
        for pattern, file in files.items():
            files[pattern] = {"anyOf": [file, text]}
    formats = definitions["Distribution"]["properties"]["formats"]
    for keyword in [key for key in formats if key not in ("description", "default")]:
        formats.setdefault("anyOf", [{}, {"const": "all"}])[0][keyword] = formats.pop(keyword)
    _widen(definitions["Image"]["properties"]["healthcheck"], {"const": "none"})


def _widen(field: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Accept `other` as well."""
    key = "oneOf" if "oneOf" in field else "anyOf"
    members = [member for member in field.pop(key) if member != {"type": "null"}]
    field["anyOf"] = [*members, other]


def _refusals(definitions: dict[str, Any]) -> None:
    """What the cross-checks refuse inside of one file."""
    engine = definitions["Engine"]
    engine["allOf"] = [
        {
            "if": {"properties": {"runtime": {"const": runtime}}, "required": ["runtime"]},
            "then": {"properties": {other: False for other in RUNTIMES if other != runtime}},
        }
        for runtime in RUNTIMES
    ] + [
        {
            "if": {"properties": {"runtime": {"enum": ["python", "binary"]}}, "required": ["runtime"]},
            "then": {"required": ["command"]},
        }
    ]
    definitions["Distribution"]["allOf"] = [
        {
            "if": {"properties": {"distribution": {"const": name}}},
            "then": {"properties": {"package": False, "formats": {"items": {"enum": ["all", *formats]}}}},
        }
        for name, formats in FORMATS.items()
        if name != "runtime"
    ]
    definitions["Distribution"] |= {
        "if": {"properties": {"distribution": {"const": "sdk"}}},
        "then": {"required": ["image"], "properties": {"image": {"required": ["files"]}}},
    }
    sourceless = {"properties": {"kind": {"enum": ["directory", "link", "ghost"]}}, "required": ["kind"]}
    definitions["PackagedFile"] |= {"if": sourceless, "else": {"required": ["source"]}}
    definitions["Image"]["properties"]["labels"]["patternProperties"][r"^org\.opencontainers\.image\."] = False
    definitions["Image"]["if"] = {"not": {"properties": {"allow-root": {"const": True}}, "required": ["allow-root"]}}
    definitions["Image"]["then"] = {"properties": {"user": {"minimum": 1}}}


def tidy(value: Any) -> Any:
    """Without titles, which repeat the keys; nulls, which no file may hold; and defaults that say nothing."""
    if isinstance(value, list):
        return [tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "anyOf" in value:
        members = [member for member in value["anyOf"] if member != {"type": "null"}]
        value = {**value, "anyOf": members} if len(members) > 1 else {**_without(value, "anyOf"), **members[0]}
    if "default" in value and (value["default"] in ("", None, []) or "{" in str(value["default"])):
        value = _without(value, "default")
    if "patternProperties" in value:
        value = {**value, "additionalProperties": False}
    if isinstance(value.get("title"), str):
        value = _without(value, "title")
    return {key: tidy(item) for key, item in value.items()}


def _without(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key}


def main(arguments: list[str]) -> int:
    """Write schema.json, or with `--check` compare it; returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m nexus_oci.definition.schema [--check]\n")
        return 2
    text = rendered()
    if not arguments:
        SCHEMA_FILE.write_text(text, encoding="utf-8")
        return 0
    if SCHEMA_FILE.is_file() and SCHEMA_FILE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{SCHEMA_FILE.name} is not what the models say; run: python -m nexus_oci.definition.schema\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
