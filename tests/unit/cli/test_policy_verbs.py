"""`check --policy`, `push --tier` and `verify --tier`: what they print, refuse, remember and record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, canonical_json
from nexus_oci.pipeline.attest import Request, attest_store
from nexus_oci.pipeline.proofs import SBOMS
from nexus_oci.pipeline.signing_release import sign_store
from nexus_oci.pipeline.tier_check import Standard, remember, used_waivers
from nexus_oci.policy.loading import load_policy
from nexus_oci.sbom import cyclonedx, spdx
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.keys import Signer, generate
from nexus_oci.trust.provenance import Dependency, Parameters, Provenance
from tests.unit.policy_kit import ROOT, SECRET, Entry, Kit, deb, elf

from .conftest import RunProgram

GOOD = {"usr/bin/engine": Entry(data=elf(b"the engine"), mode=0o755)}
ROOT_WAIVER = "waivers:\n  - {gate: root-user, scope: {distribution: container}, owner: Ann, reason: a port below 1024, until: 2027-06-30}\n"
KEY = generate()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day, a cache and a working directory of the tests' own."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    from datetime import date

    from nexus_oci.pipeline import tier_check

    monkeypatch.setattr(tier_check, "today", lambda: date(2027, 1, 20))


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(store=Store.create(tmp_path / "dist" / "oci"))


def good_release(kit: Kit) -> Descriptor:
    """What may be delivered to a regulated customer, but for its proofs."""
    index = kit.image("runtime", GOOD, base={"etc/os-release": b"ID=debian\n"})
    kit.artifact("runtime", "deb", "x.deb", deb(GOOD), index)
    kit.image("container", GOOD)
    root = kit.release()
    sums = [f"{layer.digest.hex}  artifacts/runtime/x.deb" for layer in kit.store.manifest(kit.artifacts[0]).layers]
    place = kit.store.root.parent / "artifacts" / "runtime"
    place.mkdir(parents=True)
    (place / "x.deb").write_bytes(deb(GOOD))
    (kit.store.root.parent / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    return root


def provenance(**internal: Any) -> dict[str, Any]:
    made = Provenance(
        name="shop",
        version="1.0.0",
        parameters=Parameters(epoch=1_800_000_000),
        source={"uri": "https://shop.example/git", "commit": "c0ffee" * 6, "dirty": False},
        internal=internal,
        dependencies=(Dependency(name="source", digest={"gitCommit": "c0ffee"}),),
        tools={},
    )
    return made.to_json()


def prove(kit: Kit, root: Descriptor, key: Signer = KEY, **internal: Any) -> None:
    """Sign and attest a release."""
    sign_store(kit.store, root, key)
    attest_store(kit.store, root, Request(signer=key, provenance=provenance(**internal)), lambda _: None)


def public(tmp_path: Path, key: Signer = KEY) -> Path:
    path = tmp_path / "release.pub"
    path.write_bytes(key.public.pem)
    return path


def test_the_predicate_types_that_are_looked_for_are_those_that_are_written() -> None:
    assert SBOMS == (spdx.PREDICATE, cyclonedx.PREDICATE)


def test_what_is_as_it_should_be_passes_with_a_table_of_gates(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    good_release(kit)
    done = run("-C", tmp_path, "check", "--policy")
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()[1:]]
    assert {row[1] for row in rows} == {path.stem for path in (ROOT / "policies" / "gates").glob("*.yaml")}
    assert {row[2] for row in rows} == {"passed"}


def test_what_is_not_is_refused_with_exit_3_and_a_table(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    kit.image("container", GOOD, {"etc/key.pem": SECRET}, user="0")
    kit.release()
    done = run("-C", tmp_path, "check", "--policy")
    assert done.code == 3
    assert "gate     root-user          REFUSED  container linux/amd64, the image: user 0" in done.out
    assert "secrets: container linux/amd64, layer 2: a private key in etc/key.pem, line 1; allowed: none" in done.err
    assert "Traceback" not in done.err


def test_the_report_as_data(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    kit.image("container", GOOD, user="0")
    root = kit.release()
    done = run("-C", tmp_path, "--json", "check", "--policy", "--tier", "professional")
    data = json.loads(done.out)
    assert (done.code, data["release"], data["tier"], data["passed"]) == (3, root.digest, "professional", False)
    assert {one["gate"] for one in data["findings"] if one["outcome"] == "refused"} == {
        "root-user",
        "proof-checksums",
        "proof-signature",
    }


def test_a_waiver_lets_it_pass_and_is_shown(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    kit.image("container", GOOD, user="0")
    kit.release()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "waivers.yaml").write_text(ROOT_WAIVER)
    done = run("-C", tmp_path, "check", "--policy")
    assert done.code == 0
    assert "waived   container linux/amd64, the image: user 0; by Ann until 2027-06-30: a port below 1024" in done.out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("2027-06-30", "2027-01-19"), "waiver-dates"),
        (("{distribution: container}", "{}"), "a waiver of everything is none"),
    ],
)
def test_an_expired_or_scopeless_waiver_is_refused(
    run: RunProgram, kit: Kit, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    kit.image("container", GOOD, user="0")
    kit.release()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "waivers.yaml").write_text(ROOT_WAIVER.replace(*change))
    done = run("-C", tmp_path, "check", "--policy")
    assert done.code in (2, 3)
    assert said in done.err


def test_a_broken_gate_is_a_definition_error_of_file_and_line(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    good_release(kit)
    gates = tmp_path / "policies" / "gates"
    gates.mkdir(parents=True)
    (gates / "root-user.yaml").write_text(
        (ROOT / "policies/gates/root-user.yaml").read_text().replace("!image.root", "!image.rot")
    )
    done = run("-C", tmp_path, "check", "--policy")
    assert done.code == 2
    assert "policies/gates/root-user.yaml:5:13: expression: nothing is called 'rot'" in done.err


def test_a_tier_wants_its_proofs_and_attesting_brings_them(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    root = good_release(kit)
    done = run("-C", tmp_path, "check", "--policy", "--tier", "regulated")
    assert done.code == 3
    missing = [line.split()[1] for line in done.out.splitlines() if "MISSING" in line]
    assert missing == ["signature", "sbom", "provenance", "reproducibility", "audit"]
    prove(kit, root)
    done = run("-C", tmp_path, "check", "--policy", "--tier", "regulated")
    assert done.code == 0, done.err
    assert done.out.count(" there ") == 7
    assert "not judged by whom" in done.out


def test_growth_is_counted_from_another_store(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    small = Kit(store=Store.create(tmp_path / "before" / "dist" / "oci"))
    small.image("container", {"x": os.urandom(2 << 20)})
    small.release("0.9.0")
    kit.image("container", {"x": os.urandom(4 << 20)})
    kit.release()
    words = ("-C", tmp_path, "check", "--policy", "--against", tmp_path / "before" / "dist")
    done = run(*words)
    assert done.code == 0
    assert "size-budget        warning  container linux/amd64, the image: 100 % more than in 0.9.0" in done.out
    assert run(*words, "--tier", "professional").code == 3


def test_growth_is_counted_from_what_was_pushed_last(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    small = Kit(store=Store.create(tmp_path / "before" / "dist" / "oci"))
    small.image("container", {"x": os.urandom(2 << 20)})
    small.release()
    remember(tmp_path / "cache" / "nexus-oci", small.store, None)
    assert "size-budget        passed" in run("-C", tmp_path / "before", "check", "--policy").out
    kit.image("container", {"x": os.urandom(4 << 20)})
    kit.release()
    assert "100 % more" in run("-C", tmp_path, "check", "--policy").out


def test_a_second_look_reads_no_layer(run: RunProgram, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good_release(kit)
    first = run("-C", tmp_path, "check", "--policy")
    from nexus_oci.pipeline import tier_check

    def never(*_: object) -> None:
        raise AssertionError("the layers were read again")

    monkeypatch.setattr(tier_check, "gather", never)
    assert run("-C", tmp_path, "check", "--policy") == first


def test_push_sends_nothing_of_what_its_tier_refuses(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    kit.image("container", GOOD, user="0")
    kit.release()
    done = run("-C", tmp_path, "push", "registry.invalid/team", "--tier", "developer")
    assert (done.code, done.out) == (3, "")
    assert "refused for the tier developer by tier-distributions, proof-checksums, root-user" in done.err


def test_no_bundle_is_made_of_what_its_tier_refuses(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    kit.image("container", GOOD, user="0")
    kit.release()
    done = run("-C", tmp_path, "bundle", "create", "-o", tmp_path / "x.nexus", "--tier", "developer")
    assert done.code == 3
    assert "refused for the tier developer by" in done.err
    assert not list(tmp_path.glob("x.nexus*"))
    elsewhere = run(
        "-C", tmp_path, "bundle", "create", "registry.invalid/team/x:1", "-o", tmp_path / "x.nexus", "--tier", "developer"
    )
    assert elsewhere.code == 2
    assert "verify registry.invalid/team/x:1 --key … --tier developer" in elsewhere.err


def test_push_takes_the_tier_from_the_definition(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    kit.image("container", GOOD, user="0")
    kit.release()
    (tmp_path / "images").mkdir()
    engine = "engine: {name: shop, version: 1.0.0, source: ., runtime: python, command: [python3, x.py]}\ntier: professional\n"
    (tmp_path / "images" / "nexus.yaml").write_text(engine)
    (tmp_path / "images" / "container.yaml").write_text("distribution: container\n")
    done = run("-C", tmp_path, "push", "registry.invalid/team")
    assert done.code == 3
    assert "refused for the tier professional" in done.err


def test_verify_counts_only_what_a_trusted_key_says(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    root = good_release(kit)
    prove(kit, root)
    good = run("-C", tmp_path, "--json", "verify", tmp_path / "dist", "--key", public(tmp_path), "--tier", "sovereign")
    assert good.code == 0, good.err
    policy = json.loads(good.out)["policy"]
    assert policy["passed"] is True
    assert [proof["there"] for proof in policy["proofs"]] == [True] * 7
    nobody = run("-C", tmp_path, "verify", tmp_path / "dist", "--tier", "sovereign")
    assert nobody.code == 3
    assert "name who is trusted with --key" in nobody.err
    shallow = run("-C", tmp_path, "verify", tmp_path / "dist", "--key", public(tmp_path), "--tier", "sovereign", "--shallow")
    assert shallow.code == 3
    assert "no blob was read" in shallow.out


def test_verify_refuses_a_signed_release_without_sboms(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    root = good_release(kit)
    sign_store(kit.store, root, KEY)
    done = run("-C", tmp_path, "verify", tmp_path / "dist", "--key", public(tmp_path), "--tier", "enterprise")
    assert done.code == 3
    assert "by proof-sbom, proof-provenance:" in done.err


def test_a_damaged_release_is_a_matter_of_verification_before_it_is_one_of_policy(
    run: RunProgram, kit: Kit, tmp_path: Path
) -> None:
    root = good_release(kit)
    prove(kit, root)
    path = kit.store.path(kit.store.manifest(kit.artifacts[0]).layers[0].digest)
    path.chmod(0o644)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    done = run("-C", tmp_path, "verify", tmp_path / "dist", "--key", public(tmp_path), "--tier", "sovereign")
    assert done.code == 4


def test_waivers_that_were_used_are_recorded_and_count_where_a_trusted_key_signed(
    run: RunProgram, kit: Kit, tmp_path: Path
) -> None:
    kit.image("container", GOOD, user="0")
    root = kit.release()
    (tmp_path / "policies").mkdir()
    other = ROOT_WAIVER + ROOT_WAIVER.partition("\n")[2].replace("root-user", "setuid-files")
    (tmp_path / "policies" / "waivers.yaml").write_text(other)
    from datetime import date

    standard = Standard(policy=load_policy(tmp_path, ROOT), tier=None, today=date(2027, 1, 20))
    used = used_waivers(StoreEnd(kit.store), root, standard)
    assert [one["gate"] for one in used] == ["root-user"]
    prove(kit, root, waivers=used)
    (tmp_path / "policies" / "waivers.yaml").unlink()
    words = ("-C", tmp_path / "cwd", "verify", tmp_path / "dist", "--tier", "professional", "--key")
    done = run(*words, public(tmp_path))
    assert done.code == 0, done.err
    assert "waived   container linux/amd64, the image: user 0; by Ann until 2027-06-30" in done.out
    assert canonical_json(used)


def test_a_waiver_in_a_provenance_that_nobody_trusted_signed_is_none(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    kit.image("container", GOOD, user="0")
    root = kit.release()
    sign_store(kit.store, root, KEY)
    waiver = {"gate": "root-user", "scope": {"distribution": "container"}, "owner": "Eve", "reason": "x", "until": "2027-06-30"}
    attest_store(kit.store, root, Request(signer=generate(), provenance=provenance(waivers=[waiver])), lambda _: None)
    done = run("-C", tmp_path / "cwd", "verify", tmp_path / "dist", "--key", public(tmp_path), "--tier", "professional")
    assert done.code == 3
    assert "by root-user:" in done.err


def test_a_finding_that_the_definition_gives_a_reason_for_is_no_secret(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    kit.image("container", {"srv/example/key.pem": SECRET})
    kit.release()
    (tmp_path / "images").mkdir()
    engine = "engine: {name: shop, version: 1.0.0, source: ., runtime: python, command: [python3, x.py]}\n"
    (tmp_path / "images" / "nexus.yaml").write_text(engine)
    (tmp_path / "images" / "container.yaml").write_text("distribution: container\n")
    assert run("-C", tmp_path, "check", "--policy").code == 3
    allowed = "distribution: container\nsecrets: {allow: {srv/example/*: a key that opens nothing}}\n"
    (tmp_path / "images" / "container.yaml").write_text(allowed)
    assert run("-C", tmp_path, "check", "--policy").code == 0


def test_the_options_of_policies_go_with_policy(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    done = run("-C", tmp_path, "check", "--tier", "regulated")
    assert (done.code, "go with --policy" in done.err) == (2, True)


def test_check_alone_reads_the_policies_of_a_project(run: RunProgram, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "policies").mkdir()
    engine = "engine: {name: shop, version: 1.0.0, source: ., runtime: python, command: [python3, x.py], python: {requirements: none}}\n"
    (tmp_path / "images" / "nexus.yaml").write_text(engine)
    (tmp_path / "images" / "container.yaml").write_text("distribution: container\n")
    assert run("-C", tmp_path, "check").code == 0
    (tmp_path / "policies" / "waivers.yaml").write_text("waviers: []\n")
    done = run("-C", tmp_path, "check")
    assert (done.code, "did you mean 'waivers'" in done.err) == (2, True)


def test_an_artifact_that_cannot_be_looked_into_is_told(run: RunProgram, kit: Kit, tmp_path: Path) -> None:
    index = kit.image("runtime", GOOD)
    kit.artifact("runtime", "tar.zst", "x.tar.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 100, index)
    kit.release()
    done = run("-C", tmp_path, "check", "--policy")
    assert done.code == 0
    assert "not looked into: x.tar.zst: it is an archive that cannot be read: the zstd data is damaged" in done.err
