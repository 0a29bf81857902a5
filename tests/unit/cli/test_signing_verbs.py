"""`keygen`, `sign` and `verify --key` as a user meets them. Unit tests have no network: what passes here opened no socket."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from pysequoia import CipherSuite

from nexus_oci.oci.store import Store
from tests.support.openpgp_keys import armored, make_key
from tests.unit.cli.conftest import RunProgram, release


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_OCI_KEY_PASSPHRASE", "pw")
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)


@pytest.fixture
def signed(run: RunProgram, project: Path) -> Path:
    """A project whose release and files are signed by release.key."""
    (project / "dist" / "x.deb").write_bytes(b"deb")
    (project / "dist" / "SHA256SUMS").write_text(f"{hashlib.sha256(b'deb').hexdigest()}  x.deb\n")
    assert run("-C", project, "keygen").code == 0
    done = run("-C", project, "sign", "--key", project / "release.key")
    assert done.code == 0, done.err
    assert "4 manifests are signed; 8 signatures were added" in done.err
    return project


def test_keygen_writes_a_pair_and_never_replaces_one(run: RunProgram, tmp_path: Path) -> None:
    done = run("-C", tmp_path, "keygen", "--output", "sub-key")
    assert done.out.split() == [str(tmp_path / "sub-key.key"), str(tmp_path / "sub-key.pub")]
    again = run("-C", tmp_path, "keygen", "--output", "sub-key")
    assert (again.code, "sub-key.key exists already" in again.err) == (2, True)


def test_keygen_makes_no_key_without_a_passphrase(run: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_OCI_KEY_PASSPHRASE", "")
    assert "it is empty" in run("-C", tmp_path, "keygen").err
    monkeypatch.delenv("NEXUS_OCI_KEY_PASSPHRASE")
    done = run("-C", tmp_path, "keygen")
    assert (done.code, "none was given" in done.err, list(tmp_path.iterdir())) == (2, True, [])


def test_a_passphrase_may_come_through_a_descriptor(run: RunProgram, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("-C", project, "keygen").code == 0
    monkeypatch.setenv("NEXUS_OCI_KEY_PASSPHRASE", "wrong")
    refused = run("-C", project, "sign", "--key", project / "release.key")
    assert (refused.code, "does not open" in refused.err) == (2, True)
    reading, writing = os.pipe()
    os.write(writing, b"pw\n")
    os.close(writing)
    assert run("-C", project, "sign", "--key", project / "release.key", "--passphrase-file", f"fd:{reading}").code == 0
    os.close(reading)


def test_verify_tells_who_signed_what(run: RunProgram, signed: Path) -> None:
    done = run("-C", signed, "verify", "--offline", "--key", signed / "release.pub")
    assert done.code == 0, done.err
    first, *rows = done.out.splitlines()
    assert first.startswith("verified sha256:")
    assert [row.split()[0] for row in rows] == ["release", "index", "image", "deb", "files"]
    assert all("release.pub" in row for row in rows)
    data = json.loads(run("-C", signed, "--json", "verify", "--key", signed / "release.pub").out)
    assert (data["verified"], len(data["signatures"]), data["files"]) == (True, 4, {"SHA256SUMS": "release.pub"})


def test_verify_says_its_steps_and_what_it_leaves_out(run: RunProgram, signed: Path) -> None:
    done = run("-C", signed, "verify", "-v", "--shallow", "--key", signed / "release.pub")
    for number in (
        "1. the digest is sha256:",
        "2. 4 manifests",
        "3. every child and referrer was met; no blob was read: no faults",
        "4. 4 of 4 manifests are signed by a trusted key",
        "5. 0 statements",
        "6. the time of keys and what is revoked were looked at: no faults",
    ):
        assert f"\n{number}" in f"\n{done.err}"
    assert "not checked: blobs" in done.err
    assert "not checked: signatures: no key was given" in run("-C", signed, "verify").err


@pytest.mark.parametrize(
    ("name", "words"),
    [("x.deb", "x.deb is not what SHA256SUMS says"), ("SHA256SUMS", "the signature of"), ("SHA256SUMS.sig", "is not signed")],
)
def test_files_beside_the_store_are_judged_too(run: RunProgram, signed: Path, name: str, words: str) -> None:
    path = signed / "dist" / name
    path.unlink() if name.endswith(".sig") else path.write_bytes(path.read_bytes() + b"\n")
    done = run("-C", signed, "verify", "--key", signed / "release.pub")
    assert (done.code, words in done.err) == (4, True), done.err
    assert "not signed" not in run("-C", signed, "verify").err


def test_a_release_that_is_not_signed_is_refused(run: RunProgram, project: Path) -> None:
    run("-C", project, "keygen")
    done = run("-C", project, "verify", "--key", project / "release.pub")
    assert (done.code, "is not signed by a key that is trusted here" in done.err) == (4, True)


def test_a_trust_file_limits_the_key(run: RunProgram, signed: Path) -> None:
    trust = signed / "trust.yaml"
    trust.write_text("keys: [{key: release.pub, not-after: 2020-01-01}]")
    done = run("-C", signed, "verify", "--trust", trust)
    assert (done.code, "the key release.pub expired on 2020-01-01" in done.err) == (4, True)
    trust.write_text("keys: [{key: release.pub, not-after: 2920-01-01}]")
    assert run("-C", signed, "verify", "--trust", trust).code == 0


def test_a_file_whose_digest_is_revoked_is_refused(run: RunProgram, signed: Path) -> None:
    sums = signed / "dist" / "SHA256SUMS"
    listed = signed / "revoked"
    listed.write_text(f"sha256:{hashlib.sha256(sums.read_bytes()).hexdigest()}\n")
    done = run("-C", signed, "verify", sums, "--key", signed / "release.pub", "--revoked", listed)
    assert (done.code, f"{sums} is revoked" in done.err) == (4, True), done.err


def test_a_builder_needs_somebody_whose_word_counts(run: RunProgram, signed: Path) -> None:
    done = run("-C", signed, "verify", "--builder-id", "https://ci.example")
    assert (done.code, "--builder-id needs a key" in done.err) == (2, True), done.err
    done = run("-C", signed, "verify", "--builder-id", "https://ci.example", "--key", signed / "release.pub")
    assert (done.code, "has no provenance by a key that is trusted here" in done.err) == (4, True), done.err


def test_a_single_file_is_verified_by_the_signature_beside_it(run: RunProgram, signed: Path) -> None:
    sums, key = signed / "dist" / "SHA256SUMS", signed / "release.pub"
    assert run("-C", signed, "verify", "--offline", sums, "--key", key).out == f"verified {sums}: signed by release.pub\n"
    assert run("-C", signed, "verify", "dist/SHA256SUMS", "--key", key).code == 0
    signature = (signed / "dist" / "SHA256SUMS.sig").rename(signed / "elsewhere")
    refused = run("-C", signed, "verify", sums, "--key", key)
    assert (refused.code, "is not signed" in refused.err) == (4, True)
    assert run("-C", signed, "verify", sums, "--key", key, "--signature", signature).code == 0
    sums.write_bytes(b"other")
    refused = run("-C", signed, "verify", sums, "--key", key, "--signature", signature)
    assert (refused.code, "is not good" in refused.err) == (4, True)
    assert run("-C", signed, "verify", sums).code == 2


def test_a_file_that_a_signed_list_names_is_verified_through_it(run: RunProgram, signed: Path) -> None:
    deb, key = signed / "dist" / "x.deb", signed / "release.pub"
    assert "SHA256SUMS lists it, signed by release.pub" in run("-C", signed, "verify", deb, "--key", key).out
    deb.write_bytes(b"evil")
    refused = run("-C", signed, "verify", deb, "--key", key)
    assert (refused.code, "x.deb is not what" in refused.err) == (4, True)
    (signed / "dist" / "y.deb").write_bytes(b"deb")
    refused = run("-C", signed, "verify", "dist/y.deb", "--key", key)
    assert (refused.code, "y.deb is not signed" in refused.err) == (4, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "a line that is no checksum"),
        (f"{'0' * 64}  ../outside", "'../outside', which is not below it"),
        (f"{'0' * 64}  /etc/hostname", "'/etc/hostname', which is not below it"),
        (f"{'0' * 64}  gone", "gone cannot be read: No such file"),
    ],
)
def test_a_signed_list_that_names_something_else_is_refused(run: RunProgram, signed: Path, line: str, words: str) -> None:
    (signed / "dist" / "SHA256SUMS").write_text(line + "\n")
    assert run("-C", signed, "sign", "--key", signed / "release.key").code == 0
    done = run("-C", signed, "verify", "--key", signed / "release.pub")
    assert (done.code, words in done.err) == (4, True), done.err


def test_offline_asks_no_registry(run: RunProgram, signed: Path) -> None:
    done = run("verify", "--offline", "registry.example/team/releases:1.0.0", "--key", signed / "release.pub")
    assert (done.code, "--offline forbids to ask it" in done.err) == (2, True)


def test_signing_twice_adds_nothing(run: RunProgram, signed: Path) -> None:
    data = json.loads(run("-C", signed, "--json", "sign", "--key", signed / "release.key").out)
    assert (data["manifests"], data["added"]) == (4, 0)


def test_signatures_are_no_releases(run: RunProgram, signed: Path) -> None:
    assert run("-C", signed, "ls").out.count("sha256-") == 0
    release(Store.create(signed / "dist" / "oci"), "1.1.0")
    assert "it has 1.0.0, 1.1.0" in run("-C", signed, "verify").err


def test_a_store_without_a_known_registry_is_signed_with_a_warning(run: RunProgram, signed: Path) -> None:
    assert "no registry is known" in run("-C", signed, "sign", "--key", signed / "release.key").err
    named = run("-C", signed, "sign", "--key", signed / "release.key", "--identity", "registry.example/team")
    assert (named.code, "no registry is known" in named.err) == (0, False)


@pytest.mark.parametrize("words", [("--identity", "registry.example/team"), ("--passphrase-file", "fd:3")])
def test_build_wants_a_key_before_anything_about_it(run: RunProgram, tmp_path: Path, words: tuple[str, str]) -> None:
    done = run("-C", tmp_path, "build", *words)
    assert (done.code, "add --sign KEY" in done.err) == (2, True)


def test_build_reads_its_key_before_it_builds(run: RunProgram, tmp_path: Path) -> None:
    done = run("-C", tmp_path, "build", "--sign", tmp_path / "none.key")
    assert (done.code, "the signing key cannot be read" in done.err) == (2, True)


@pytest.fixture
def openpgp(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An OpenPGP key in release.key, with its certificate in release.asc."""
    monkeypatch.delenv("NEXUS_OCI_OPENPGP_KEY", raising=False)
    folder = tmp_path_factory.mktemp("openpgp")
    made = make_key(CipherSuite.Cv25519)
    (folder / "release.key").write_bytes(armored(made))
    (folder / "release.asc").write_text(str(made.extract_certificate()))
    return folder


def test_an_openpgp_key_alone_signs_the_list_of_files_and_nothing_else(run: RunProgram, signed: Path, openpgp: Path) -> None:
    before = Store.open(signed / "dist" / "oci").entries()
    done = run("-C", signed, "sign", "--openpgp-key", openpgp / "release.key")
    assert (done.code, "no manifest was signed" in done.err, "SHA256SUMS.asc" in done.err) == (0, True, True)
    assert Store.open(signed / "dist" / "oci").entries() == before
    certificate = ("--openpgp-certificate", openpgp / "release.asc")
    found = run("-C", signed, "--json", "verify", *certificate, "--key", signed / "release.pub")
    assert found.code == 0, found.err
    assert set(json.loads(found.out)["files"]) == {"SHA256SUMS", "SHA256SUMS.asc"}
    for name in ("SHA256SUMS", "SHA256SUMS.asc", "x.deb"):
        assert run("verify", signed / "dist" / name, *certificate).code == 0


def test_a_list_that_lacks_the_signature_of_one_kind_of_key_that_is_trusted_is_refused(
    run: RunProgram, signed: Path, openpgp: Path
) -> None:
    both = ("--openpgp-certificate", openpgp / "release.asc", "--key", signed / "release.pub")
    refused = run("-C", signed, "verify", *both)
    assert (refused.code, "no" in refused.err, "SHA256SUMS.asc" in refused.err) == (4, True, True)
    assert run("-C", signed, "sign", "--openpgp-key", openpgp / "release.key", "--key", signed / "release.key").code == 0
    assert run("-C", signed, "verify", *both).code == 0
    (signed / "dist" / "SHA256SUMS.sig").unlink()
    assert run("-C", signed, "verify", *both).code == 4
    assert run("-C", signed, "verify", *both[:2]).code == 0


def test_what_an_openpgp_key_cannot_sign_is_said(run: RunProgram, project: Path, openpgp: Path) -> None:
    refused = run("-C", project, "sign", "localhost:1/team/releases:1.0.0", "--openpgp-key", openpgp / "release.key")
    assert (refused.code, "a registry has none" in refused.err, "nexus-oci build" in refused.err) == (2, True, True)
    refused = run("-C", project, "sign")
    assert (refused.code, "no key was given to sign with" in refused.err) == (2, True)
    done = run("-C", project, "sign", "--openpgp-key", openpgp / "release.key")
    assert (done.code, "there is no SHA256SUMS here" in done.err) == (0, True)
