"""`sign --notation`, `verify --notation-root` and their like on the command line: what they print, and every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.support.certificates import DAY, NOW, Wish, authority, issue
from tests.unit.cli.conftest import RunProgram

ROOT = authority()


@pytest.fixture
def files(project: Path) -> Path:
    """The project with leaf.key, leaf.pem and root.pem beside its dist/."""
    issue(Wish(), ROOT).write(project, "leaf")
    (project / "root.pem").write_bytes(ROOT.pem)
    return project


def test_signing_and_verifying_with_certificates(run: RunProgram, files: Path) -> None:
    words = ("--notation", "--key", files / "leaf.key", "--certificate-chain", files / "leaf.pem")
    done = run("-C", files, "--json", "sign", *words)
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["manifests"], said["added"], said["key"], len(said["others"])) == (4, 4, None, 1)
    done = run("-C", files, "--json", "verify", "--notation-root", files / "root.pem")
    assert done.code == 0, done.err
    for one in json.loads(done.out)["signatures"]:
        assert one["signatures"] == [
            {"form": "notation", "key": "CN=release,O=Example,ST=BE,C=DE, by root.pem", "fingerprint": said["others"][0]}
        ]
    done = run("-C", files, "sign", *words, "--cosign")
    assert (done.code, "8 signatures were added" in done.err) == (0, True), done.err


def test_a_chains_key_may_be_encrypted(run: RunProgram, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = issue(Wish(), ROOT)
    (files / "leaf.pem").write_bytes(leaf.pem)
    secret = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    (files / "leaf.key").write_bytes(secret)
    words = ("-C", files, "sign", "--notation", "--key", files / "leaf.key", "--certificate-chain", files / "leaf.pem")
    for passphrase, code in (("not this one", 2), ("open sesame", 0)):
        monkeypatch.setenv("NEXUS_OCI_KEY_PASSPHRASE", passphrase)
        done = run(*words)
        assert (done.code, passphrase in done.err) == (code, False), done.err


def test_mistakes_are_told(run: RunProgram, files: Path) -> None:
    issue(Wish(begins=NOW - 9 * DAY, ends=NOW - DAY), ROOT).write(files, "old")
    key, chain = ("--key", files / "leaf.key"), ("--certificate-chain", files / "leaf.pem")
    for words, said in (
        (("sign", *key, *chain), "add --notation"),
        (("sign", *key, "--expires-in", "1d"), "add --notation"),
        (("sign", *key, "--cosign"), "add --notation"),
        (("sign", "--notation", *key), "--certificate-chain is missing"),
        (("sign", "--notation", *chain), "--key is missing"),
        (("sign", "--notation", *key, *chain, "--expires-in", "1 day"), "is no length of time"),
        (("sign", "--notation", *key, *chain, "--expires-in", "0d"), "is no length of time"),
        (("sign", "--notation", *key, "--certificate-chain", files / "leaf.key"), "holds a private key"),
        (("sign", "--notation", *key, "--certificate-chain", files / "root.pem"), "is a certificate authority's"),
        (("sign", "--notation", "--key", files / "old.key", "--certificate-chain", files / "old.pem"), "expired on"),
        (("sign", "--notation", "--key", files / "old.key", *chain), "is not that of the first certificate"),
        (("sign", "--notation", "--key", files / "root.pem", *chain), "holds no private key|holds 1 PEM|is a certificate"),
        (("sign", *key, "--identity-token-file", "x"), "add --keyless"),
        (("sign",), "no key was given"),
        (("verify", "--notation-subject", "C=DE,ST=BE,O=Example"), "needs an authority"),
        (("verify", "--notation-root", files / "root.pem", "--notation-subject", "O=Example"), "says too little"),
        (("verify", "--notation-root", files / "leaf.key"), "holds a private key"),
    ):
        done = run("-C", files, *words)
        assert (done.code, any(one in done.err for one in said.split("|"))) == (2, True), (words, done.err)


def test_public_key_prints_or_writes_it(run: RunProgram, files: Path) -> None:
    printed = run("public-key", "--key", files / "leaf.key")
    assert (printed.code, printed.out.splitlines()[0]) == (0, "-----BEGIN PUBLIC KEY-----")
    written = run("-C", files, "public-key", "--key", files / "leaf.key", "--output", "leaf.pub")
    assert (written.code, (files / "leaf.pub").read_text()) == (0, printed.out)
    again = run("-C", files, "public-key", "--key", files / "leaf.key", "--output", "leaf.pub")
    assert (again.code, "exists already" in again.err) == (2, True)
    nowhere = run("-C", files, "public-key", "--key", files / "leaf.key", "--output", "none/leaf.pub")
    assert (nowhere.code, "cannot be written" in nowhere.err) == (2, True)
    assert json.loads(run("--json", "public-key", "--key", files / "leaf.key").out)["kind"] == "ECDSA secp256r1"


def test_a_file_beside_a_release_needs_a_key_of_its_own(run: RunProgram, files: Path) -> None:
    (files / "dist" / "SHA256SUMS").write_bytes(b"")
    words = ("--notation", "--key", files / "leaf.key", "--certificate-chain", files / "leaf.pem")
    assert run("-C", files, "sign", *words).code == 0
    done = run("-C", files, "verify", "--notation-root", files / "root.pem")
    assert (done.code, "no key of files was given" in done.err) == (0, True), done.err
