"""Signing keys: what is refused before any work, why, and that no message shows a secret."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pysequoia import CipherSuite, Profile, Tsk

from nexus_oci.errors import UsageError
from nexus_oci.trust import openpgp
from nexus_oci.trust.openpgp import KEY_VARIABLE, PASSPHRASE_VARIABLE, PassphraseError, load_key, option_of
from tests.support.openpgp_keys import USER, armored, make_key

SECRET = "correct horse ☂"
NOW = time.time()


@pytest.fixture(scope="module")
def plain() -> Tsk:
    return make_key(CipherSuite.Cv25519)


@pytest.fixture(scope="module")
def protected() -> Tsk:
    return make_key(CipherSuite.Cv25519, passphrase=SECRET)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "key"


def says_nothing_of(error: pytest.ExceptionInfo[UsageError], *secrets: str) -> None:
    shown = f"{error.value!r}\n{error.value}\n{error.value.__cause__}"
    assert not [secret for secret in secrets if secret in shown]


@pytest.mark.parametrize("form", ["armored", "binary"])
def test_a_key_in_a_file_is_known_by_its_fingerprints(plain: Tsk, file: Path, form: str) -> None:
    file.write_bytes(armored(plain) if form == "armored" else bytes(plain))
    key = load_key(str(file), environment={})
    certificate = plain.extract_certificate()
    assert key.fingerprint == certificate.fingerprint.upper()
    assert key.signer != key.fingerprint
    assert (key.user, key.certificate) == (USER, str(certificate).encode())
    assert key.passphrase is None
    assert NOW - 120 < key.valid_from <= time.time()
    assert (key.time(1), key.time(key.valid_from + 5)) == (key.valid_from, key.valid_from + 5)


@pytest.mark.parametrize("form", ["armored", "base64"])
def test_a_key_in_a_variable_serves_as_well(plain: Tsk, form: str) -> None:
    value = armored(plain).decode() if form == "armored" else base64.encodebytes(bytes(plain)).decode()
    assert load_key("env:MINE", environment={"MINE": value}).secret == bytes(plain)


def test_the_variable_may_name_a_key_or_be_one(plain: Tsk) -> None:
    assert option_of(None, {}) is None
    assert option_of("a.asc", {KEY_VARIABLE: "b.asc"}) == "a.asc"
    assert option_of(None, {KEY_VARIABLE: "b.asc"}) == "b.asc"
    held = {KEY_VARIABLE: armored(plain).decode()}
    named = option_of(None, held)
    assert named is not None
    assert load_key(named, environment=held).fingerprint == plain.extract_certificate().fingerprint.upper()


def test_a_passphrase_comes_from_a_file_the_environment_or_a_question(protected: Tsk, file: Path, tmp_path: Path) -> None:
    file.write_bytes(armored(protected))
    words = tmp_path / "words"
    words.write_text(f"{SECRET}\n")
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return SECRET

    from_file = load_key(str(file), environment={PASSPHRASE_VARIABLE: "not this"}, passphrase_file=words, ask=ask)
    from_environment = load_key(str(file), environment={PASSPHRASE_VARIABLE: SECRET}, ask=ask)
    assert asked == []
    from_question = load_key(str(file), environment={}, ask=ask)
    assert from_file == from_environment == from_question
    assert from_question.passphrase == SECRET
    assert asked == [f"Passphrase of the OpenPGP key {from_file.fingerprint[-16:]}"]


def test_a_key_that_is_not_protected_asks_for_nothing(plain: Tsk, file: Path) -> None:
    file.write_bytes(armored(plain))
    assert load_key(str(file), environment={PASSPHRASE_VARIABLE: "unused"}, ask=lambda _: pytest.fail("asked")).passphrase is None


def test_a_missing_and_a_wrong_passphrase_are_told_apart(protected: Tsk, file: Path) -> None:
    file.write_bytes(armored(protected))
    with pytest.raises(PassphraseError, match="protected by a passphrase, and none was given") as missing:
        load_key(str(file), environment={})
    with pytest.raises(PassphraseError, match="passphrase .* is wrong") as wrong:
        load_key(str(file), environment={PASSPHRASE_VARIABLE: "sesame-4711"})
    assert missing.value.exit_code == wrong.value.exit_code == 2
    says_nothing_of(wrong, "sesame-4711")


def test_secrets_are_in_no_repr(protected: Tsk, file: Path) -> None:
    file.write_bytes(armored(protected))
    key = load_key(str(file), environment={PASSPHRASE_VARIABLE: SECRET})
    assert SECRET not in repr(key)
    assert repr(bytes(protected))[2:60] not in repr(key)


def test_an_expired_key_is_refused_by_the_real_clock(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(armored(make_key(CipherSuite.Cv25519, seconds=3600)))
    assert load_key(str(file), environment={}).signer
    monkeypatch.setattr(openpgp.time, "time", lambda: NOW + 7200)
    with pytest.raises(UsageError, match="has expired") as caught:
        load_key(str(file), environment={})
    assert "valid until 20" in str(caught.value)


def test_a_revoked_key_is_refused(plain: Tsk, file: Path) -> None:
    revocation = plain.extract_certificate().revoke(plain.certifier())
    file.write_bytes(bytes(plain) + bytes(revocation))
    with pytest.raises(UsageError, match="is revoked"):
        load_key(str(file), environment={})


def test_a_key_without_a_part_that_signs_is_refused(plain: Tsk, file: Path) -> None:
    from pysequoia.packet import PacketPile, Tag

    packets = list(PacketPile.from_bytes(bytes(plain)))
    first_subkey = next(index for index, packet in enumerate(packets) if packet.tag == Tag.SecretSubkey)
    file.write_bytes(b"".join(bytes(packet) for packet in packets[:first_subkey]))
    with pytest.raises(UsageError, match="cannot sign"):
        load_key(str(file), environment={})


def test_what_gpg_does_not_know_is_refused(file: Path) -> None:
    file.write_bytes(bytes(Tsk.generate(USER, profile=Profile.RFC9580)))
    with pytest.raises(UsageError, match="version 6"):
        load_key(str(file), environment={})


@pytest.mark.parametrize(
    ("content", "message"),
    [("public", "only a public one"), ("two", "holds 2 OpenPGP keys"), ("text", "no OpenPGP key"), ("nothing", "no OpenPGP key")],
)
def test_what_is_no_one_secret_key_is_named(plain: Tsk, protected: Tsk, file: Path, content: str, message: str) -> None:
    file.write_bytes(
        {
            "public": bytes(plain.extract_certificate()),
            "two": armored(plain) + armored(protected),
            "text": b"-----BEGIN RSA PRIVATE KEY-----\n",
            "nothing": b"",
        }[content]
    )
    with pytest.raises(UsageError, match=message) as caught:
        load_key(str(file), environment={})
    assert "Stack backtrace" not in str(caught.value)


def test_a_missing_file_and_an_empty_variable_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read from .*absent"):
        load_key(str(tmp_path / "absent"), environment={})
    with pytest.raises(UsageError, match="MINE holds no OpenPGP key"):
        load_key("env:MINE", environment={})
    with pytest.raises(UsageError, match="neither an armored key nor base64") as caught:
        load_key("env:MINE", environment={"MINE": "!hidden!"})
    says_nothing_of(caught, "!hidden!")


def test_a_key_as_an_argument_is_refused_and_not_repeated(plain: Tsk) -> None:
    text = armored(plain).decode()
    with pytest.raises(UsageError, match="given as an argument") as caught:
        load_key(text, environment={})
    says_nothing_of(caught, text.splitlines()[5])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        yield path


def test_a_key_on_a_token_needs_its_certificate_its_server_and_its_pin(plain: Tsk, file: Path, server: Path) -> None:
    certificate = plain.extract_certificate()
    file.write_bytes(bytes(certificate))
    environment = {"P11_KIT_SERVER_ADDRESS": f"unix:path={server}", PASSPHRASE_VARIABLE: "1234"}
    key = load_key("pkcs11:token=t", environment=environment, certificate=file)
    assert key.token is not None
    assert (key.token.socket, key.secret, key.passphrase) == (server, b"", "1234")
    assert key.signer == load_key("env:K", environment={"K": armored(plain).decode()}).signer
    with pytest.raises(UsageError, match="has no OpenPGP certificate"):
        load_key("pkcs11:token=t", environment=environment)
    with pytest.raises(UsageError, match="cannot be reached"):
        load_key("pkcs11:token=t", environment={PASSPHRASE_VARIABLE: "1234"}, certificate=file)
    with pytest.raises(PassphraseError, match="PIN was not given"):
        load_key("pkcs11:token=t", environment={"P11_KIT_SERVER_ADDRESS": f"unix:path={server}"}, certificate=file)
