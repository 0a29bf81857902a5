"""The controllers' own programs judge images by the policies that were written, as their webhooks would.

Left out unless `--controllers` is given: to build them takes a quarter of an hour, once a machine.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.admission_site import Site, digest, done
from tests.support.peers import Outcome, peer

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
