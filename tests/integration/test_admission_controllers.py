"""Policies for clusters: held against the controllers' own resource definitions, their expressions evaluated, Notation's obeyed."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import cel
import pytest

from tests.support.admission_site import Site, digest, done, nexus
from tests.support.crds import documents, faults
from tests.support.peers import Outcome, peer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
pytest_plugins = ["tests.support.registry", "tests.support.admission_fixtures"]

KINDS = {
    "kyverno": "kyverno/image-validating-policy.yaml",
    "kyverno-cluster-policy": "kyverno/cluster-policy.yaml",
    "policy-controller": "policy-controller/cluster-image-policy.yaml",
    "ratify": "ratify/ratify.yaml",
}


def write(site: Site, folder: Path, *options: str | Path) -> Path:
    """Write policies for the site; the folder."""
    done(
        site.keys, "admission", "--plain-http", "--repository", f"{site.origin}/engine", *site.moved, "--output", folder, *options
    )
    return folder


@pytest.mark.parametrize("options", [
    pytest.param(("--key", "release.pub"), id="one key"),
    pytest.param(("--key", "release.pub", "--key", "other.pub", "--audit"), id="two keys, audit"),
    pytest.param(("--trust", "scoped.yaml"), id="scopes, and what is revoked"),
])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_the_controllers_definitions_know_every_field(site: Site, tmp_path: Path, kind: str, options: tuple[str, ...]) -> None:
    (site.keys / "scoped.yaml").write_text(
        f"keys: [{{key: release.pub}}, {{key: other.pub, repositories: [origin/nexus/engine]}}]\nrevoked: ['sha256:{'0' * 64}']\n"
    )
    if kind == "ratify":
        options = tuple(word for word in options if word != "--audit")
    words = [str(site.keys / word) if word.endswith((".pub", ".yaml")) else word for word in options]
    found = documents(write(site, tmp_path, "--for", kind, *words) / KINDS[kind])
    assert found
    for document in found:
        assert faults(document) == []
        spoilt = copy.deepcopy(document)
        spoilt["spec"]["insecureIgnoreEverything"] = True
        assert "insecureIgnoreEverything" in faults(spoilt)[0]


def test_certificates_and_attestations_are_known_to_the_definitions(site: Site, authority: Path, tmp_path: Path) -> None:
    key, ca = ("--key", site.public), ("--notation-ca", authority / "ca.pem")
    for kind, options in (
        ("kyverno", (*key, *ca, "--attestation", "provenance", "--attestation", "spdx")),
        ("kyverno", ca),
        ("kyverno-cluster-policy", ca),
        ("ratify", (*key, *ca)),
        ("ratify", ca),
    ):
        for document in documents(write(site, tmp_path, "--for", kind, *options) / KINDS[kind]):
            assert faults(document) == []
    for kind in ("kyverno-cluster-policy", "policy-controller", "ratify", "policy.json", "containerd"):
        refused = nexus(
            site.keys, "admission", "--for", kind, "--key", site.public, "--repository", site.origin, "--attestation", "spdx"
        )
        assert (refused.code, "cannot demand attestations" in refused.err) == (2, True)


def judge(policy: Any, images: dict[str, list[str]], signed: dict[str, set[str]], attested: set[str]) -> bool:
    """Evaluate a policy's expressions as its controller would, with given answers for its functions."""
    attestors = {one["name"]: one["name"] for one in policy["spec"]["attestors"]}
    attestations = {one["name"]: one["name"] for one in policy["spec"].get("attestations", [])}
    names = {
        "images": {"containers": [], "initContainers": [], "ephemeralContainers": [], **images},
        "attestors": attestors,
        "attestations": attestations,
        "verifyImageSignatures": lambda image, keys: len(signed.get(image, set()) & set(keys)),
        "verifyAttestationSignatures": lambda image, kind, keys: len(keys) if f"{image} {kind}" in attested else 0,
    }
    return all(cel.evaluate(one["expression"], names) for one in policy["spec"]["validations"])


def test_the_expressions_let_in_what_any_key_signed_and_nothing_else(site: Site, tmp_path: Path) -> None:
    bad = f"sha256:{'6' * 64}"
    (site.keys / "two.yaml").write_text(f"keys: [{{key: release.pub}}, {{key: other.pub}}]\nrevoked: ['{bad}']\n")
    path = (
        write(site, tmp_path, "--for", "kyverno", "--trust", site.keys / "two.yaml", "--attestation", "spdx") / KINDS["kyverno"]
    )
    (policy,) = documents(path)
    good, plain = "r/engine@sha256:1", "r/engine@sha256:2"
    signed = {good: {"key1"}, plain: {"key2"}, f"r/engine@{bad}": {"key1"}}
    attested = {f"{good} attestation1", f"r/engine@{bad} attestation1"}
    assert judge(policy, {"containers": [good]}, signed, attested)
    assert judge(policy, {}, signed, attested)
    assert judge(policy, {"containers": [plain], "initContainers": [good]}, signed, {*attested, f"{plain} attestation1"})
    assert not judge(policy, {"containers": [plain]}, signed, attested)
    for place in ("containers", "initContainers", "ephemeralContainers"):
        assert not judge(policy, {place: [good, "r/engine@sha256:3"]}, signed, {*attested, "r/engine@sha256:3 attestation1"})
        assert not judge(policy, {place: [f"r/engine@{bad}"]}, signed, attested)


def notation(*words: str | Path) -> Outcome:
    """The Notary Project's own library."""
    finished = subprocess.run([str(peer("notation")), *map(str, words)], capture_output=True, text=True, check=False)
    return Outcome(finished.returncode, finished.stdout, finished.stderr)


def test_notations_own_library_obeys_the_trust_policy(site: Site, authority: Path, tmp_path: Path) -> None:
    images = [f"{site.origin}/engine@{digest(f'{site.origin}/engine:{tag}')}" for tag in ("1.0.0", "6.6.6")]
    made = notation("sign", authority / "leaf.key", authority / "chain.pem", images[0])
    assert made.code == 0, made.err
    ca = ("--notation-ca", authority / "ca.pem")
    folder = write(site, tmp_path / "good", "--for", "notation", *ca) / "notation"
    assert notation("verify", folder, images[0]).code == 0
    assert "no signature" in notation("verify", folder, images[1]).err
    for identity, code in (("x509.subject: C=CH, ST=ZH, O=Nexus, CN=Release", 0), ("x509.subject: C=CH, ST=ZH, O=Else", 1)):
        folder = write(site, tmp_path / f"identity{code}", "--for", "notation", *ca, "--notation-identity", identity) / "notation"
        assert notation("verify", folder, images[0]).code == code
    done(
        site.keys,
        "admission",
        "--for",
        "notation",
        *ca,
        "--repository",
        f"{site.origin}/other",
        "--output",
        tmp_path / "elsewhere",
    )
    assert "no applicable trust policy" in notation("verify", tmp_path / "elsewhere" / "notation", images[0]).err
