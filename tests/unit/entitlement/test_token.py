"""Tokens as they are issued: another maker's reader takes them, and nothing is issued that a reader would refuse."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nexus_oci.entitlement.claims import Claims, decoded, encoded, moment
from nexus_oci.entitlement.judgement import Site, judge
from nexus_oci.entitlement.refusals import Refused
from nexus_oci.entitlement.token import LARGEST, claims_of, issue, key_id, opened, read
from nexus_oci.errors import UsageError, VerificationError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
ID = key_id(PUBLIC)
CLAIMS = Claims(
    id="a-1", customer='Żółw & "Sons"', engine="shop", tier="enterprise", distributions=("container", "runtime"), features=("http",),
    limits={"workers": 4}, issued=1_790_000_000, not_before=1_790_000_000, not_after=1_890_000_000, grace=60,
)  # fmt: skip


def token(**changes: Any) -> str:
    return issue(dataclasses.replace(CLAIMS, **changes), ID, KEY.sign)


def test_what_is_issued_is_read() -> None:
    assert read(token().encode(), {ID: PUBLIC}) == CLAIMS


def test_issuing_twice_gives_the_same_token() -> None:
    assert token() == token()


def test_another_reader_of_jws_takes_it() -> None:
    claims = jwt.decode(
        token(),
        KEY.public_key(),
        algorithms=["EdDSA"],
        audience="shop",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert claims["sub"] == CLAIMS.customer
    assert jwt.get_unverified_header(token()) == {"alg": "EdDSA", "kid": ID, "typ": "nexus-entitlement+jwt"}


def test_a_token_of_another_maker_is_none_although_its_signature_is_good() -> None:
    other = jwt.encode(CLAIMS.to_json(), KEY, algorithm="EdDSA", headers={"kid": ID, "typ": "nexus-entitlement+jwt"})
    with pytest.raises(Refused, match="no entitlement") as caught:
        read(other.encode(), {ID: PUBLIC})
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"customer": "a\nb"}, "visible text"),
        ({"tier": "gold"}, "one of community"),
        ({"distributions": ("runtime", "container")}, "sorted"),
        ({"not_after": CLAIMS.not_before}, "ends after"),
        ({"limits": {"workers": -1}}, "whole numbers"),
        ({"customer": "", "grace": -1}, "customer.*; .*grace"),
    ],
)
def test_what_no_reader_would_take_is_not_issued(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        token(**changes)


def test_what_is_too_large_is_not_issued() -> None:
    names = tuple(sorted(f"{n:02d}{'x' * 62}" for n in range(64)))
    with pytest.raises(UsageError, match=f"at most {LARGEST}"):
        token(features=names, distributions=names)


def test_a_token_can_be_looked_at_without_a_key() -> None:
    envelope = opened(token().encode())
    assert envelope.key == ID
    assert claims_of(envelope) == CLAIMS


def test_claims_are_written_in_one_way() -> None:
    data = encoded(CLAIMS)
    assert decoded(data) == CLAIMS
    assert json.loads(data)["jti"] == "a-1"
    with pytest.raises(ValueError, match="canonical"):
        decoded(json.dumps(json.loads(data), sort_keys=True).encode())


def test_what_is_not_known_is_not_asked_about() -> None:
    assert judge(CLAIMS, Site(), CLAIMS.not_before) == "valid"
    assert judge(CLAIMS, Site(), CLAIMS.not_after + 60) == "grace"


def test_a_refusal_says_what_why_and_what_to_do_and_is_a_failed_verification() -> None:
    with pytest.raises(VerificationError) as caught:
        judge(CLAIMS, Site(tier="sovereign"), CLAIMS.not_before)
    assert str(caught.value).splitlines() == [
        "the entitlement is for the tier enterprise",
        "  why: sovereign is the least that is asked for",
        "  do:  use the engine of the tier enterprise, or ask the vendor for an entitlement for sovereign",
    ]
    assert caught.value.exit_code == 4


def test_times_are_written_in_utc() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert moment(253402300799) == "9999-12-31T23:59:59Z"
