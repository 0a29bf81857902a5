"""What stops a build before or while its bundles are staged, and what a staged bundle carries; through the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.integration.engines_support import MACHINES, small_project
from tests.support.projects import NEVER, REPOSITORY, Project, reference_project

pytestmark = pytest.mark.integration

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9" * 2
FILES = "package:\n  section: net\n  files:\n"
PLATFORM = "linux/amd64"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The reference project with the shipped policies in a folder of its own."""
    made = reference_project(tmp_path / "project", dict(os.environ))
    shutil.copytree(REPOSITORY / "policies", made.root / "policies", dirs_exist_ok=True)
    made.commit()
    return made


@pytest.fixture
def prebuilt(tmp_path: Path) -> Project:
    """An engine that was built elsewhere, with a runtime distribution."""
    made = small_project(
        tmp_path,
        "maintainer: Ann <ann@nexus.example>, licenses: MIT, runtime: binary, command: [/usr/lib/small/srv], "
        f"binary: {{trees: {{{PLATFORM}: tree, linux/arm64: tree}}}}",
        {"tree/conf/app.txt": "one\ntwo\n"},
    )
    header = bytearray(b"\x7fELF\x02\x01\x01".ljust(64, b"\0"))
    header[18] = MACHINES[PLATFORM]
    (made.root / "tree/srv").write_bytes(header)
    (made.root / "tree/srv").chmod(0o755)
    made.write("images/runtime.yaml", f"distribution: runtime\nplatforms: [{PLATFORM}]\nformats: [image, tar.gz]\n")
    return made


def refused_before_any_work(project: Project, code: int) -> str:
    """The message of a build that there is no engine for."""
    return project.run("build", "--distribution", "runtime", DOCKER_HOST=NEVER).refused(code)


def test_a_policy_that_was_changed_stops_the_build_before_any_work(project: Project) -> None:
    policy = project.root / "policies/runtime/script-source.json"
    policy.write_text(policy.read_text().replace("262144", "999999999"))
    message = refused_before_any_work(project, 3)
    assert "script-source.json was changed after it was signed, or another key signed it" in message
    assert "\n  do:  " in message


def test_a_policy_without_a_signature_stops_the_build_before_any_work(project: Project) -> None:
    (project.root / "policies/runtime/script-imports.json.sig").unlink()
    assert "script-imports.json has no signature" in refused_before_any_work(project, 3)


def test_no_other_way_leads_into_the_folder_of_verified_policies(project: Project) -> None:
    line = "    /usr/share/nexus-engine/policies/mine.json: policies/rate.json\n"
    project.edit("images/runtime.yaml", FILES, FILES + line)
    message = refused_before_any_work(project, 2)
    assert "/usr/share/nexus-engine/policies/mine.json: only verified policies can be in this folder" in message


def test_secrets_and_conflicts_in_what_a_package_adds_are_told_before_any_work(project: Project) -> None:
    place = project.root / "images/engine/config/runtime.toml"
    place.write_text(f'{place.read_text()}\n# ours\ntoken = "{TOKEN}"\n')
    project.write("images/engine/extra/page", "one")
    project.write("images/engine/other", "two")
    project.edit("images/runtime.yaml", FILES, f"{FILES}    /opt/nexus: extra\n    /opt/nexus/page: other\n")
    message = refused_before_any_work(project, 2)
    number = len(place.read_text().splitlines())
    assert f"/etc/nexus-engine/runtime.toml:{number}: a GitHub token (ghp_…)" in message
    assert (
        "/opt/nexus/page: both package.files /opt/nexus and package.files /opt/nexus/page have it, of different content"
        in message
    )
    assert TOKEN not in message


def test_a_secret_in_what_the_engine_consists_of_stops_the_build_with_file_and_line(prebuilt: Project) -> None:
    prebuilt.write("tree/conf/app.txt", f"one\ntwo\nkey {TOKEN}\n")
    (prebuilt.root / "tree/conf/gone").symlink_to("missing")
    message = prebuilt.run("build", "--distribution", "runtime").refused(1)
    assert "/usr/lib/small/conf/app.txt:3: a GitHub token (ghp_…); take it out and revoke it" in message
    assert "/usr/lib/small/conf/gone: the link leads to missing, which is in the package's own folder and not there" in message
    assert TOKEN not in message


def test_a_secret_that_the_definition_argues_away_is_staged_with_sums_and_manifest(prebuilt: Project, tmp_path: Path) -> None:
    prebuilt.write("tree/conf/app.txt", f"key {TOKEN}\n")
    with (prebuilt.root / "images/runtime.yaml").open("a") as file:
        file.write('secrets: {allow: {"/usr/lib/small/conf/*": an example that opens nothing}}\n')
    prebuilt.done("build", "--distribution", "runtime")
    (archive,) = (prebuilt.dist / "artifacts/runtime").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "out", filter="tar")
    (top,) = (tmp_path / "out").iterdir()
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=top, capture_output=True, text=True, check=True)
    listed = {line.removesuffix(": OK") for line in done.stdout.splitlines()}
    there = {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file() and not path.is_symlink()}
    assert there - listed == {"SHA256SUMS"}
    manifest = json.loads((top / "manifest.json").read_text())
    entries = {entry["path"]: entry for entry in manifest["files"]}
    assert entries["lib/small/srv"]["mode"] == "0755"
    assert manifest["platform"] == PLATFORM
