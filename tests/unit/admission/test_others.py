"""policy-controller, Ratify, Notation and containerd."""

from __future__ import annotations

import json
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexus_oci.admission.containerd import containerd_files
from nexus_oci.admission.notation import notation_files
from nexus_oci.admission.policy_controller import cluster_image_policies
from nexus_oci.admission.ratify import ratify_objects
from nexus_oci.admission.rules import Rules, Scope
from nexus_oci.errors import UsageError
from tests.unit.admission.conftest import EVERY, ONLY, PLACE


def objects(written: list[Any]) -> list[Any]:
    return list(yaml.safe_load_all(written[0].text))


def test_policy_controller_takes_any_key_of_a_group_and_never_what_is_revoked(rules: Rules) -> None:
    engine, runtime, revoked = objects(cluster_image_policies(replace(rules, revoked=("sha256:00",))))
    assert [one["key"]["data"] for one in engine["spec"]["authorities"]] == [EVERY.pem, ONLY.pem]
    assert [one["key"]["data"] for one in runtime["spec"]["authorities"]] == [EVERY.pem]
    assert {"glob": f"{PLACE}/engine@sha256:00"} in revoked["spec"]["images"]
    assert revoked["spec"]["authorities"][0]["static"]["action"] == "fail"


def test_policy_controller_calls_docker_hub_as_its_library_does(rules: Rules) -> None:
    hub = Rules(name="x", scopes=(Scope(repository="docker.io/team/x", keys=(EVERY,)),))
    assert objects(cluster_image_policies(hub))[0]["spec"]["images"][0] == {"glob": "index.docker.io/team/x:**"}


def test_ratify_has_each_key_once_and_names_it_where_it_counts(rules: Rules) -> None:
    found = objects(ratify_objects(rules))
    keys = [one for one in found if one["kind"] == "KeyManagementProvider"]
    assert [one["spec"]["parameters"]["value"] for one in keys] == [EVERY.pem, ONLY.pem]
    (verifier,) = [one for one in found if one["kind"] == "Verifier"]
    engine, runtime = verifier["spec"]["parameters"]["trustPolicies"]
    assert [one["provider"] for one in engine["keys"]] == ["nexus-engine-key1", "nexus-engine-key2"]
    assert [one["provider"] for one in runtime["keys"]] == ["nexus-engine-key1"]
    assert not engine["tLogVerify"]


def test_ratify_refuses_a_name_that_it_could_not_read(rules: Rules) -> None:
    with pytest.raises(UsageError, match="takes no scope named registry.example/a_b"):
        ratify_objects(Rules(name="x", scopes=(Scope(repository="registry.example/a_b", keys=(EVERY,)),)))


def test_notation_trusts_the_chain_for_the_repositories_only(rules: Rules) -> None:
    policy, one, two = notation_files(replace(rules, authorities=("A", "B"), identities=("x509.subject: CN=x",)))
    (entry,) = json.loads(policy.text)["trustPolicies"]
    assert entry["registryScopes"] == [
        f"{PLACE}/engine", "mirror.site:5000/nx/engine", f"{PLACE}/runtime", "mirror.site:5000/nx/runtime",
    ]  # fmt: skip
    assert (entry["trustStores"], entry["trustedIdentities"]) == (["ca:nexus-engine"], ["x509.subject: CN=x"])
    assert [file.path.split("/", 1)[1] for file in (one, two)] == [
        "truststore/x509/ca/nexus-engine/1.pem", "truststore/x509/ca/nexus-engine/2.pem",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="needs certificates"):
        notation_files(rules)


def test_containerds_settings_name_the_folder_and_call_every_verifier(rules: Rules) -> None:
    settings = tomllib.loads(containerd_files(rules, folder="/srv/verifier")[0].text)
    plugin = settings["plugins"]["io.containerd.image-verifier.v1.bindir"]
    assert (settings["version"], plugin["bin_dir"], plugin["max_verifiers"]) == (3, "/srv/verifier/bin", -1)


@pytest.mark.parametrize(("name", "code", "said"), [
    ("docker.io/library/busybox:1", 0, "not judged here"),
    ("registry.example/teams/engine:1", 0, "not judged here"),
    ("registry.example/team/sdk:1", 1, "none of the release's repositories"),
    ("registry.example/team/engine:1", 9, "asked for mirror.site:5000/nx/engine@sha256:11"),
    ("registry.example/team/engine@sha256:11", 9, "asked for mirror.site:5000/nx/engine@sha256:11"),
    ("mirror.site:5000/nx/runtime/deep:1@sha256:11", 9, "asked for mirror.site:5000/nx/runtime/deep@sha256:11"),
    ("mirror.site:5001/nx/runtime:1", 0, "not judged here"),
    ("registry.example/team/engine:$(touch broken)", 9, "asked for mirror.site:5000/nx/engine@sha256:11"),
])  # fmt: skip
def test_the_verifier_decides_by_the_repository(rules: Rules, tmp_path: Path, name: str, code: int, said: str) -> None:
    for file in containerd_files(rules):
        path = tmp_path / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(0o755)
    checker = tmp_path / "programs" / "nexus-oci"
    checker.parent.mkdir()
    checker.write_text('#!/bin/sh\necho "asked for $2"\nexit 9\n')
    checker.chmod(0o755)
    done = subprocess.run(
        ["sh", str(tmp_path / "containerd" / "bin" / "nexus-engine"), "-name", name, "-digest", "sha256:11"],
        input="{}", text=True, capture_output=True, check=False, cwd=tmp_path, env={"PATH": f"{checker.parent}:/usr/bin:/bin"},
    )  # fmt: skip
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout
    assert not (tmp_path / "broken").exists()
