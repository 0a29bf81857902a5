"""Kyverno's policies: `ImageValidatingPolicy` (policies.kyverno.io/v1) and the classic `ClusterPolicy` (kyverno.io/v1).

Both need a digest, put one in where a tag is written, and refuse what no key of the scope signed. Signatures are made with keys
and stand in no transparency log, so the log and certificate timestamps are not asked for. The classic policy can demand either
keys or certificates for an image, not one of both: where there are keys it demands those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nexus_oci.admission.rules import Group, Rules, Written, refuse_attestations, require_keys, yaml_text

_PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}
_IMAGES = "(images.containers + images.initContainers + images.ephemeralContainers)"
_TIMEOUT = 30
"""Seconds; the most that an admission webhook may have."""
_HEAD = (
    "Refuses pods whose images of these repositories were not signed by one of these keys.",
    "The keys sign without a transparency log: none is asked.",
)


def image_validating_policies(rules: Rules) -> list[Written]:
    """The file of `ImageValidatingPolicy` objects, one for each set of keys. Raises `UsageError` where it would check nothing."""
    if not rules.authorities:
        require_keys(rules, "Kyverno")
    if rules.attestations:
        require_keys(rules, "Kyverno, asked for attestations,")
    documents = [_image_validating_policy(rules, group) for group in rules.groups()]
    return [Written(path="kyverno/image-validating-policy.yaml", text=yaml_text(documents, _HEAD))]


def cluster_policies(rules: Rules) -> list[Written]:
    """The file of `ClusterPolicy` objects. Raises `UsageError` where nothing could be checked, or attestations are demanded."""
    refuse_attestations(
        rules, "Kyverno's ClusterPolicy", "it looks for them under tags, or with certificates; ours refer to the image"
    )
    if not rules.authorities:
        require_keys(rules, "Kyverno")
    documents = [_cluster_policy(rules, group) for group in rules.groups()]
    return [Written(path="kyverno/cluster-policy.yaml", text=yaml_text(documents, _HEAD))]


def _image_validating_policy(rules: Rules, group: Group) -> dict[str, Any]:
    keys = [_cosign(f"key{number}", key.pem) for number, key in enumerate(group.keys, 1)]
    chain = [{"name": "notation", "notary": {"certs": {"value": "".join(rules.authorities)}}}] if rules.authorities else []
    spec: dict[str, Any] = {
        "failurePolicy": "Fail",
        "validationActions": ["Audit"] if rules.audit else ["Deny"],
        "webhookConfiguration": {"timeoutSeconds": _TIMEOUT},
        "matchConstraints": {"resourceRules": [_PODS]},
        "matchImageReferences": [{"glob": glob} for name in group.repositories for glob in _globs(name)],
        "validationConfigurations": {"mutateDigest": True, "verifyDigest": True, "required": True},
    }
    if rules.plain_http:
        spec["credentials"] = {"allowInsecureRegistry": True}
    spec["attestors"] = keys + chain
    if rules.attestations:
        spec["attestations"] = [
            {"name": f"attestation{number}", "intoto": {"type": kind}} for number, kind in enumerate(rules.attestations, 1)
        ]
    spec["validations"] = [
        *_revoked(rules.revoked),
        _validation(f"verifyImageSignatures(image, {_list(keys + chain)}) > 0", "no key of the release signed the image"),
        *(
            _validation(
                f"verifyAttestationSignatures(image, attestations.attestation{number}, {_list(keys)}) > 0",
                f"no key of the release attested {kind}",
            )
            for number, kind in enumerate(rules.attestations, 1)
        ),
    ]
    return {
        "apiVersion": "policies.kyverno.io/v1",
        "kind": "ImageValidatingPolicy",
        "metadata": {"name": group.name},
        "spec": spec,
    }


def _cosign(name: str, pem: str) -> dict[str, Any]:
    return {
        "name": name,
        "cosign": {
            "key": {"data": pem},
            "ctlog": {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True},
        },
    }


def _revoked(digests: Sequence[str]) -> list[dict[str, str]]:
    """What no signature saves: images whose digest was revoked."""
    if not digests:
        return []
    listed = ", ".join(f"'{digest}'" for digest in digests)
    return [_validation(f"![{listed}].exists(digest, image.endsWith(digest))", "the image is revoked")]


def _validation(condition: str, message: str) -> dict[str, str]:
    return {"expression": f"{_IMAGES}.all(image, {condition})", "message": message}


def _list(attestors: Sequence[dict[str, Any]]) -> str:
    return "[" + ", ".join(f"attestors.{attestor['name']}" for attestor in attestors) + "]"


def _cluster_policy(rules: Rules, group: Group) -> dict[str, Any]:
    verify: dict[str, Any] = {
        "imageReferences": [glob for name in group.repositories for glob in _globs(name)],
        "failureAction": "Audit" if rules.audit else "Enforce",
        "mutateDigest": not rules.audit,
        "verifyDigest": True,
        "required": True,
    }
    if rules.plain_http:
        verify["imageRegistryCredentials"] = {"allowInsecureRegistry": True}
    if group.keys:
        unlogged = {"rekor": {"ignoreTlog": True}, "ctlog": {"ignoreSCT": True}}
        entries: list[dict[str, Any]] = [{"keys": {"publicKeys": key.pem, **unlogged}} for key in group.keys]
        verify |= {"type": "Cosign", "attestors": [{"count": 1, "entries": entries}]}
    else:
        entries = [{"certificates": {"cert": certificate}} for certificate in rules.authorities]
        verify |= {"type": "Notary", "attestors": [{"count": 1, "entries": entries}]}
    match = {"any": [{"resources": {"kinds": ["Pod"], "operations": ["CREATE", "UPDATE"]}}]}
    rules_of_policy: list[dict[str, Any]] = [{"name": "signed", "match": match, "verifyImages": [verify]}]
    if rules.revoked:
        rules_of_policy.insert(0, {"name": "not-revoked", "match": match, "validate": _denied(rules)})
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": group.name},
        "spec": {
            "background": False,
            "webhookConfiguration": {"failurePolicy": "Fail", "timeoutSeconds": _TIMEOUT},
            "rules": rules_of_policy,
        },
    }


def _denied(rules: Rules) -> dict[str, Any]:
    images = "{{ request.object.spec.[containers, initContainers, ephemeralContainers][].image }}"
    condition = {"key": images, "operator": "AnyIn", "value": [f"*@{digest}" for digest in rules.revoked]}
    return {
        "failureAction": "Audit" if rules.audit else "Enforce",
        "message": "the image is revoked",
        "deny": {"conditions": {"any": [condition]}},
    }


def _globs(repository: str) -> tuple[str, ...]:
    """What a repository, and all below it, looks like in a pod, with a tag, with a digest, with both or with neither."""
    return repository, f"{repository}:*", f"{repository}@*", f"{repository}/*"
