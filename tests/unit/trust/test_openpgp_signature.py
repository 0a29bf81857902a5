"""OpenPGP signatures made here: the same each time, good to Sequoia, and never by a key that cannot be opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pysequoia import CipherSuite, Sig, Tsk, verify

from nexus_oci.errors import UsageError
from nexus_oci.trust.openpgp import PASSPHRASE_VARIABLE, PassphraseError, SigningKey, load_key
from nexus_oci.trust.openpgp_secret import open_secret
from nexus_oci.trust.openpgp_signature import sign_clear, sign_detached
from tests.support.openpgp_keys import armored, make_key

SUITES = [CipherSuite.Cv25519, CipherSuite.P256, CipherSuite.P384, CipherSuite.P521, CipherSuite.RSA2k]
TEXT = b"From the start\n- a dash\n\nblanks at the end \t\nlast\n"
SECRET = "pass ☂"


def loaded(folder: Path, made: Tsk, passphrase: str = "") -> SigningKey:
    path = folder / "key"
    path.write_bytes(armored(made))
    return load_key(str(path), environment={PASSPHRASE_VARIABLE: passphrase} if passphrase else {})


@pytest.fixture(scope="module")
def protected() -> Tsk:
    return make_key(CipherSuite.Cv25519, passphrase=SECRET)


@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_a_signature_is_good_the_same_twice_and_bears_the_given_time(suite: CipherSuite, tmp_path: Path) -> None:
    made = make_key(suite)
    key = loaded(tmp_path, made)
    when = key.valid_from + 5
    detached = sign_detached(key, TEXT, when)
    assert detached == sign_detached(key, TEXT, when) != sign_detached(key, TEXT + b".", when)
    signature = Sig.from_bytes(detached)
    assert (signature.issuer_fingerprint or "").upper() == key.signer
    assert signature.created is not None
    assert signature.created.timestamp() == when
    certificate = made.extract_certificate()
    found = verify(bytes=TEXT, store=lambda _: [certificate], signature=signature)
    assert [one.signing_key.upper() for one in found.valid_sigs] == [key.signer]


def test_a_signed_text_escapes_dashes_and_loses_blanks_at_the_ends_of_lines(tmp_path: Path) -> None:
    made = make_key(CipherSuite.Cv25519)
    key = loaded(tmp_path, made)
    message = sign_clear(key, TEXT, key.valid_from)
    assert b"\n- From the start\n- - a dash\n\nblanks at the end\nlast\n-----BEGIN PGP SIGNATURE-----\n" in message
    assert message.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n")
    certificate = made.extract_certificate()
    assert verify(bytes=message, store=lambda _: [certificate]).bytes == TEXT.replace(b" \t", b"").removesuffix(b"\n")


def test_a_key_with_a_passphrase_signs_as_without(protected: Tsk, tmp_path: Path) -> None:
    key = loaded(tmp_path, protected, SECRET)
    made = Sig.from_bytes(sign_detached(key, TEXT, key.valid_from))
    certificate = protected.extract_certificate()
    assert verify(bytes=TEXT, store=lambda _: [certificate], signature=made).valid_sigs


def test_a_wrong_passphrase_opens_nothing(protected: Tsk, tmp_path: Path) -> None:
    key = loaded(tmp_path, protected, SECRET)
    for wrong in ("another", None):
        with pytest.raises(PassphraseError, match="passphrase of the OpenPGP key .* is wrong"):
            open_secret(replace(key, passphrase=wrong))


def test_nothing_secret_is_shown(protected: Tsk, tmp_path: Path) -> None:
    key = loaded(tmp_path, protected, SECRET)
    assert SECRET not in f"{key!r} {open_secret(key)!r}"
    assert "private" not in repr(open_secret(key)).lower()


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [(0, 253, "its protection is of kind 253"), (1, 3, "its cipher is number 3"), (2, 101, "its key derivation is of kind 101"),
     (3, 1, "with hash number 1")],
)  # fmt: skip
def test_a_protection_that_is_not_known_is_named(protected: Tsk, tmp_path: Path, place: int, value: int, why: str) -> None:
    key = loaded(tmp_path, protected, SECRET)
    # The protection (section 5.5.3) begins with: usage 254, cipher 9, derivation 3, hash 8.
    start = bytes([254, 9, 3, 8])
    assert key.secret.count(start) >= 2
    changed = start[:place] + bytes([value]) + start[place + 1 :]
    with pytest.raises(UsageError, match="protected in a way that is not known here") as caught:
        open_secret(replace(key, secret=key.secret.replace(start, changed)))
    assert why in (caught.value.why or "")
    assert "export it from there" in (caught.value.hint or "")


def test_a_damaged_secret_is_no_traceback(tmp_path: Path) -> None:
    key = loaded(tmp_path, make_key(CipherSuite.Cv25519))
    last = bytearray(key.secret)
    position = key.secret.rindex(bytes.fromhex("2b06010401da470f01"))  # the curve of the key that signs
    last[position + 50] ^= 1
    with pytest.raises(UsageError, match="cannot be read"):
        open_secret(replace(key, secret=bytes(last)))
