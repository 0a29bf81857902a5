"""Chains of certificates, and what the Notary Project's requirements refuse in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Use

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.trust.certificates import Chain, algorithm_of, has_subject, parse_subject, read_certificates
from nexus_oci.trust.notation import load_chain_signer
from tests.support.certificates import DAY, KEYS, NOW, ROOT, Certified, Wish, authority, intermediate, issue

ROOT_CERTIFICATE = authority()


def chain(leaf: Certified) -> Chain:
    return Chain(der=tuple(one.public_bytes(Encoding.DER) for one in leaf.chain))


@pytest.mark.parametrize("kind", ["ES256", "ES384", "ES512", "PS256", "PS384"])
def test_a_good_chain_has_no_faults_and_its_key_says_the_algorithm(kind: str) -> None:
    leaf = issue(Wish(kind=kind), intermediate(ROOT_CERTIFICATE, path_length=0))
    assert chain(leaf).faults() == []
    assert chain(leaf).untimely(NOW) is None
    assert algorithm_of(leaf.key.public_key()) == kind


@pytest.mark.parametrize("purposes", [None, (Use.CODE_SIGNING,)])
def test_a_self_signed_leaf_and_one_without_purposes_will_do(purposes: Any) -> None:
    assert chain(issue(Wish(purposes=purposes))).faults() == []
    assert chain(issue(Wish(purposes=purposes, authority=False), ROOT_CERTIFICATE)).faults() == []


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(usage=None), "has no critical key usage"),
        (Wish(critical=False), "has no critical key usage"),
        (Wish(usage=("key_encipherment",)), "is not for digital signatures"),
        (Wish(usage=("digital_signature", "key_cert_sign")), "is for other things too: key_cert_sign"),
        (Wish(usage=("digital_signature", "key_encipherment")), "is for other things too: key_encipherment"),
        (Wish(purposes=(Use.SERVER_AUTH,)), "is not for code signing alone"),
        (Wish(purposes=(Use.CODE_SIGNING, Use.TIME_STAMPING)), "is not for code signing alone"),
        (Wish(purposes=(Use.ANY_EXTENDED_KEY_USAGE, Use.CODE_SIGNING)), "is not for code signing alone"),
        (Wish(authority=True), "is a certificate authority's"),
        (Wish(kind="RSA 1024"), "it is RSA of 1024 bits"),
        (Wish(kind="Ed25519"), "it is Ed25519PublicKey"),
    ],
)
def test_leaves_that_are_refused(wish: Wish, said: str) -> None:
    (fault,) = chain(issue(wish, ROOT_CERTIFICATE)).faults()
    assert said in fault


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (replace(ROOT, common="between", authority=None), "is no certificate authority's"),
        (replace(ROOT, common="between", authority=False), "is no certificate authority's"),
        (replace(ROOT, common="between", usage=("digital_signature",)), "may not sign certificates"),
        (replace(ROOT, common="between", critical=False), "may not sign certificates"),
        (replace(ROOT, common="between", kind="RSA 1024"), "it is RSA of 1024 bits"),
    ],
)
def test_authorities_that_are_refused(wish: Wish, said: str) -> None:
    (fault,) = chain(issue(Wish(), issue(wish, ROOT_CERTIFICATE))).faults()
    assert said in fault


def test_order_and_length_of_a_chain_are_checked() -> None:
    between = intermediate(ROOT_CERTIFICATE)
    good = chain(issue(Wish(), between)).der
    short = intermediate(intermediate(ROOT_CERTIFICATE, path_length=0))
    for der, said in (
        ((good[1], good[0], good[2]), "is not issued by"),
        (good[:2], "the root is missing"),
        (good[:1], "the root is missing"),
        ((good[0], good[2]), "is not issued by"),
        ((good[2], good[2]), "is self-signed, and not the last"),
        ((good[0], b"no certificate", good[2]), "a certificate cannot be read"),
        (chain(issue(Wish(), short)).der, "allows 0 authorities below it, and there are 1"),
        ((), "it has 0 certificates"),
    ):
        assert any(said in fault for fault in Chain(der=der).faults()), said


def test_a_chain_counts_in_its_time_only() -> None:
    found = chain(issue(Wish(begins=NOW - DAY, ends=NOW + DAY), ROOT_CERTIFICATE))
    assert "is valid from" in str(found.untimely(NOW - 2 * DAY))
    assert "expired on" in str(found.untimely(NOW + 2 * DAY))


def test_a_signer_needs_its_own_certificate_and_a_good_one(tmp_path: Path) -> None:
    good, other = issue(Wish(), ROOT_CERTIFICATE), issue(Wish(), ROOT_CERTIFICATE)
    assert load_chain_signer(chain(good).der, "x", good.key, NOW).chain.der == chain(good).der
    with pytest.raises(UsageError, match="the key is not that of the first certificate"):
        load_chain_signer(chain(good).der, "x", other.key, NOW)
    with pytest.raises(UsageError, match="expired on"):
        load_chain_signer(chain(good).der, "x", good.key, NOW + 4000 * DAY)
    with pytest.raises(UsageError, match="Ed25519"):
        load_chain_signer(chain(issue(Wish(kind="Ed25519"))).der, "x", KEYS["Ed25519"](), NOW)


def test_certificates_are_read_from_pem_and_der_and_nothing_else() -> None:
    leaf = issue(Wish(), ROOT_CERTIFICATE)
    assert read_certificates(leaf.pem, "x") == chain(leaf).der
    assert read_certificates(chain(leaf).der[0], "x") == chain(leaf).der[:1]
    for data, said in (
        (b"nothing", "no certificates that can be read"),
        (leaf.key_pem, "holds a private key"),
        (b"", "no certificates"),
    ):
        with pytest.raises(UsageError, match=said):
            read_certificates(data, "x")


def test_subjects_are_compared_attribute_by_attribute() -> None:
    leaf = issue(Wish(common="release")).certificate
    assert has_subject(leaf, parse_subject("CN=release, O=Example, ST=BE, C=DE"))
    assert has_subject(leaf, parse_subject("C=DE,S=BE,O=Example"))
    for other in ("C=DE,ST=BE,O=Example,CN=other", "C=DE,ST=BE,O=Example,OU=none", "C=AT,ST=BE,O=Example"):
        assert not has_subject(leaf, parse_subject(other))
    for text, said in (
        ("O=Example,CN=release", "it lacks C, ST"),
        ("C=DE,ST=BE,O=Example,O=Other", "an attribute twice"),
        ("C=DE+ST=BE,O=Example", "several attributes in one place"),
        ("release", "is no subject"),
        ("", "is no subject|it lacks"),
    ):
        with pytest.raises(UsageError, match=said):
            parse_subject(text)


def test_other_keys_have_no_algorithm() -> None:
    with pytest.raises(VerificationError, match="of a kind that Notation does not know"):
        algorithm_of(KEYS["Ed25519"]().public_key())
