from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from nexus_oci.admission.kyverno import cluster_policies, image_validating_policies
from nexus_oci.admission.rules import Rules
from nexus_oci.errors import UsageError
from tests.unit.admission.conftest import EVERY, ONLY, PLACE


def objects(rules: Rules, make: Any = image_validating_policies) -> list[Any]:
    (written,) = make(rules)
    return list(yaml.safe_load_all(written.text))


def test_each_set_of_keys_is_a_policy_for_its_repositories(rules: Rules) -> None:
    engine, runtime = objects(rules)
    assert [one["cosign"]["key"]["data"] for one in engine["spec"]["attestors"]] == [EVERY.pem, ONLY.pem]
    assert [one["cosign"]["key"]["data"] for one in runtime["spec"]["attestors"]] == [EVERY.pem]
    globs = [one["glob"] for one in runtime["spec"]["matchImageReferences"]]
    assert f"{PLACE}/runtime@*" in globs
    assert "mirror.site:5000/nx/runtime:*" in globs
    assert not [glob for glob in globs if "engine" in glob]


def test_no_log_is_asked_and_violations_are_denied(rules: Rules) -> None:
    for policy in objects(rules):
        assert policy["spec"]["validationActions"] == ["Deny"]
        assert policy["spec"]["failurePolicy"] == "Fail"
        for attestor in policy["spec"]["attestors"]:
            assert attestor["cosign"]["ctlog"] == {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}
    assert objects(replace(rules, audit=True))[0]["spec"]["validationActions"] == ["Audit"]


def test_the_classic_policy_asks_for_one_of_the_keys(rules: Rules) -> None:
    engine = objects(rules, cluster_policies)[0]
    (verify,) = engine["spec"]["rules"][0]["verifyImages"]
    assert verify["attestors"][0]["count"] == 1
    assert [one["keys"]["publicKeys"] for one in verify["attestors"][0]["entries"]] == [EVERY.pem, ONLY.pem]
    assert verify["failureAction"] == "Enforce"
    assert all(one["keys"]["rekor"] == {"ignoreTlog": True} for one in verify["attestors"][0]["entries"])


def test_what_is_revoked_is_denied_by_both(rules: Rules) -> None:
    revoked = replace(rules, revoked=("sha256:00",))
    assert "'sha256:00'" in objects(revoked)[0]["spec"]["validations"][0]["expression"]
    denied = objects(revoked, cluster_policies)[0]["spec"]["rules"][0]["validate"]["deny"]
    assert denied["conditions"]["any"][0]["value"] == ["*@sha256:00"]


def test_certificates_stand_beside_keys_or_alone(rules: Rules) -> None:
    both = objects(replace(rules, authorities=("A\n", "B\n")))[0]
    assert both["spec"]["attestors"][-1] == {"name": "notation", "notary": {"certs": {"value": "A\nB\n"}}}
    assert "attestors.notation" in both["spec"]["validations"][0]["expression"]
    bare = replace(rules, authorities=("A\n",), scopes=tuple(replace(scope, keys=()) for scope in rules.scopes))
    (verify,) = objects(bare, cluster_policies)[0]["spec"]["rules"][0]["verifyImages"]
    assert verify["type"] == "Notary"
    with pytest.raises(UsageError, match="Kyverno, asked for attestations"):
        image_validating_policies(replace(bare, attestations=("https://slsa.dev/provenance/v1",)))
