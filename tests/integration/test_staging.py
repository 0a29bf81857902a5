"""What stops a build when its bundles are staged, and what a staged bundle carries: with the reference engine, really built."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.integration.conftest import Reference
from tests.support.projects import NEVER, REPOSITORY, Project, reference_project

pytestmark = pytest.mark.integration

POLICIES = "policies: {path: policies/runtime, keys: [policies/keys/runtime-policies.pub]}\n"
TOKEN = "ghp_a1B2c3D4e5F6g7H8i9a1B2c3D4e5F6g7H8i9"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The reference project with the shipped policies in a folder of its own."""
    made = reference_project(tmp_path / "project", dict(os.environ))
    subprocess.run(["cp", "-r", REPOSITORY / "policies", made.root / "policies"], check=True)
    text = (made.root / "images/runtime.yaml").read_text()
    if "\npolicies:" not in text:
        made.edit("images/runtime.yaml", "\npackage:\n", f"\n{POLICIES}\npackage:\n")
    made.commit()
    return made


def refused(project: Project, code: int) -> str:
    """The message of a build that must stop before any work: there is no engine that could do any."""
    return project.run("build", "--distribution", "runtime", DOCKER_HOST=NEVER).refused(code)


def test_a_policy_that_was_changed_stops_the_build_before_any_work(project: Project) -> None:
    policy = project.root / "policies/runtime/script-source.json"
    policy.write_text(policy.read_text().replace("262144", "999999999"))
    message = refused(project, 3)
    assert "script-source.json was changed after it was signed, or another key signed it" in message
    assert "do:" in message


def test_a_policy_without_a_signature_stops_the_build_before_any_work(project: Project) -> None:
    (project.root / "policies/runtime/script-imports.json.sig").unlink()
    assert "script-imports.json has no signature" in refused(project, 3)


def test_no_other_way_leads_into_the_folder_of_verified_policies(project: Project) -> None:
    project.edit(
        "images/runtime.yaml", "\n  files:\n", "\n  files:\n    /usr/share/nexus-engine/policies/mine.json: policies/rate.json\n"
    )
    assert "/usr/share/nexus-engine/policies/mine.json: only verified policies can be in this folder" in refused(project, 2)


def test_secrets_and_conflicts_in_what_a_package_adds_are_told_before_any_work(project: Project) -> None:
    with (project.root / "images/engine/config/runtime.toml").open("a") as file:
        file.write(f'\n# our\ntoken = "{TOKEN}"\n')
    lines = (project.root / "images/engine/config/runtime.toml").read_text().splitlines()
    project.write("images/engine/extra/nexus-engine.8", "another page")
    where = "\n  files:\n    /usr/share/man/man8:\n      source: extra\n"
    project.edit(
        "images/runtime.yaml",
        "\n  files:\n",
        where + "    /usr/share/man/man8/nexus-engine.8: doc/nexus-engine.8\n"
        if "man8" not in (project.root / "images/runtime.yaml").read_text()
        else where,
    )
    message = refused(project, 2)
    assert f"/etc/nexus-engine/runtime.toml:{len(lines)}: a GitHub token (ghp_…)" in message
    assert (
        "/usr/share/man/man8/nexus-engine.8: both package.files /usr/share/man/man8 and package.files /usr/share/man/man8/nexus-engine.8 have it"
        in message
    )
    assert TOKEN not in message
