"""Keys and entitlements together."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nexus_oci.entitlement.claims import Claims
from nexus_oci.entitlement.refusals import Refused
from nexus_oci.errors import UsageError
from nexus_oci.pipeline.entitlements import described, issue_token, read_key, token_place
from nexus_oci.trust.keys import PrivateKey, PublicKey, generate

CLAIMS = Claims(
    id="a", customer="Ann", engine="shop", tier="enterprise", distributions=("runtime",), issued=1, not_before=2, not_after=90, grace=7200
)  # fmt: skip


class Hashing:
    """A device that signs a hash where the message was given."""

    def __init__(self, key: PrivateKey) -> None:
        self.key = key

    @property
    def public(self) -> PublicKey:
        return self.key.public

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(hashlib.sha512(message).digest())


def test_what_a_key_signs_is_read_back_before_it_is_given_away() -> None:
    key = generate("ed25519")
    assert issue_token(CLAIMS, key).count(".") == 2
    with pytest.raises(Refused) as caught:
        issue_token(CLAIMS, Hashing(key))
    assert caught.value.reason == "edited"


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_bytes(generate().public.pem)
    with pytest.raises(UsageError, match="a.pub is no Ed25519 key"):
        read_key(tmp_path / "a.pub", "a.pub")
    with pytest.raises(UsageError, match="the signing key is no Ed25519 key"):
        issue_token(CLAIMS, generate())


def test_a_token_says_where_its_engine_looks_for_it(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(issue_token(CLAIMS, generate("ed25519")))
    assert token_place(tmp_path / "t") == "/etc/shop/entitlement.token"
    (tmp_path / "t").write_text("nothing")
    with pytest.raises(Refused, match="no entitlement"):
        token_place(tmp_path / "t")


def test_lengths_are_told_in_their_largest_unit() -> None:
    assert described(CLAIMS)["until"] == "1970-01-01T00:01:30Z, and 2 hours of grace"
