"""Signatures under tags: what cosign made is read, and what is written is what podman and cosign look for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexus_oci.errors import VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Digest
from nexus_oci.trust.cosign import (
    SimpleSignature,
    decoded,
    payload_for,
    read_payload,
    sign_file,
    sign_payload,
    signature_layers,
    signature_tag,
    signed_by_tag,
    store_signatures,
    verifies,
)
from nexus_oci.trust.keys import generate, read_public_key
from tests.unit.trust import cosign_made

KEY = generate()
DIGEST = Digest(cosign_made.SIGNED)


def test_cosigns_own_payload_is_the_one_that_is_written_here() -> None:
    assert payload_for(DIGEST, cosign_made.REPOSITORY) == cosign_made.PAYLOAD
    claim = read_payload(cosign_made.PAYLOAD)
    assert (claim.digest, claim.reference) == (DIGEST, cosign_made.REPOSITORY)


def test_cosigns_own_signature_verifies_and_a_changed_one_does_not() -> None:
    key = read_public_key(cosign_made.PUBLIC, "k")
    assert verifies(SimpleSignature(payload=cosign_made.PAYLOAD, signature=cosign_made.SIGNATURE), key)
    changed = bytes([*cosign_made.SIGNATURE[:-1], cosign_made.SIGNATURE[-1] ^ 1])
    assert not verifies(SimpleSignature(payload=cosign_made.PAYLOAD, signature=changed), key)
    assert not verifies(SimpleSignature(payload=cosign_made.PAYLOAD + b" ", signature=cosign_made.SIGNATURE), key)


def test_a_tag_names_the_manifest_that_it_signs() -> None:
    assert signature_tag(DIGEST) == f"sha256-{DIGEST.hex}.sig"
    assert signed_by_tag(signature_tag(DIGEST)) == DIGEST
    for tag in ("1.0.0", f"sha256-{DIGEST.hex}", f"sha256-{DIGEST.hex}.att", f"sha512-{DIGEST.hex}.sig", "sha256-ab.sig"):
        assert signed_by_tag(tag) is None


def test_the_image_of_signatures_is_read_back_and_the_same_each_time(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    signatures = [sign_payload(KEY, payload_for(DIGEST, name)) for name in ("a.example/one", "a.example/two")]
    image = store_signatures(store, signatures)
    assert image == store_signatures(store, [sign_payload(KEY, one.payload) for one in signatures])
    manifest = store.manifest(image)
    found = [(store.read(layer), signature) for layer, signature in signature_layers(manifest)]
    assert found == [(one.payload, one.signature) for one in signatures]
    assert manifest.config is not None
    assert json.loads(store.read(manifest.config))["rootfs"]["diff_ids"] == [layer.digest for layer in manifest.layers]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"critical": null}',
        cosign_made.PAYLOAD.replace(b"cosign container image signature", b"another"),
        cosign_made.PAYLOAD.replace(b'"type"', b'"more":1,"type"'),
        cosign_made.PAYLOAD.replace(b"sha256:c6", b"sha256:"),
        cosign_made.PAYLOAD.replace(b"docker-manifest-digest", b"Docker-manifest-digest"),
    ],
)
def test_a_payload_of_another_kind_is_refused(payload: bytes) -> None:
    with pytest.raises(VerificationError):
        read_payload(payload)


def test_a_detached_signature_is_base64_and_nothing_else() -> None:
    text = sign_file(KEY, b"data")
    assert KEY.public.verify(decoded(text, "it"), b"data")
    with pytest.raises(VerificationError, match="the thing is not base64"):
        decoded(b"!" + text, "the thing")
