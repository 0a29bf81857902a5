"""`mirror` on the command line, between stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexus_oci.oci.store import Store
from tests.unit.cli.conftest import RunProgram, release


def test_a_store_is_mirrored_to_several(run: RunProgram, project: Path, tmp_path: Path) -> None:
    done = run("mirror", project / "dist", tmp_path / "one", tmp_path / "two")
    assert done.code == 0, done.err
    for name in ("one", "two"):
        assert {"1.0.0", "engine:1.0.0"} <= set(Store.open(tmp_path / name).tags())
    assert f"{tmp_path}/one/releases:1.0.0 sha256:" in done.out
    again = run("mirror", project / "dist", tmp_path / "one")
    assert (again.code, again.out) == (0, "")


def test_a_plan_writes_nothing_and_counts(run: RunProgram, project: Path, tmp_path: Path) -> None:
    planned = run("mirror", project / "dist", tmp_path / "one", "--dry-run")
    assert planned.code == 0, planned.err
    assert "to send" in planned.out
    assert Store.open(tmp_path / "one").tags() == {}
    report = json.loads(run("--json", "mirror", project / "dist", tmp_path / "one", "--dry-run").out)
    assert report["plan"] is True
    (one,) = report["destinations"]
    assert one["blobs_sent"] > 0
    assert one["items"][0]["state"] == "copied"
    assert one["items"][0]["digest"].startswith("sha256:")


def test_versions_and_pruning(run: RunProgram, project: Path, tmp_path: Path) -> None:
    store = Store.open(project / "dist" / "oci")
    for version in ("1.1.0", "2.0.0"):
        release(store, version, title=f"{version}.deb")
    assert run("mirror", project / "dist", tmp_path / "one", "--versions", "^1").code == 0
    assert {"1.0.0", "1.1.0"} == {name for name in Store.open(tmp_path / "one").tags() if ":" not in name}
    pruned = run("mirror", project / "dist", tmp_path / "one", "--versions", "^2", "--prune", "--keep", "2")
    assert pruned.code == 0, pruned.err
    assert f"removed {tmp_path}/one/releases:1.0.0" in pruned.out
    assert {"1.1.0", "2.0.0"} == {name for name in Store.open(tmp_path / "one").tags() if ":" not in name}


def test_a_tier_that_may_have_nothing_of_it_is_told(run: RunProgram, project: Path, tmp_path: Path) -> None:
    done = run("-C", project, "mirror", project / "dist", tmp_path / "one", "--tier", "embedded")
    assert (done.code, "was made smaller" in done.err) == (0, True), done.err
    absent = run("-C", project, "mirror", project / "dist", tmp_path / "one", "--tier", "imaginary")
    assert (absent.code, "there is no tier 'imaginary'" in absent.err) == (2, True)


def test_the_platform_of_nothing_is_named(run: RunProgram, project: Path, tmp_path: Path) -> None:
    done = run("mirror", project / "dist", tmp_path / "one", "--platform", "linux/s390x")
    assert (done.code, "is left" in done.err) == (1, True), done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--keep", "3"), "go with --prune"),
        (("--watch", "soon"), "is no time to wait"),
        (("--versions", ">=new"), "is not a range of versions"),
        (("--channel", "beta"), "has no channel beta"),
        (("--tags", "9*"), "nothing in"),
    ],
)
def test_what_cannot_be_done_is_said(run: RunProgram, project: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = run("mirror", project / "dist", tmp_path / "one", *words)
    assert done.code in (1, 2)
    assert said in done.err


def test_a_place_is_not_mirrored_to_itself(run: RunProgram, project: Path) -> None:
    done = run("mirror", project / "dist", project / "dist")
    assert (done.code, "different places" in done.err) == (2, True)


def test_a_bundle_is_not_mirrored(run: RunProgram, project: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "x.nexus"
    bundle.write_bytes(b"")
    done = run("mirror", bundle, tmp_path / "one")
    assert (done.code, "nexus-oci load" in done.err) == (2, True)


def test_a_key_needs_its_certificate(run: RunProgram, project: Path, tmp_path: Path) -> None:
    key = tmp_path / "client.key"
    key.write_text("")
    done = run("mirror", project / "dist", tmp_path / "one", "--client-key", key)
    assert (done.code, "--client-key needs --client-cert" in done.err) == (2, True)


def test_plain_http_to_another_host_needs_to_be_insisted_on(run: RunProgram, project: Path) -> None:
    done = run("push", "registry.example/team", "--dist", project / "dist", "--plain-http")
    assert (done.code, "plain HTTP to registry.example is refused" in done.err) == (2, True)
    assert "--plain-http-anywhere" in done.err
