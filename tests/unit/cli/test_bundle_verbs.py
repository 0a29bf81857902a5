from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.bundles import Maker, maker
from tests.unit.cli.conftest import RunProgram


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setenv("NEXUS_OCI_AUDIT", str(tmp_path / "audit.jsonl"))
    found = maker(tmp_path)
    (tmp_path / "release.pub").write_bytes(found.key.public.pem)
    return found


def test_create_inspect_verify_and_load_say_what_they_did(run: RunProgram, made: Maker) -> None:
    root = made.release(signed=False)
    folder = made.folder
    created = run("-C", folder, "bundle", "create", "-o", folder / "a.nexus")
    assert (created.code, created.out) == (0, f"{folder}/a.nexus\n") and "the bundle is not signed" in created.err
    shown = run("bundle", "inspect", folder / "a.nexus")
    assert shown.code == 0 and "engine:1.0.0" in shown.out and "(not signed)" in shown.out and root.digest in shown.out
    data = json.loads(run("--json", "bundle", "inspect", folder / "a.nexus").out)
    assert data["inventory"]["release"]["digest"] == root.digest and data["signed"] is False
    checked = run("bundle", "verify", folder / "a.nexus", "--insecure-skip-signatures")
    assert checked.code == 0 and checked.out.startswith("verified sha256:")
    loaded = run("load", folder / "a.nexus", folder / "site", "--insecure-skip-signatures")
    assert loaded.code == 0 and loaded.out.splitlines()[0] == root.digest and "engine:1.0.0" in loaded.out
    records = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    assert [one["event"] for one in records] == ["load-started", "load-done"]
    assert records[1]["release"] == root.digest and records[1]["bundle"] == data["digest"] and records[1]["keys"] == []


def test_the_key_of_the_site_is_in_the_record(run: RunProgram, made: Maker) -> None:
    made.bundle(made.release())
    folder = made.folder
    loaded = run("--json", "load", folder / "one.nexus", folder / "site", "--key", folder / "release.pub")
    assert loaded.code == 0 and json.loads(loaded.out)["key"] == "release.pub"
    record = json.loads((folder / "audit.jsonl").read_text().splitlines()[-1])
    assert record["keys"] == [{"name": "release.pub", "fingerprint": made.key.public.fingerprint}]


@pytest.mark.parametrize("verb", ["verify", "load"])
def test_without_a_key_nothing_goes_on_unless_somebody_insists(run: RunProgram, made: Maker, verb: str) -> None:
    made.bundle(made.release())
    words = (
        ["bundle", "verify", made.folder / "one.nexus"]
        if verb == "verify"
        else ["load", made.folder / "one.nexus", made.folder / "site"]
    )
    refused = run(*words)
    assert refused.code == 2 and "no key was given" in refused.err and "--insecure-skip-signatures" in refused.err
    assert not (made.folder / "site").exists()


def test_a_damaged_bundle_is_refused_with_4_and_nothing_is_written(run: RunProgram, made: Maker) -> None:
    path = made.bundle(made.release()).files[0]
    data = bytearray(path.read_bytes())
    data[-5000] ^= 1
    path.write_bytes(data)
    for words in (("bundle", "verify", path), ("load", path, made.folder / "site")):
        refused = run(*words, "--key", made.folder / "release.pub")
        assert refused.code == 4 and "Traceback" not in refused.err
    assert not (made.folder / "site").exists() and not (made.folder / "audit.jsonl").exists()


def test_a_delta_on_the_wrong_base_ends_with_1_names_the_blobs_and_is_recorded(run: RunProgram, made: Maker) -> None:
    made.release("1.0.0", app="old")
    bundle = made.bundle(made.release("2.0.0", app="new"), since="1.0.0")
    refused = run("load", bundle.files[0], made.folder / "site", "--key", made.folder / "release.pub")
    assert refused.code == 1 and bundle.inventory.base is not None
    assert all(one.digest in refused.err for one in bundle.inventory.base.needed)
    assert [json.loads(line)["event"] for line in (made.folder / "audit.jsonl").read_text().splitlines()] == [
        "load-started",
        "load-failed",
    ]
    assert json.loads((made.folder / "site/oci/index.json").read_text())["manifests"] == []


def test_no_record_no_load(run: RunProgram, made: Maker) -> None:
    path = made.bundle(made.release()).files[0]
    refused = run("load", path, made.folder / "site", "--key", made.folder / "release.pub", "--audit", path / "audit")
    assert refused.code == 1 and "audit record" in refused.err and not (made.folder / "site").exists()


def test_diff_names_what_differs(run: RunProgram, made: Maker) -> None:
    one = made.bundle(made.release("1.0.0", app="old"), "a.nexus").files[0]
    two = made.bundle(made.release("2.0.0", app="new"), "b.nexus").files[0]
    assert run("bundle", "diff", one, one).out == "no difference\n"
    found = run("bundle", "diff", one, two)
    assert "- engine:1.0.0" in found.out and "+ engine:2.0.0" in found.out
    data = json.loads(run("--json", "bundle", "diff", one, two).out)
    assert data["addedBytes"] > 0 and set(data["names"]) >= {"1.0.0", "2.0.0"}


def test_inventory_of_a_folder(run: RunProgram, made: Maker) -> None:
    root = made.release()
    data = json.loads(run("inventory", made.folder / "dist").out)
    assert data["repositories"]["releases"]["tags"] == {"1.0.0": root.digest}
    assert root.digest in data["repositories"]["releases"]["digests"] and "engine" in data["repositories"]
    written = run("inventory", made.folder / "dist", "-o", made.folder / "site.json")
    assert written.code == 0 and json.loads((made.folder / "site.json").read_text()) == data


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "1", "--since-inventory", "KEY"), "exclude each other"),
        (("--parity", "10%"), "--parity needs --part-size"),
        (("--part-size", "big"), "is no size"),
        (("--platform", "linux"), "not a platform"),
        (("--since", "0.1"), "no release 0.1"),
        (("--name", "nowhere"), "names no registry"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_a_line(
    run: RunProgram, made: Maker, words: tuple[str, ...], said: str
) -> None:
    made.release()
    named = [str(made.folder / "release.pub") if word == "KEY" else word for word in words]
    refused = run("-C", made.folder, "bundle", "create", "-o", made.folder / "a.nexus", *named)
    assert refused.code in (1, 2) and said in refused.err
    assert not list(made.folder.glob("*a.nexus*"))
