"""Sigstore bundles: what cosign made is read, and what is written says one thing of one manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexus_oci.errors import VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.trust import dsse
from nexus_oci.trust.keys import generate, read_public_key
from tests.unit.trust import cosign_made

KEY = generate()
DIGEST = Digest(cosign_made.SIGNED)


def test_cosigns_own_bundle_verifies_and_says_what_it_signs() -> None:
    bundle = dsse.read_bundle(cosign_made.BUNDLE)
    assert bundle is not None
    assert bundle.verified_by(read_public_key(cosign_made.PUBLIC, "k"))
    assert not bundle.verified_by(KEY.public)
    assert bundle.hint == cosign_made.HINT
    assert bundle.signs(DIGEST)
    assert not bundle.signs(Digest("sha256:" + "0" * 64))


def test_the_signature_is_over_the_type_too() -> None:
    assert dsse.pre_authentication("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_bundle_is_read_back_and_the_same_each_time() -> None:
    body = dsse.statement([DIGEST], dsse.SIGNATURE, {})
    text = dsse.sign_statement(KEY, body)
    assert text == dsse.sign_statement(KEY, body)
    bundle = dsse.read_bundle(text)
    assert bundle is not None
    assert (bundle.hint, bundle.payload, bundle.verified_by(KEY.public)) == (KEY.public.hint, body, True)
    assert (bundle.statement.subjects, bundle.statement.predicate_type, bundle.statement.predicate) == (
        (DIGEST,), dsse.SIGNATURE, {},
    )  # fmt: skip


def test_a_statement_of_another_type_is_no_signature() -> None:
    text = dsse.sign_statement(KEY, dsse.statement([DIGEST], "https://slsa.dev/provenance/v1", {}))
    bundle = dsse.read_bundle(text)
    assert bundle is not None
    assert not bundle.signs(DIGEST)


def test_one_changed_byte_of_a_bundle_is_noticed() -> None:
    document = json.loads(dsse.sign_statement(KEY, dsse.statement([DIGEST], dsse.SIGNATURE, {})))
    for change in ("payload", "signatures"):
        copy = json.loads(json.dumps(document))
        place = copy["dsseEnvelope"] if change == "payload" else copy["dsseEnvelope"]["signatures"][0]
        name = "payload" if change == "payload" else "sig"
        place[name] = place[name][:20] + ("A" if place[name][20] != "A" else "B") + place[name][21:]
        bundle = dsse.read_bundle(json.dumps(copy).encode())
        assert bundle is not None
        assert not bundle.verified_by(KEY.public)


def test_a_bundle_with_a_certificate_is_not_ours_to_judge() -> None:
    document = json.loads(cosign_made.BUNDLE)
    document["verificationMaterial"] = {"certificate": {"rawBytes": ""}}
    assert dsse.read_bundle(json.dumps(document).encode()) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        cosign_made.BUNDLE.replace(b"vnd.in-toto+json", b"octet-stream"),
        cosign_made.BUNDLE.replace(b'"signatures":[', b'"signatures":[{"sig":"AA=="},'),
        cosign_made.BUNDLE.replace(b'"payload":"eyJ', b'"payload":"!!!'),
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        dsse.read_bundle(data)


def test_the_artifact_refers_to_what_is_signed(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    subject = Descriptor(media_type=media_types.INDEX, digest=DIGEST, size=7, annotations={"a": "b"})
    found = store.manifest(dsse.store_bundle(store, b"{}", subject, dsse.SIGNATURE, "2026-01-01T00:00:00Z"))
    assert found.subject == Descriptor(media_type=media_types.INDEX, digest=DIGEST, size=7)
    assert (found.artifact_type, found.layers[0].media_type) == (dsse.BUNDLE, dsse.BUNDLE)
    assert dict(found.annotations) == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": dsse.SIGNATURE,
        media_types.CREATED: "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(("version", "read"), [("v1", True), ("v0.1", True), ("v2", False)])
def test_statements_of_the_version_that_cosign_attests_with_are_read_too(version: str, *, read: bool) -> None:
    body = json.loads(dsse.statement([DIGEST], "https://slsa.dev/provenance/v1", {}))
    payload = json.dumps({**body, "_type": f"https://in-toto.io/Statement/{version}"}).encode()
    bundle = dsse.Bundle(hint="", payload=payload, signature=b"")
    if read:
        assert bundle.statement.subjects == (DIGEST,)
    else:
        with pytest.raises(VerificationError, match="unknown version"):
            _ = bundle.statement
