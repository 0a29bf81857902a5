"""The controllers' own programs judge images by the policies that were written, as their webhooks would.

Left out unless `--controllers` is given: to build them takes a quarter of an hour, once a machine.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.admission_site import Site, digest, digests, done
from tests.support.crds import documents
from tests.support.peers import Outcome, peer, real_cosign

pytestmark = [pytest.mark.integration, pytest.mark.controllers, pytest.mark.timeout(3600)]
pytest_plugins = ["tests.support.registry", "tests.support.admission_fixtures"]


def write(site: Site, folder: Path, *options: str | Path) -> Path:
    """Write policies for the site; the folder."""
    done(
        site.keys, "admission", "--plain-http", "--repository", f"{site.origin}/engine", *site.moved, "--output", folder, *options
    )
    return folder


def run(*words: str | Path) -> Outcome:
    finished = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return Outcome(finished.returncode, finished.stdout, finished.stderr)


def policy_tester(policy: Path, image: str) -> Outcome:
    """policy-controller's own tester: it validates the policy, compiles it, and verifies the image by it."""
    return run(peer("policy-tester"), "--policy", policy, "--image", image)


def test_policy_controller_takes_what_is_signed_and_nothing_else(site: Site, tmp_path: Path) -> None:
    name = f"{site.origin}/engine"
    policy = (
        write(site, tmp_path, "--for", "policy-controller", "--key", site.public)
        / "policy-controller"
        / "cluster-image-policy.yaml"
    )
    for image in (f"{name}:1.0.0", f"{name}@{digest(f'{name}:1.0.0')}", f"{site.mirror}/engine:1.0.0"):
        outcome = policy_tester(policy, image)
        assert outcome.code == 0, outcome.out + outcome.err
    assert "no signatures found" in policy_tester(policy, f"{name}:6.6.6").out
    assert "is uncovered by policy" in policy_tester(policy, f"{site.origin}-elsewhere/engine:6.6.6").out
    write(site, tmp_path, "--for", "policy-controller", "--key", site.other)
    assert "signature key validation failed" in policy_tester(policy, f"{name}:1.0.0").out
    write(site, tmp_path, "--for", "policy-controller", "--key", site.other, "--key", site.public)
    assert policy_tester(policy, f"{name}:1.0.0").code == 0


def test_policy_controller_never_takes_what_is_revoked(site: Site, tmp_path: Path) -> None:
    name = f"{site.origin}/engine"
    about = digest(f"{name}:1.0.0")
    (site.keys / "revoking.yaml").write_text(f"keys: [{{key: release.pub}}]\nrevoked: ['{about}']\n")
    written = write(site, tmp_path, "--for", "policy-controller", "--trust", site.keys / "revoking.yaml")
    policy = written / "policy-controller" / "cluster-image-policy.yaml"
    outcome = policy_tester(policy, f"{name}@{about}")
    assert (outcome.code, "the image is revoked" in outcome.out) == (1, True), outcome.out + outcome.err


def kyverno(policy: Path, folder: Path, *, kind: str = "Pod", **images: str) -> Outcome:
    """Kyverno's command line judges a pod, or a Deployment, with an image in each kind of container that is named."""
    spec = {place: [{"name": place.lower(), "image": image}] for place, image in images.items()}
    labels = {"matchLabels": {"app": "x"}}
    manifest: dict[str, Any] = {
        "Pod": {"apiVersion": "v1", "spec": spec},
        "Deployment": {
            "apiVersion": "apps/v1",
            "spec": {"selector": labels, "template": {"metadata": {"labels": labels["matchLabels"]}, "spec": spec}},
        },
    }[kind]
    resource = folder / "resource.json"
    resource.write_text(json.dumps({**manifest, "kind": kind, "metadata": {"name": "x", "namespace": "default"}}))
    return run(peer("kyverno"), "apply", policy, "--resource", resource, "--registry", "--remove-color")


KYVERNO = {"kyverno": "image-validating-policy.yaml", "kyverno-cluster-policy": "cluster-policy.yaml"}


@pytest.mark.parametrize("kind", KYVERNO)
def test_kyverno_takes_what_is_signed_and_nothing_else(site: Site, tmp_path: Path, kind: str) -> None:
    policy = write(site, tmp_path, "--for", kind, "--key", site.public) / "kyverno" / KYVERNO[kind]
    name = f"{site.origin}/engine"
    good, bad = (f"{name}@{digest(f'{name}:{tag}')}" for tag in ("1.0.0", "6.6.6"))
    mirrored = good.replace(site.origin, site.mirror)
    elsewhere = f"{site.origin}-elsewhere/engine@{digest(f'{site.origin}-elsewhere/engine:6.6.6')}"
    for resource in ("Pod", "Deployment"):
        outcome = kyverno(policy, tmp_path, kind=resource, containers=good, initContainers=mirrored)
        assert (outcome.code, "fail: 0, warn: 0, error: 0" in outcome.out) == (0, True), outcome.out + outcome.err
        assert "pass: 0" not in outcome.out
        for places in ({"containers": bad}, {"containers": good, "initContainers": bad}):
            outcome = kyverno(policy, tmp_path, kind=resource, **places)
            assert (outcome.code, "error: 0" in outcome.out) == (1, True), outcome.out + outcome.err
    assert kyverno(policy, tmp_path, containers=elsewhere).code == 0
    write(site, tmp_path, "--for", kind, "--key", site.other)
    assert "error: 0" in kyverno(policy, tmp_path, containers=good).out
    assert kyverno(policy, tmp_path, containers=good).code == 1
    write(site, tmp_path, "--for", kind, "--key", site.other, "--key", site.public)
    assert kyverno(policy, tmp_path, containers=good).code == 0


@pytest.mark.parametrize("resource", ["Pod", "Deployment"])
@pytest.mark.parametrize("kind", KYVERNO)
def test_kyverno_never_takes_what_is_revoked(site: Site, tmp_path: Path, kind: str, resource: str) -> None:
    name = f"{site.origin}/engine"
    index, image = digests(f"{name}:1.0.0")
    (site.keys / "revoking.yaml").write_text(f"keys: [{{key: release.pub}}]\nrevoked: ['{index}']\n")
    policy = write(site, tmp_path, "--for", kind, "--trust", site.keys / "revoking.yaml") / "kyverno" / KYVERNO[kind]
    assert kyverno(policy, tmp_path, kind=resource, containers=f"{name}@{image}").code == 0
    for places in ({"containers": index}, {"containers": image, "initContainers": index}):
        outcome = kyverno(policy, tmp_path, kind=resource, **{place: f"{name}@{about}" for place, about in places.items()})
        assert (outcome.code, "the image is revoked" in outcome.out) == (1, True), outcome.out + outcome.err


def test_kyverno_demands_attestations_by_the_same_keys(site: Site, tmp_path: Path) -> None:
    name = f"{site.origin}/attested/engine"
    done(site.keys / "good", "push", f"{site.origin}/attested", "--plain-http")
    image = f"{name}@{digest(f'{name}:1.0.0')}"
    done(
        site.keys, "admission", "--for", "kyverno", "--key", site.public, "--plain-http", "--repository", name,
        "--attestation", "provenance", "--output", tmp_path,
    )  # fmt: skip
    policy = tmp_path / "kyverno" / KYVERNO["kyverno"]
    outcome = kyverno(policy, tmp_path, containers=image)
    assert (outcome.code, "attested https://slsa.dev/provenance/v1" in outcome.out) == (1, True), outcome.out
    predicate = {
        "buildDefinition": {"buildType": "https://example.com/build", "externalParameters": {}},
        "runDetails": {"builder": {"id": "https://example.com"}},
    }
    (tmp_path / "predicate.json").write_text(json.dumps(predicate))
    cosign = real_cosign()
    for key in ("other", "release"):
        if key == "release":
            assert kyverno(policy, tmp_path, containers=image).code == 1
        attested = cosign.run(
            "attest", "--new-bundle-format=true", "--use-signing-config=false", "--tlog-upload=false", "--yes", "--allow-http-registry",
            "--type", "slsaprovenance1", "--predicate", str(tmp_path / "predicate.json"), "--key", str(site.keys / f"{key}.key"), image,
        )  # fmt: skip
        assert attested.code == 0, attested.err
    outcome = kyverno(policy, tmp_path, containers=image)
    assert (outcome.code, "pass: 1" in outcome.out) == (0, True), outcome.out + outcome.err


@pytest.mark.parametrize("kind", KYVERNO)
def test_kyverno_takes_notations_signatures_by_the_chain(site: Site, authority: Path, tmp_path: Path, kind: str) -> None:
    place = f"{site.origin}/{kind}"
    done(site.keys / "evil", "push", place, "--plain-http")
    name = f"{place}/engine"
    image = f"{name}@{digest(f'{name}:6.6.6')}"
    done(
        site.keys, "admission", "--for", kind, "--notation-ca", authority / "ca.pem", "--plain-http", "--repository", place,
        "--output", tmp_path,
    )  # fmt: skip
    policy = tmp_path / "kyverno" / KYVERNO[kind]
    assert kyverno(policy, tmp_path, containers=image).code == 1
    made = run(peer("notation"), "sign", authority / "leaf.key", authority / "chain.pem", image)
    assert made.code == 0, made.err
    outcome = kyverno(policy, tmp_path, containers=image)
    assert (outcome.code, "error: 0" in outcome.out) == (0, True), outcome.out + outcome.err


def ratify(written: Path, folder: Path, image: str) -> Outcome:
    """Ratify's command line, whose settings are one file: the objects' own parameters, and keys as files instead of providers."""
    objects = documents(written)
    files = {}
    for one in objects:
        if one["kind"] == "KeyManagementProvider":
            path = folder / f"{one['metadata']['name']}.pem"
            path.write_text(one["spec"]["parameters"]["value"])
            files[one["metadata"]["name"]] = {"file": str(path)}
    (store,), (policy,), verifiers = (
        [one["spec"] for one in objects if one["kind"] == kind] for kind in ("Store", "Policy", "Verifier")
    )  # fmt: skip
    plugins = [{"name": one["name"], "artifactTypes": one["artifactTypes"], **one["parameters"]} for one in verifiers]
    for plugin in plugins:
        for trusted in plugin["trustPolicies"]:
            trusted["keys"] = [files[key["provider"]] for key in trusted["keys"]]
    settings = {
        "store": {"version": "1.0.0", "plugins": [{"name": store["name"], **store["parameters"]}]},
        "policy": {"version": "1.0.0", "plugin": {"name": "configPolicy", **policy["parameters"]}},
        "verifier": {"version": "1.0.0", "plugins": plugins},
    }
    (folder / "ratify.json").write_text(json.dumps(settings))
    return run(peer("ratify"), "verify", "--config", folder / "ratify.json", "--subject", image)


def test_ratify_takes_what_is_signed_and_nothing_else(site: Site, tmp_path: Path) -> None:
    name = f"{site.origin}/engine"
    written = write(site, tmp_path, "--for", "ratify", "--key", site.public) / "ratify" / "ratify.yaml"

    def taken(image: str) -> bool:
        outcome = ratify(written, tmp_path, image)
        return outcome.code == 0 and '"isSuccess": true' in outcome.out.split('"verifierReports"')[0]

    assert taken(f"{name}:1.0.0")
    assert taken(f"{name}@{digest(f'{name}:1.0.0')}")
    assert taken(f"{site.mirror}/engine:1.0.0")
    assert not taken(f"{name}:6.6.6")
    write(site, tmp_path, "--for", "ratify", "--key", site.other)
    assert not taken(f"{name}:1.0.0")
    write(site, tmp_path, "--for", "ratify", "--key", site.other, "--key", site.public)
    assert taken(f"{name}:1.0.0")
