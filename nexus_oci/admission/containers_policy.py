"""`policy.json` of podman, CRI-O, skopeo and buildah (containers-policy.json(5)), and `registries.d` beside it.

What is of these repositories has to be signed; what else is below the prefixes that they share is refused; of everything else the
default speaks. `registries.d` tells these programs to look for signatures under `.sig` tags (containers-registries.d(5)): without
it they see none. A mirror that is only configured in registries.conf needs nothing here, as policies go by the name that is
asked for; one that is asked for by its own name is another identity, and `remapIdentity` says whose.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from nexus_oci.admission.rules import Key, Mirror, Rules, Written, refuse_attestations, refuse_audit, require_keys, yaml_text

_REJECT = [{"type": "reject"}]
_ACCEPT = [{"type": "insecureAcceptAnything"}]


def containers_policy(rules: Rules, *, refuse_others: bool = False, any_tag: bool = False) -> list[Written]:
    """`policy.json` and `registries.d`. With `refuse_others` nothing but the scopes is pulled at all.

    `remapIdentity` compares tags too: a mirrored image has to be asked for by its digest, or by the tag that it was signed with.
    With `any_tag` a mirror's repository stands for the original one whatever the tag (`exactRepository`).
    """
    require_keys(rules, "policy.json")
    refuse_attestations(rules, "policy.json", "it knows signatures only")
    refuse_audit(rules, "policy.json")
    scopes: dict[str, list[dict[str, Any]]] = dict.fromkeys(_closed(rules), _REJECT)
    for scope in rules.scopes:
        scopes |= _scoped(rules, scope.repository, _signed(scope.keys, {"type": "matchRepository"}))
        for mirror in rules.mirrors:
            copy = mirror.apply(scope.repository)
            if copy is not None:
                scopes |= _scoped(rules, copy, _signed(scope.keys, _identity(mirror, scope.repository, any_tag=any_tag)))
    document = {"default": _REJECT if refuse_others else _ACCEPT, "transports": {"docker": scopes}}
    places = {place.repository: {"use-sigstore-attachments": True} for place in rules.everywhere()}
    head = ["Signatures of these repositories are under .sig tags beside the images."]
    notes = ("policy.json refuses what is revoked by its digest only, not by a tag that leads there",) if rules.revoked else ()
    return [
        Written(path="containers/policy.json", text=json.dumps(document, indent=2) + "\n", notes=notes),
        Written(path=f"containers/registries.d/{rules.slug}.yaml", text=yaml_text([{"docker": places}], head)),
    ]


def _closed(rules: Rules) -> tuple[str, ...]:
    """The prefixes below which only the scopes are open, and those of mirrors."""
    copies = (mirror.apply(prefix) for prefix in rules.closed for mirror in rules.mirrors)
    return (*rules.closed, *(copy for copy in copies if copy is not None))


def _scoped(rules: Rules, repository: str, requirement: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    revoked = {f"{repository}@{digest}": _REJECT for digest in rules.revoked}
    return {repository: [requirement], **revoked}


def _signed(keys: Sequence[Key], identity: dict[str, str]) -> dict[str, Any]:
    """A requirement that any one of the keys meets."""
    data = [base64.b64encode(key.pem.encode()).decode() for key in keys]
    keyed: dict[str, Any] = {"keyData": data[0]} if len(data) == 1 else {"keyDatas": data}
    return {"type": "sigstoreSigned", **keyed, "signedIdentity": identity}


def _identity(mirror: Mirror, repository: str, *, any_tag: bool) -> dict[str, str]:
    if any_tag:
        return {"type": "exactRepository", "dockerRepository": repository}
    return {"type": "remapIdentity", "prefix": mirror.copy, "signedPrefix": mirror.source}
