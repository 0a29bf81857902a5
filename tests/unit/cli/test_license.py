"""`license` as a vendor and a customer meet it: keys of keygen's, tokens in files, and what each refusal says."""

from __future__ import annotations

import io
import json
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.unit.cli.conftest import RunProgram

ISSUE = ("license", "issue", "--customer", "Żółw & Sons", "--engine", "shop", "--tier", "enterprise")
_DEFINITION = """\
engine: {name: shop, version: 1.0.0, source: ., runtime: binary, command: [shop], binary: {trees: {linux/amd64: tree}}}
platforms: [linux/amd64]
entitlement: {tier: enterprise, keys: [vendor.pub], revoked: [gone-1]}
"""


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_OCI_KEY_PASSPHRASE", "pw")


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """A folder with the vendor's keys, and another's, as OpenSSL writes them."""
    for name in ("vendor", "other"):
        key = Ed25519PrivateKey.generate()
        (tmp_path / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (tmp_path / f"{name}.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return tmp_path


@pytest.fixture
def token(run: RunProgram, vendor: Path) -> Path:
    done = run(
        "-C", vendor, *ISSUE, "--key", vendor / "vendor.key", "--days", "30", "--grace", "14d", "--id", "a-1", "-o", "a.token"
    )
    assert (done.code, done.out) == (0, f"{vendor / 'a.token'}\n"), done.err
    return vendor / "a.token"


def test_a_token_goes_into_a_new_file_that_its_owner_reads(run: RunProgram, vendor: Path, token: Path) -> None:
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    before = token.read_bytes()
    again = run("-C", vendor, *ISSUE, "--key", vendor / "vendor.key", "--days", "1", "-o", "a.token")
    assert (again.code, "File exists" in again.err, token.read_bytes()) == (2, True, before)


def test_what_was_asked_for_is_in_the_token(run: RunProgram, vendor: Path) -> None:
    words = ("-d", "runtime", "--feature", "unix", "--feature", "http", "--limit", "workers=4", "--not-before", "2027-01-31", "--not-after",
             "2028-01-31T12:00:00+02:00", "--grace", "36h")  # fmt: skip
    done = run("--json", *ISSUE, "--key", vendor / "vendor.key", *words)
    issued = json.loads(done.out)
    claims = issued["claims"]
    assert claims.pop("iat") == pytest.approx(time.time(), abs=120)
    assert len(claims.pop("jti")) == 16
    assert claims == {
        "aud": "shop", "sub": "Żółw & Sons", "tier": "enterprise", "distributions": ["runtime"], "features": ["http", "unix"],
        "limits": {"workers": 4}, "nbf": 1801353600, "exp": 1832925600, "grace": 129600,
    }  # fmt: skip


def test_the_key_of_a_token_is_called_as_keygen_called_it(run: RunProgram, tmp_path: Path) -> None:
    made = json.loads(run("--json", "-C", tmp_path, "keygen", "--type", "ed25519", "-o", "k").out)
    issued = json.loads(run("--json", *ISSUE, "--key", tmp_path / "k.key", "--days", "1").out)
    assert issued["key"] == made["fingerprint"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "an entitlement has one end"),
        (("--days", "3", "--not-after", "2030-01-01"), "an entitlement has one end"),
        (("--not-after", "soon"), "'soon' is no time"),
        (("--not-after", "2020-01-01"), "ends after"),
        (("--days", "3", "--grace", "1y"), "'1y' is no length of time"),
        (("--days", "3", "--grace", "400d"), "at most 366 days"),
        (("--days", "3", "--limit", "workers"), "'workers' is no limit"),
        (("--days", "3", "--limit", "workers=-1"), "is no limit"),
        (("--days", "3", "--limit", "Workers=1"), "the limits are"),
        (("--days", "3", "--id", "a b"), "the id is"),
        (("--days", "3", "--customer", "a\nb"), "visible text"),
    ],
)
def test_what_is_no_entitlement_is_not_issued(run: RunProgram, vendor: Path, words: tuple[str, ...], message: str) -> None:
    done = run(*ISSUE, "--key", vendor / "vendor.key", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_a_key_of_another_kind_signs_no_entitlement(run: RunProgram, tmp_path: Path) -> None:
    run("-C", tmp_path, "keygen", "-o", "ecdsa")
    done = run(*ISSUE, "--key", tmp_path / "ecdsa.key", "--days", "1")
    assert (done.code, done.out) == (2, "")
    assert "the signing key is no Ed25519 key" in done.err
    assert "keygen --type ed25519" in done.err


def test_a_passphrase_is_never_an_argument(run: RunProgram) -> None:
    assert "passphrase TEXT" not in run("license", "issue", "--help").out
    assert run(*ISSUE, "--key", "k", "--passphrase", "pw", "--days", "1").code == 2


def test_a_token_is_shown_without_a_key_and_says_that_nobody_checked_it(run: RunProgram, token: Path) -> None:
    shown = run("license", "inspect", token).out
    assert "customer:      Żółw & Sons\n" in shown
    assert "14 days of grace" in shown
    assert "signature:     not checked" in shown
    assert json.loads(run("--json", "license", "inspect", token).out)["signature"] == "not checked"


def test_a_token_comes_from_standard_input_too(run: RunProgram, token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(token.read_bytes())))
    assert "a-1" in run("license", "inspect", "-").out


def test_what_was_and_was_not_checked_is_told(run: RunProgram, vendor: Path, token: Path) -> None:
    done = run("license", "verify", token, "--key", vendor / "vendor.pub", "--engine", "shop", "-d", "runtime")
    assert done.code == 0, done.err
    assert done.out.startswith("valid: a-1 for Żółw & Sons: shop, enterprise, until ")
    assert done.err == "not checked, as nothing was given to check against: tier\n"
    data = json.loads(
        run("--json", "license", "verify", token, "--key", vendor / "other.pub", "--key", vendor / "vendor.pub").out
    )
    assert (data["valid"], data["state"], data["not_checked"]) == (True, "valid", ["engine", "distribution", "tier"])


def test_in_its_grace_a_token_holds_with_a_warning(run: RunProgram, vendor: Path, token: Path) -> None:
    claims: dict[str, Any] = json.loads(run("--json", "license", "inspect", token).out)["claims"]
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(claims["exp"] + 86400))
    done = run("license", "verify", token, "--key", vendor / "vendor.pub", "--at", when)
    assert (done.code, "warning: it has ended; engines start until" in done.err) == (0, True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--engine", "shopping"), "wrong-engine"),
        (("-d", "library"), "wrong-distribution"),
        (("--tier", "sovereign"), "wrong-tier"),
        (("--revoked", "a-1"), "revoked"),
        (("--at", "2099-01-01"), "expired"),
        (("--at", "2020-01-01"), "clock"),
    ],
)
def test_a_token_that_does_not_hold_ends_with_4(
    run: RunProgram, vendor: Path, token: Path, words: tuple[str, ...], reason: str
) -> None:
    done = run("--json", "license", "verify", token, "--key", vendor / "vendor.pub", *words)
    assert done.code == 4
    assert json.loads(done.out)["reason"] == reason
    assert done.err.startswith("nexus-oci: ")


def test_another_key_and_an_edited_token_are_refused(run: RunProgram, vendor: Path, token: Path) -> None:
    done = run("license", "verify", token, "--key", vendor / "other.pub")
    assert (done.code, done.out, "was signed with another key" in done.err) == (4, "", True)
    head, payload, signature = token.read_text().split(".")
    token.write_text(f"{head}.{payload[:-2]}AA.{signature}")
    done = run("license", "verify", token, "--key", vendor / "vendor.pub")
    assert (done.code, "was changed after it was signed" in done.err) == (4, True)
    token.write_bytes(b"x" * 100_000)
    assert "more than 8192 bytes" in run("license", "verify", token, "--key", vendor / "vendor.pub").err


def test_a_definition_gives_keys_engine_and_revoked_ids(run: RunProgram, vendor: Path, token: Path) -> None:
    (vendor / "images").mkdir()
    (vendor / "images/nexus.yaml").write_text(_DEFINITION)
    (vendor / "images/container.yaml").write_text("distribution: container\n")
    assert "distribution, tier" in run("-C", vendor, "license", "verify", token).err
    done = run("-C", vendor, "license", "issue", "--customer", "X", "--tier", "enterprise", "--days", "1", "--id", "gone-1", "--key",
               vendor / "vendor.key", "-o", "gone.token")  # fmt: skip
    assert done.code == 0, done.err
    refused = run("-C", vendor, "license", "verify", vendor / "gone.token")
    assert (refused.code, "gone-1 was revoked" in refused.err) == (4, True)


def test_without_a_key_nothing_is_verified(run: RunProgram, token: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    done = run("-C", tmp_path_factory.mktemp("empty"), "license", "verify", token)
    assert (done.code, "no key is given" in done.err) == (2, True)


def test_check_looks_into_the_keys(run: RunProgram, vendor: Path) -> None:
    (vendor / "images").mkdir()
    (vendor / "tree").mkdir()
    (vendor / "images/nexus.yaml").write_text(_DEFINITION)
    (vendor / "images/container.yaml").write_text("distribution: container\n")
    assert run("-C", vendor, "check").code == 0
    (vendor / "vendor.pub").write_bytes((vendor / "vendor.key").read_bytes())
    done = run("-C", vendor, "check")
    assert (done.code, "entitlement.keys: vendor.pub is a private key" in done.err) == (2, True)
    assert "PRIVATE" not in done.out + done.err
    run("-C", vendor, "keygen", "-o", "ecdsa")
    (vendor / "vendor.pub").write_bytes((vendor / "ecdsa.pub").read_bytes())
    assert "entitlement.keys: vendor.pub is no Ed25519 key" in run("-C", vendor, "check").err
