"""Notation's trust policy, `trustpolicy.json` (version 1.0), and the store of certificates beside it.

The Notary Project's "Trust Store and Trust Policy" specification. Scopes are full repository names: it has no wildcards but one
for everything. `strict` also refuses signatures whose certificate is not valid any more.
"""

from __future__ import annotations

import json
from typing import Any

from nexus_oci.admission.rules import Rules, Written
from nexus_oci.errors import UsageError


def trust_policy(rules: Rules, store: str) -> dict[str, Any]:
    """The document, which trusts the certificates in the store of that name for the rules' repositories, with their mirrors."""
    return {
        "version": "1.0",
        "trustPolicies": [
            {
                "name": rules.slug,
                "registryScopes": list(dict.fromkeys(scope.repository for scope in rules.everywhere())),
                "signatureVerification": {"level": "audit" if rules.audit else "strict"},
                "trustStores": [f"ca:{store}"],
                "trustedIdentities": list(rules.identities),
            }
        ],
    }


def notation_files(rules: Rules) -> list[Written]:
    """`trustpolicy.json` and `truststore/`, for Notation's folder of settings. Raises `UsageError` without certificates."""
    if not rules.authorities:
        raise no_certificates("Notation")
    policy = json.dumps(trust_policy(rules, rules.slug), indent=2) + "\n"
    certificates = [
        Written(path=f"notation/truststore/x509/ca/{rules.slug}/{number}.pem", text=certificate)
        for number, certificate in enumerate(rules.authorities, 1)
    ]
    return [Written(path="notation/trustpolicy.json", text=policy), *certificates]


def no_certificates(kind: str) -> UsageError:
    """What to say where certificates are needed and none was given."""
    return UsageError(
        f"{kind} needs certificates",
        why="its signatures are trusted through X.509 chains, not through keys alone",
        hint="name the root of the signer's chain with --notation-ca",
    )
