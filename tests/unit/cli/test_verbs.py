"""The verbs that need no engine and no registry: what they print, and that stdout has results only."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Manifest

from .conftest import RunProgram, release

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory of no importance."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def test_ls_shows_the_release_as_a_tree(run: RunProgram, project: Path) -> None:
    done = run("-C", project, "ls")
    assert (done.code, done.err) == (0, "")
    labels = [re.sub(r"  [0-9.]+ \w+  [0-9a-f]{12}$", "", line) for line in done.out.splitlines()]
    assert labels == [
        "1.0.0", "├─ engine:1.0.0", "│  └─ linux/amd64", "│     ├─ config", "│     └─ layer 1", "└─ deb linux/amd64 x.deb",
        "   ├─ empty config", "   └─ x.deb",
    ]  # fmt: skip


def test_ls_as_data(run: RunProgram, project: Path) -> None:
    (tree,) = json.loads(run("-C", project, "--json", "ls").out)
    assert set(tree) == {"label", "digest", "mediaType", "size", "children"}
    assert tree["size"] > sum(child["size"] for child in tree["children"])


def test_the_folder_of_the_definition_goes_before_the_one_that_one_is_in(run: RunProgram, project: Path) -> None:
    release(Store.create(Path("dist/oci")), "9.9.9")
    assert "9.9.9" not in run("-C", project, "ls").out
    assert "9.9.9" in run("ls").out
    assert "9.9.9" in run("-C", project, "ls", "dist/oci").out


def test_a_layout_of_another_tool_is_shown_and_verified(run: RunProgram, tmp_path: Path) -> None:
    root = Store.create(tmp_path / "made")
    manifest = root.put_manifest(Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []}))
    root.replace_tags({}, [manifest])
    for path in [root.steps, root.scratch, root.private / "lock", root.private]:
        path.unlink(missing_ok=True) if path.is_file() else path.rmdir() if path.is_dir() else None
    assert manifest.digest.short in run("ls", root.root).out
    done = run("verify", root.root)
    assert (done.code, done.out) == (0, f"verified {manifest.digest}: 1 manifests, 0 blobs, 0 B\n")
    assert not root.private.exists()


def test_verify_says_what_was_verified(run: RunProgram, project: Path) -> None:
    done = run("-C", project, "--json", "verify")
    found = json.loads(done.out)
    assert (found["verified"], found["faults"], found["manifests"], found["blobs"]) == (True, [], 4, 4)
    assert run("-C", project, "verify").out.startswith(f"verified {found['digest']}: 4 manifests, 4 blobs")


@pytest.mark.parametrize("kept", [True, False], ids=["same time stamp", "touched"])
def test_verify_reads_every_byte_whatever_the_store_remembers(run: RunProgram, project: Path, kept: bool) -> None:
    blobs = project / "dist" / "oci" / "blobs" / "sha256"
    (victim,) = (path for path in blobs.iterdir() if path.read_bytes() == b"deb 1.0.0")
    before = victim.stat()
    victim.write_bytes(b"deb 1.0.1")
    if kept:
        os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = run("-C", project, "--json", "verify")
    assert done.code == 4
    found = json.loads(done.out)
    assert found["verified"] is False
    assert victim.name in "".join(found["faults"])
    assert "1 of its parts are not what they should be" in done.err


def test_several_releases_have_to_be_told_apart(run: RunProgram, project: Path) -> None:
    release(Store.create(project / "dist" / "oci"), "1.1.0")
    done = run("-C", project, "verify")
    assert (done.code, "several releases" in done.err, "it has 1.0.0, 1.1.0" in done.err) == (1, True, True)
    assert run("-C", project, "verify", "--release", "1.1.0").code == 0
    assert "the store has no release 2.0.0" in run("-C", project, "verify", "--release", "2.0.0").err


@pytest.mark.parametrize("words", [["ls"], ["verify"], ["push", "localhost:1/x"], ["ls", "none"]])
def test_without_a_store_the_way_to_one_is_named(run: RunProgram, tmp_path: Path, words: list[str]) -> None:
    done = run("-C", tmp_path / "cwd", *words)
    assert (done.code, done.out) == (1, "")
    assert "there is no store at" in done.err
    assert "nexus-oci build" in done.err


def test_names_from_a_store_cannot_steer_the_terminal(run: RunProgram, tmp_path: Path) -> None:
    release(Store.create(tmp_path / "dist" / "oci"), title="\x1b[2Jx.deb")
    assert "\x1b" not in run("-C", tmp_path, "ls").out


def test_check_prints_one_line_or_the_whole_definition(run: RunProgram) -> None:
    assert run("-C", ROOT, "check").out.endswith(": the definition is valid\n")
    assert json.loads(run("-C", ROOT, "--json", "check").out)["engine"]["name"] == "nexus-engine"


def test_plan_is_a_table_or_data_and_a_json_log_stays_json(run: RunProgram) -> None:
    done = run("-C", ROOT, "plan", "--explain", "--output", "none")
    assert done.out.startswith("nexus-engine ")
    assert "there is no store yet" in done.out
    done = run("-C", ROOT, "--json", "--log-format", "json", "plan", "--output", "none", "--distribution", "container")
    data = json.loads(done.out)
    assert set(data) == {"name", "version", "epoch", "steps", "digest", "verdicts", "dockerfiles"}
    assert {step["id"]: step["key"] for step in data["steps"]}["image container linux/arm64"]
    assert all(json.loads(line) for line in done.err.splitlines())
