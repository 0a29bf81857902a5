"""sigstore policy-controller's `ClusterImagePolicy` (policy.sigstore.dev/v1beta1).

Without `ctlog` no transparency log is asked. The controller (0.13) takes sigstore bundles only from keyless authorities, so it
reads the signatures under `.sig` tags, and no attestations by keys. Every policy that matches an image has to be satisfied, by
one of its authorities each.
"""

from __future__ import annotations

from typing import Any

from nexus_oci.admission.rules import Group, Rules, Written, refuse_attestations, require_keys, yaml_text

_HEAD = (
    "Refuses images of these repositories that were not signed by one of these keys, in namespaces with the label",
    "policy.sigstore.dev/include=true. The keys sign without a transparency log: none is asked.",
)


def cluster_image_policies(rules: Rules) -> list[Written]:
    """The file of `ClusterImagePolicy` objects. Raises `UsageError` where it would check nothing, or for attestations."""
    require_keys(rules, "policy-controller")
    refuse_attestations(rules, "policy-controller", "it reads sigstore bundles by keyless signers only")
    documents = [_policy(group.name, _images(group), _authorities(group), rules) for group in rules.groups()]
    if rules.revoked:
        names = [name for group in rules.groups() for name in group.repositories]
        globs = [f"{name}{middle}@{digest}" for name in names for digest in rules.revoked for middle in ("", "/**")]
        never = [{"name": "revoked", "static": {"action": "fail", "message": "the image is revoked"}}]
        documents.append(_policy(f"{rules.slug}-revoked", globs, never, rules))
    return [Written(path="policy-controller/cluster-image-policy.yaml", text=yaml_text(documents, _HEAD))]


def _policy(name: str, globs: list[str], authorities: list[dict[str, Any]], rules: Rules) -> dict[str, Any]:
    return {
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": {"name": name},
        "spec": {
            "mode": "warn" if rules.audit else "enforce",
            "images": [{"glob": glob} for glob in globs],
            "authorities": authorities,
        },
    }


def _images(group: Group) -> list[str]:
    """The controller writes a tag or a digest to every name before it looks: no third form is needed."""
    names = [_full(name) for name in group.repositories]
    return [glob for name in names for glob in (f"{name}:**", f"{name}@**", f"{name}/**")]


def _full(repository: str) -> str:
    """The name that the controller's library gives to Docker Hub."""
    return f"index.{repository}" if repository.startswith("docker.io/") else repository


def _authorities(group: Group) -> list[dict[str, Any]]:
    return [
        {"name": f"key{number}", "key": {"data": key.pem, "hashAlgorithm": "sha256"}} for number, key in enumerate(group.keys, 1)
    ]
