"""Keys: read as cosign and OpenSSL write them, written once and never over another, opened by a passphrase that is no argument."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from nexus_oci.errors import UsageError
from nexus_oci.trust.cosign import decoded
from nexus_oci.trust.keys import (
    PrivateKey,
    encrypted_pem,
    generate,
    load_private_key,
    passphrase_source,
    read_private_key,
    read_public_key,
    write_key_pair,
)
from nexus_oci.trust.openpgp import PassphraseError
from tests.unit.trust import cosign_made

KEY = generate()
ENCRYPTED = encrypted_pem(KEY, b"right")


def no_passphrase(_: str) -> bytes | None:
    return None


def pem(key: Any, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    data: bytes = key.private_bytes(serialization.Encoding.PEM, form, encryption)
    return data


def test_a_file_that_cosign_signed_verifies_and_another_does_not() -> None:
    key = read_public_key(cosign_made.PUBLIC, "cosign.pub")
    signature = decoded(cosign_made.FILE_SIGNATURE, "it")
    assert key.verify(signature, cosign_made.FILE)
    assert not key.verify(signature, cosign_made.FILE + b"!")
    assert not KEY.public.verify(signature, cosign_made.FILE)
    assert (key.pem, key.hint) == (cosign_made.PUBLIC, cosign_made.HINT)


def test_an_encrypted_key_opens_with_its_passphrase_only() -> None:
    assert read_private_key(ENCRYPTED, "k", lambda _: b"right").public == KEY.public
    for passphrase in (b"wrong", b"", "r\u00efght".encode()):
        with pytest.raises(PassphraseError, match="k does not open"):
            read_private_key(ENCRYPTED, "k", lambda _, given=passphrase: given)
    with pytest.raises(PassphraseError, match="no passphrase was given"):
        read_private_key(ENCRYPTED, "k", no_passphrase)


def test_the_encrypted_file_is_cosigns() -> None:
    lines = ENCRYPTED.decode().splitlines()
    assert (lines[0], lines[-1]) == tuple(f"-----{word} ENCRYPTED SIGSTORE PRIVATE KEY-----" for word in ("BEGIN", "END"))
    document = json.loads(base64.b64decode("".join(lines[1:-1])))
    assert document["kdf"]["params"] == {"N": 65536, "r": 8, "p": 1}
    assert (document["kdf"]["name"], document["cipher"]["name"]) == ("scrypt", "nacl/secretbox")
    assert [len(base64.b64decode(document[part][name])) for part, name in (("kdf", "salt"), ("cipher", "nonce"))] == [32, 24]
    assert encrypted_pem(KEY, b"right") != ENCRYPTED


@pytest.mark.parametrize("change", [{"N": 1 << 30}, {"r": 64}, {"p": 0}, {"N": "65536"}])
def test_parameters_that_would_keep_us_busy_are_refused(change: dict[str, Any]) -> None:
    document = json.loads(base64.b64decode("".join(ENCRYPTED.decode().splitlines()[1:-1])))
    document["kdf"]["params"] |= change
    body = base64.b64encode(json.dumps(document).encode())
    label = b"ENCRYPTED COSIGN PRIVATE KEY"
    with pytest.raises(UsageError, match="no private key that can be read"):
        read_private_key(b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, body, label), "k", lambda _: b"right")


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["ECDSA", "RSA", "Ed25519"],
)
def test_every_kind_of_key_signs_the_same_bytes_the_same_way(key: Any) -> None:
    plain = read_private_key(pem(key), "k", no_passphrase)
    locked = read_private_key(pem(key, password=b"pw"), "k", lambda _: b"pw")
    ours = read_private_key(encrypted_pem(plain, b"pw"), "k", lambda _: b"pw")
    assert plain.sign(b"x") == locked.sign(b"x") == ours.sign(b"x")
    assert read_public_key(plain.public.pem, "p").verify(plain.sign(b"x"), b"x")
    assert not plain.public.verify(plain.sign(b"x"), b"y")
    assert not plain.public.verify(b"", b"x")
    with pytest.raises(PassphraseError):
        read_private_key(pem(key, password=b"pw"), "k", lambda _: b"no")


def test_an_old_style_private_key_of_openssl_is_read() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    data = pem(key, serialization.PrivateFormat.TraditionalOpenSSL)
    assert read_private_key(data, "k", no_passphrase).public == PrivateKey(key=key).public


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no key file"),
        (b"junk", "no key file"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "curve secp384r1"),
        (pem(rsa.generate_private_key(65537, 1024)), "too weak"),
        (pem(KEY.key) + pem(KEY.key), "holds 2 PEM blocks"),
        (KEY.public.pem, "is a public key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key that can be read"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "can be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_usable_private_key_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_private_key(data, "k", lambda _: b"pw")


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    with pytest.raises(UsageError, match="is a private key"):
        read_public_key(ENCRYPTED, "k")
    with pytest.raises(UsageError, match="no public key that can be read"):
        read_public_key(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "k")


def test_a_key_pair_is_written_for_its_owner_and_never_over_another(tmp_path: Path) -> None:
    private, public = write_key_pair(tmp_path / "release", KEY, b"pw")
    assert (private.name, stat.S_IMODE(private.stat().st_mode)) == ("release.key", 0o600)
    assert read_private_key(private.read_bytes(), "k", lambda _: b"pw").public == read_public_key(public.read_bytes(), "p")
    before = private.read_bytes()
    with pytest.raises(UsageError, match="release.key exists already"):
        write_key_pair(tmp_path / "release", generate(), b"pw")
    private.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="release.pub exists already"):
        write_key_pair(tmp_path / "release", generate(), b"pw")
    assert (not private.exists(), (tmp_path / "elsewhere").read_bytes() == before) == (True, True)
    (tmp_path / "dangling.key").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        write_key_pair(tmp_path / "dangling", KEY, b"pw")
    with pytest.raises(UsageError, match="cannot be written"):
        write_key_pair(tmp_path / "no" / "folder", KEY, b"pw")


def test_the_passphrase_comes_from_the_option_then_the_environment_then_the_prompt(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(b"from a file\r\nsecond line\n")
    environment = {"NEXUS_OCI_KEY_PASSPHRASE": "ours", "COSIGN_PASSWORD": "theirs"}
    ask = lambda question: f"asked: {question}"  # noqa: E731
    assert passphrase_source(str(file), environment, ask)("Q") == b"from a file"
    assert passphrase_source(None, environment, ask)("Q") == b"ours"
    assert passphrase_source(None, {"COSIGN_PASSWORD": ""}, ask)("Q") == b""
    assert passphrase_source(None, {}, ask)("Q") == b"asked: Q"
    assert passphrase_source(None, {}, None)("Q") is None
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe\n")
    os.close(writing)
    assert passphrase_source(f"fd:{reading}", environment, ask)("Q") == b"from a pipe"
    os.close(reading)
    for wrong in (f"fd:{reading}", "fd:x", "fd:", "fd:-1", str(tmp_path / "none")):
        with pytest.raises(UsageError):
            passphrase_source(wrong, environment, ask)("Q")


def test_a_key_is_named_by_file_or_variable_and_never_given_as_an_argument(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(pem(KEY.key))
    assert load_private_key(str(tmp_path / "k"), {}, no_passphrase).public == KEY.public
    assert load_private_key("env:KEY", {"KEY": ENCRYPTED.decode()}, lambda _: b"right").public == KEY.public
    with pytest.raises(UsageError, match="variable KEY holds no signing key"):
        load_private_key("env:KEY", {}, no_passphrase)
    with pytest.raises(UsageError, match="given as an argument"):
        load_private_key(pem(KEY.key).decode(), {}, no_passphrase)
    with pytest.raises(UsageError, match="cannot be read"):
        load_private_key(str(tmp_path / "none"), {}, no_passphrase)


def test_the_secret_is_not_shown() -> None:
    assert "private" not in repr(KEY).lower().replace("privatekey(", "")


def test_a_key_for_entitlements_is_ed25519() -> None:
    key = generate("ed25519")
    assert key.public.kind == "Ed25519"
    assert read_private_key(encrypted_pem(key, b"right"), "a.key", lambda _: b"right").public == key.public
