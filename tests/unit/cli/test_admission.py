"""`nexus-oci admission`: whose keys, which repositories, and what is said of both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from nexus_oci.trust.keys import generate
from tests.unit.cli.conftest import RunProgram

NEXUS = """
engine:
  name: hello
  version: 1.0.0
  source: app
  runtime: python
  command: [hello]
registry: registry.example/team
"""


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    """A project that publishes two distributions, and keys beside it."""
    (tmp_path / "images").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "requirements.txt").write_text("")
    (tmp_path / "images" / "nexus.yaml").write_text(NEXUS)
    (tmp_path / "images" / "container.yaml").write_text("distribution: container\nrepository: engine\n")
    (tmp_path / "images" / "runtime.yaml").write_text("distribution: runtime\n")
    (tmp_path / "policies").mkdir()
    for name in ("release", "old", "container"):
        (tmp_path / "policies" / f"{name}.pub").write_bytes(generate().public.pem)
    return tmp_path


def test_the_definition_says_which_repositories(definition: Path, run: RunProgram) -> None:
    key = definition / "policies" / "release.pub"
    done = run("-C", definition, "--json", "admission", "--for", "policy.json", "--key", key)
    assert done.code == 0, done.err
    assert json.loads(done.out)["repositories"] == [f"registry.example/team/{name}" for name in ("runtime", "engine", "releases")]
    assert (definition / "admission" / "containers" / "policy.json").is_file()


def test_the_projects_trust_file_says_whose_keys_and_for_what(definition: Path, run: RunProgram) -> None:
    (definition / "policies" / "trust.yaml").write_text(
        "keys:\n- {key: release.pub, not-after: 2920-01-01}\n- {key: old.pub, not-after: 2020-01-01}\n"
        "- {key: container.pub, distributions: [container]}\n"
    )
    done = run("-C", definition, "admission", "--for", "kyverno")
    assert done.code == 0, done.err
    assert "the key old.pub expired on 2020-01-01" in done.err
    assert "the key release.pub ends on 2920-01-01" in done.err
    (path,) = done.out.split()
    others, engine = yaml.safe_load_all(Path(path).read_text())
    assert len(engine["spec"]["attestors"]) == 2
    assert len(others["spec"]["attestors"]) == 1
    assert {"glob": "registry.example/team/engine"} in engine["spec"]["matchImageReferences"]


@pytest.mark.parametrize(("words", "what"), [
    (["--for", "kyverno"], "whose signatures count"),
    (["--for", "kyverno", "--key", "release.pub", "--mirror", "registry.example"], "is no mirror"),
    (["--for", "kyverno", "--key", "release.pub", "--repository", "registry.example/a:1"], "names one image"),
    (["--for", "kyverno", "--key", "release.pub", "--repository", "engine"], "names no registry"),
    (["--for", "notation", "--notation-ca", "release.pub"], "holds no certificates"),
    (["--for", "policy-controller", "--notation-ca", "ca.pem"], "holds no certificates"),
    (["--for", "nothing", "--key", "release.pub"], "is not one of"),
    (["--key", "release.pub"], "Missing option '--for'"),
])  # fmt: skip
def test_what_is_missing_or_wrong_is_said(definition: Path, run: RunProgram, words: list[str], what: str) -> None:
    (definition / "policies" / "ca.pem").write_text("none")
    named = [str(definition / "policies" / word) if word.endswith((".pub", ".pem")) else word for word in words]
    done = run("-C", definition, "admission", *named)
    assert (done.code, what in done.err) == (2, True), done.err


def test_a_key_that_may_sign_nothing_of_it_leaves_no_open_door(definition: Path, run: RunProgram) -> None:
    (definition / "policies" / "trust.yaml").write_text("keys: [{key: release.pub, repositories: [elsewhere]}]\n")
    done = run("-C", definition, "admission", "--for", "policy.json")
    assert (done.code, "would let in everything of registry.example/team/runtime" in done.err) == (2, True)
    assert not (definition / "admission").exists()
