"""Which OpenPGP signatures are good, and whose count now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pysequoia import Cert, CipherSuite, Tsk

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.trust.openpgp import SigningKey, load_key
from nexus_oci.trust.openpgp_signature import sign_clear, sign_detached
from nexus_oci.trust.openpgp_verification import Certificate, clear_makers, detached_makers, read_certificates
from tests.support.openpgp_keys import USER, armored, make_key

NOW = datetime.now(UTC)
DATA = b"some data\n"


@pytest.fixture(scope="module")
def made() -> Tsk:
    return make_key(CipherSuite.Cv25519, seconds=86400)


@pytest.fixture
def key(made: Tsk, tmp_path: Path) -> SigningKey:
    (tmp_path / "key").write_bytes(armored(made))
    return load_key(str(tmp_path / "key"), environment={})


@pytest.fixture
def certificate(made: Tsk) -> Certificate:
    (found,) = read_certificates(bytes(made.extract_certificate()), "it")
    return found


@pytest.fixture(scope="module")
def other() -> Certificate:
    (found,) = read_certificates(bytes(make_key(CipherSuite.Cv25519).extract_certificate()), "it")
    return found


def test_a_file_holds_one_certificate_or_a_keyring_armored_or_not(made: Tsk, other: Certificate) -> None:
    own = made.extract_certificate()
    for data in (bytes(own), str(own).encode()):
        (found,) = read_certificates(data, "it")
        assert (found.fingerprint, found.user) == (own.fingerprint.upper(), USER)
    assert len(read_certificates(bytes(own) + other.data, "it")) == 2


@pytest.mark.parametrize("data", [b"", b"no certificate"])
def test_what_is_no_certificate_is_named(data: bytes) -> None:
    with pytest.raises(UsageError, match="ring.gpg holds no OpenPGP certificate"):
        read_certificates(data, "ring.gpg")


def test_a_maker_is_found_among_several_certificates_and_signatures(
    key: SigningKey, certificate: Certificate, other: Certificate
) -> None:
    good, of_another = (sign_detached(key, data, key.valid_from) for data in (DATA, b"other data\n"))
    (maker,) = detached_makers(good, DATA, [other, certificate])
    assert (maker.certificate, maker.signer) == (certificate, key.signer)
    assert detached_makers(good, DATA, [other]) == []
    assert detached_makers(of_another, DATA, [certificate]) == []


@pytest.mark.parametrize("signature", [b"", b"-----BEGIN PGP SIGNATURE-----\n\nabc\n", b"base64=="])
def test_what_is_no_signature_is_said(signature: bytes, certificate: Certificate) -> None:
    with pytest.raises(VerificationError, match="no OpenPGP signature"):
        detached_makers(signature, DATA, [certificate])


def test_a_signed_text_is_what_was_signed_and_nothing_around_it(
    key: SigningKey, certificate: Certificate, other: Certificate
) -> None:
    message = sign_clear(key, b"a: b\n- c\n", key.valid_from)
    text, (maker,) = clear_makers(message, [other, certificate])
    assert (text, maker.signer) == (b"a: b\n- c", key.signer)
    assert clear_makers(message.replace(b"a: b", b"a: c"), [certificate]) == (b"", [])
    for forged in (b"name: evil\n" + message, message + b"\nname: evil\n", message + message, b"a: b\n", b""):
        with pytest.raises(VerificationError, match="no OpenPGP message"):
            clear_makers(forged, [certificate])


def test_a_signature_stops_to_count_when_its_certificate_expires(certificate: Certificate, key: SigningKey) -> None:
    assert certificate.unusable(key.signer, NOW) is None
    late = certificate.unusable(key.signer, NOW + timedelta(days=2))
    assert late is not None
    assert "expired on" in late


def test_a_revoked_certificate_counts_for_nothing(made: Tsk, key: SigningKey) -> None:
    own = made.extract_certificate()
    revoked = Cert.from_bytes(bytes(own) + bytes(own.revoke(made.certifier())))
    (found,) = read_certificates(bytes(revoked), "it")
    assert "is revoked" in (found.unusable(key.signer, NOW) or "")


def test_a_key_that_is_not_meant_for_signing_counts_for_nothing(certificate: Certificate) -> None:
    assert "not meant for signing" in (certificate.unusable(certificate.fingerprint, NOW) or "")
