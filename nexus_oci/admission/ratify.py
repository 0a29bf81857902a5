"""Ratify's objects (config.ratify.deislabs.io/v1beta1): where keys come from, where signatures are, what judges them, and when.

Ratify 1 answers Gatekeeper, whose constraint asks it; that constraint comes with Ratify's own chart. Its cosign verifier reads
the signatures under `.sig` tags, its Notation verifier the referrers. Where there are keys and certificates, both are demanded.
"""

from __future__ import annotations

import re
from typing import Any

from nexus_oci.admission.notation import trust_policy
from nexus_oci.admission.rules import Rules, Written, refuse_attestations, refuse_audit, require_keys, yaml_text
from nexus_oci.errors import UsageError

_API = "config.ratify.deislabs.io/v1beta1"
_COSIGN = "application/vnd.dev.cosign.artifact.sig.v1+json"
_NOTATION = "application/vnd.cncf.notary.signature"
_STORE = "certificates"
_SCOPE = re.compile(r"[a-z0-9.:/-]+\Z")
_HEAD = (
    "Signatures of these repositories by these keys, for Ratify 1 behind Gatekeeper. Images of other repositories have no trust",
    "policy here: Ratify refuses those that Gatekeeper asks it about. The keys sign without a transparency log: none is asked.",
)


def ratify_objects(rules: Rules) -> list[Written]:
    """The file of all objects. Raises `UsageError` where nothing could be checked, or a name is one that Ratify does not take."""
    refuse_audit(rules, "Ratify")
    refuse_attestations(rules, "Ratify", "its cosign verifier reads signatures only")
    if not rules.authorities:
        require_keys(rules, "Ratify")
    keyed = all(scope.keys for scope in rules.scopes)
    documents: list[dict[str, Any]] = [_object("Store", "store-oras", _store(rules))]
    types: dict[str, str] = {}
    if keyed:
        documents += [_provider(f"{rules.slug}-{name}", "key", pem) for name, pem in _keys(rules).items()]
        documents.append(_object("Verifier", "verifier-cosign", _cosign(rules)))
        types[_COSIGN] = "any"
    if rules.authorities:
        documents.append(_provider(f"{rules.slug}-ca", "certificate", "".join(rules.authorities)))
        documents.append(_object("Verifier", "verifier-notation", _notation(rules)))
        types[_NOTATION] = "any"
    policies = {"type": "config-policy", "parameters": {"artifactVerificationPolicies": {**types, "default": "any"}}}
    documents.append(_object("Policy", "ratify-policy", policies))
    notes = ("Ratify has no list of revoked digests: what is revoked has to be kept out by other means",) if rules.revoked else ()
    return [Written(path="ratify/ratify.yaml", text=yaml_text(documents, _HEAD), notes=notes)]


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _provider(name: str, content: str, value: str) -> dict[str, Any]:
    """Where a key comes from: the object itself."""
    return _object("KeyManagementProvider", name, {"type": "inline", "parameters": {"contentType": content, "value": value}})


def _store(rules: Rules) -> dict[str, Any]:
    plain = {"useHttp": True} if rules.plain_http else {}
    return {"name": "oras", "parameters": {"cosignEnabled": True, **plain}}


def _keys(rules: Rules) -> dict[str, str]:
    """Every key once, by a name of its own."""
    found = dict.fromkeys(key.pem for scope in rules.scopes for key in scope.keys)
    return {f"key{number}": pem for number, pem in enumerate(found, 1)}


def _cosign(rules: Rules) -> dict[str, Any]:
    names = {pem: name for name, pem in _keys(rules).items()}
    policies = []
    for group in rules.groups():
        for repository in group.repositories:
            if not _SCOPE.match(repository):
                raise UsageError(f"Ratify takes no scope named {repository}", why="its names have no underscores")
        policies.append(
            {
                "name": group.name,
                "scopes": [f"{name}{end}" for name in group.repositories for end in (":*", "@*", "/*")],
                "keys": [{"provider": f"{rules.slug}-{names[key.pem]}"} for key in group.keys],
                "tLogVerify": False,
            }
        )
    return {"name": "cosign", "artifactTypes": _COSIGN, "parameters": {"trustPolicies": policies}}


def _notation(rules: Rules) -> dict[str, Any]:
    return {
        "name": "notation",
        "artifactTypes": _NOTATION,
        "parameters": {
            "verificationCertStores": {"ca": {_STORE: [f"{rules.slug}-ca"]}},
            "trustPolicyDoc": trust_policy(rules, _STORE),
        },
    }
