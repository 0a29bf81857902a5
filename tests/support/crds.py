"""The structural schemas of controllers' own resource definitions, from the sources that scripts/peers.sh fetches.

An API server drops fields that a structural schema does not name, without a word; here they are faults.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft4Validator

from tests.support.peers import peer

_FILES = {
    "ImageValidatingPolicy": (
        "kyverno-source",
        "config/crds/policies.kyverno.io/policies.kyverno.io_imagevalidatingpolicies.yaml",
    ),
    "ClusterPolicy": ("kyverno-source", "config/crds/kyverno/kyverno.io_clusterpolicies.yaml"),
    "ClusterImagePolicy": ("policy-controller-source", "config/300-clusterimagepolicy.yaml"),
    **{
        kind: ("ratify-source", f"config/crd/bases/config.ratify.deislabs.io_{plural}.yaml")
        for kind, plural in (
            ("Verifier", "verifiers"),
            ("Store", "stores"),
            ("Policy", "policies"),
            ("KeyManagementProvider", "keymanagementproviders"),
        )
    },
}
_SERVERS = ("apiVersion", "kind", "metadata")
"""What the server itself checks in every object."""


@cache
def _definition(kind: str) -> Any:
    source, path = _FILES[kind]
    return yaml.load((peer(source) / path).read_text(), Loader=yaml.CSafeLoader)


def faults(document: Any) -> list[str]:
    """What an API server would refuse or drop in an object; nothing where it takes it whole."""
    kind = document["kind"]
    definition = _definition(kind)
    group, _, version = document["apiVersion"].partition("/")
    spec = definition["spec"]
    served = [one for one in spec["versions"] if one["name"] == version and one["served"]]
    if (spec["group"], spec["names"]["kind"]) != (group, kind) or not served:
        return [f"{kind} is not served as {document['apiVersion']}"]
    schema = _closed(served[0]["schema"]["openAPIV3Schema"])
    schema["properties"] |= {name: {} for name in _SERVERS}
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in Draft4Validator(schema).iter_errors(document)]


def _closed(schema: Any) -> Any:
    """The same schema, which names every field that there may be."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items() if not name.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        closed = {"type": ["integer", "string"]}
    named = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if named and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def documents(path: Path) -> list[Any]:
    """The objects in a YAML file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]
