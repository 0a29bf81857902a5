"""Cosign's signatures under tags: what cosign 2, podman, skopeo and CRI-O look for.

The image `sha256-<hex>.sig` stands beside what it signs. Each of its layers is a payload, in the form of containers'
simple signing (containers-signature(5)), and has the signature over it in an annotation.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nexus_oci.errors import VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest, canonical_json
from nexus_oci.trust.keys import PublicKey, Signer

PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
"""The media type of a payload."""
_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_TYPES: Final = ("cosign container image signature", "atomic container signature")
_TAG = re.compile(r"(sha256|sha512)-([0-9a-f]{64}|[0-9a-f]{128})\.sig\Z")
_NEVER: Final = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class SimpleSignature:
    """A payload, as the bytes that were signed, and a signature over it."""

    payload: bytes
    signature: bytes


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a payload says: the digest that is signed, and the repository (`docker-reference`) that it was signed for."""

    digest: Digest
    reference: str


def signature_tag(digest: Digest) -> str:
    """The tag under which the signatures of a manifest stand."""
    return f"{digest.algorithm}-{digest.hex}.sig"


def signed_by_tag(tag: str) -> Digest | None:
    """The manifest whose signatures stand under a tag; None for a tag of another kind."""
    found = _TAG.match(tag)
    try:
        return Digest(f"{found[1]}:{found[2]}") if found else None
    except VerificationError:
        return None


def payload_for(digest: Digest, reference: str) -> bytes:
    """The payload for a manifest in a repository. Readers match these field names exactly."""
    return canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": str(digest)},
                "type": _TYPES[0],
            },
            "optional": None,
        }
    )


def sign_payload(signer: Signer, payload: bytes) -> SimpleSignature:
    """Sign a payload, as cosign does."""
    return SimpleSignature(payload=payload, signature=signer.sign(payload))


def read_payload(payload: bytes) -> Claim:
    """What a payload says; raises `VerificationError` for anything else, such as one with a critical field that is not known."""
    try:
        critical = json.loads(payload)["critical"]
        if set(critical) != {"identity", "image", "type"} or critical["type"] not in _TYPES:
            raise VerificationError("a signature's payload is of no known kind", why=f"it says {str(critical)[:200]}")
        reference = critical["identity"]["docker-reference"]
        return Claim(digest=Digest(critical["image"]["docker-manifest-digest"]), reference=str(reference))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationError("a signature's payload cannot be read", why=f"{type(error).__name__}: {error}"[:200]) from None


def store_signatures(store: Store, signatures: Sequence[SimpleSignature]) -> Descriptor:
    """Write the image that holds these signatures; returns its manifest's descriptor. The same signatures give the same image."""
    payloads = [store.put(signature.payload, PAYLOAD) for signature in signatures]
    config = {
        "architecture": "",
        "config": {},
        "created": _NEVER,
        "history": [{"created": _NEVER} for _ in signatures],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [str(payload.digest) for payload in payloads]},
    }
    layers = [
        {**payload.to_json(), "annotations": {_SIGNATURE: base64.b64encode(signature.signature).decode()}}
        for payload, signature in zip(payloads, signatures, strict=True)
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "config": store.put(canonical_json(config), media_types.CONFIG).to_json(),
        "layers": layers,
    }
    return store.put_manifest(Manifest.build(manifest))


def signature_layers(manifest: Manifest) -> list[tuple[Descriptor, bytes]]:
    """The payloads that the image lists, each with its signature; raises `VerificationError` for one that is no base64."""
    found = []
    for layer in manifest.layers:
        text = layer.annotations.get(_SIGNATURE)
        if layer.media_type != PAYLOAD or not text:
            continue
        found.append((layer, decoded(text, "a signature")))
    return found


def verifies(signature: SimpleSignature, key: PublicKey) -> bool:
    """Whether the key made the signature. What it says, and of what, is in its payload."""
    return key.verify(signature.signature, signature.payload)


def sign_file(signer: Signer, data: bytes) -> bytes:
    """A detached signature of a file's bytes, base64, as `cosign sign-blob` prints it."""
    return base64.b64encode(signer.sign(data)) + b"\n"


def decoded(text: str | bytes, what: str) -> bytes:
    """Base64, strictly; raises `VerificationError` for anything else."""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError(f"{what} is not base64", why=str(error)) from None
