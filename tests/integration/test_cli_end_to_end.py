"""The command line as a user meets it: what goes to stdout and what to stderr, and what each verb says of the reference project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Reference
from tests.support.projects import NEVER, REPOSITORY, Project

pytestmark = pytest.mark.integration

DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def test_build_prints_the_release_and_nothing_else(reference: Reference, built: Project) -> None:
    done = built.done("build", DOCKER_HOST=NEVER)
    assert done.out == f"{reference.digest}\n"
    for name in ("nexus-engine_1.0.0_arm64.deb", "nexus-engine-1.0.0.tgz", "linux/amd64"):
        assert name in done.err
    quiet = built.done("--quiet", "build", DOCKER_HOST=NEVER)
    assert (quiet.out, quiet.err) == (f"{reference.digest}\n", "")


def test_build_as_json_lists_what_manifest_json_lists(reference: Reference) -> None:
    data = reference.build.data
    assert DIGEST.match(data["digest"])
    assert data["outputs"] == json.loads((reference.dist / "manifest.json").read_bytes())["outputs"]


def test_progress_as_json_is_one_object_a_line(reference: Reference) -> None:
    assert reference.build.err.splitlines()
    assert all(json.loads(line)["event"] for line in reference.build.err.splitlines())
    ended = {event["step"]: event["seconds"] for event in reference.build.events if event.get("state") == "done"}
    assert all(seconds > 0 for step, seconds in ended.items() if step.startswith("image "))


def test_check_says_that_the_definition_is_valid(reference: Reference) -> None:
    assert "runtime, container for linux/amd64, linux/arm64" in reference.project.done("check").out
    whole = reference.project.done("--json", "check").data
    assert whole["engine"]["name"] == "nexus-engine"
    assert whole["bases"]["static"]


def test_the_plan_is_the_same_each_time_and_holds_no_path_of_this_machine(reference: Reference, project: Project) -> None:
    first = reference.project.done("--json", "plan")
    second = project.done("--json", "plan")
    assert first.data["digest"] == second.data["digest"]
    assert first.data["steps"] == second.data["steps"]
    assert str(reference.project.root) not in first.out
    assert set(first.data["dockerfiles"]) == {
        f"{name} {platform}" for name in ("runtime", "container") for platform in ("linux/amd64", "linux/arm64")
    }
    assert {verdict["state"] for verdict in second.data["verdicts"].values()} == {"run", "if needed", "assemble"}


def test_the_plan_as_a_table_names_every_step_and_its_reasons(reference: Reference) -> None:
    table = reference.project.done("plan", "--explain").out
    for line in (
        "image runtime linux/amd64", "deb runtime linux/arm64", "base static linux/arm64", "artifact tar.gz runtime linux/amd64",
        "index container", "chart", "release",
    ):  # fmt: skip
        assert re.search(rf"^ *{re.escape(line)} ", table, re.MULTILINE), table
    assert table.count("nothing that it reads has changed") == 22


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("biuld",), 2, "did you mean 'build'"),
        (("build", "--distribution", "sdk"), 2, "'sdk'"),
        (("build", "--platform", "linux/s390x"), 2, "linux/s390x"),
        (("build", "--platform", "arm64"), 2, "arm64"),
        (("build", "--jobs", "0"), 2, "jobs"),
        (("push", "127.0.0.1:9/team:1.0.0", "--plain-http"), 2, "HOST/NAMESPACE"),
        (("push", "127.0.0.1:9/team", "--plain-http", "--dist", "nowhere"), 1, "nowhere"),
        (("push", "127.0.0.1:9/team", "--plain-http", "--release", "9.9.9"), 1, "9.9.9"),
        (("push", "registry.example/team", "--plain-http"), 2, "plain"),
        (("pull", "127.0.0.1:9/team/releases:1.0.0", "--format", "debb"), 2, "'debb'"),
        (("verify", "nowhere"), 1, "nowhere"),
        (("lock", "statik"), 2, "statik"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_call_is_answered_with_what_to_do(
    reference: Reference, arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert message in reference.project.run(*arguments, DOCKER_HOST=NEVER).refused(code)


def test_a_folder_without_a_definition_is_named(tmp_path: Path) -> None:
    said = Project(root=tmp_path).run("build", DOCKER_HOST=NEVER).refused(2)
    assert str(tmp_path) in said
    assert "images/nexus.yaml" in said


def test_the_program_is_found_as_a_module_and_as_a_command(reference: Reference) -> None:
    command = Path(sys.executable).parent / "nexus-oci"
    if not command.exists():
        pytest.skip(f"nexus-oci is not installed beside {sys.executable}")
    answers = {
        subprocess.run([*words, "--version"], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
        for words in ([str(command)], [sys.executable, "-m", "nexus_oci"])
    }
    (answer,) = answers
    assert re.fullmatch(r"nexus-oci \d+\.\d+\.\d+\S*\n", answer)


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback(reference: Reference) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "nexus_oci", "-C", str(reference.project.root), "--json", "plan"],
            cwd=REPOSITORY, check=False, stdout=closed, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr


def test_a_project_that_changes_nothing_on_disk_can_be_read_only(reference: Reference, project: Project) -> None:
    """`plan` and `check` write nothing into the project."""
    before = {path: path.stat().st_mtime_ns for path in project.root.rglob("*") if ".git" not in path.parts}
    project.done("check")
    project.done("plan")
    assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*") if ".git" not in path.parts} == before
