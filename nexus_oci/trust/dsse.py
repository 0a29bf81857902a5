"""Sigstore bundles that refer to what they sign: what cosign 3 writes and looks for first.

A bundle (sigstore/protobuf-specs, version 0.3) holds one DSSE envelope (secure-systems-lab/dsse, protocol.md), and that holds an
in-toto statement, version 1. It is the only layer of an artifact whose `subject` is the manifest that the statement is about.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from nexus_oci.errors import VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.embedded import embedding
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest, canonical_json
from nexus_oci.trust.cosign import decoded
from nexus_oci.trust.keys import PublicKey, Signer

BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""The media type of a bundle, and the artifact type of what carries one."""
SIGNATURE: Final = "https://sigstore.dev/cosign/sign/v1"
"""The predicate of a statement that says no more than: this is signed."""
PREDICATE: Final = "dev.sigstore.bundle.predicateType"
"""The annotation that repeats the statement's predicate. It is a claim of whoever wrote the manifest."""
_CONTENT: Final = "dev.sigstore.bundle.content"
_IN_TOTO: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_STATEMENTS: Final = (_STATEMENT, "https://in-toto.io/Statement/v0.1")
"""What is read: `cosign attest` still writes version 0.1, whose fields here are the same."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """An in-toto statement: what is said (`predicate`, of a type), and of which digests."""

    subjects: tuple[Digest, ...]
    predicate_type: str
    predicate: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle made with a plain key: the signed bytes, the signature, and a hint at the key."""

    hint: str
    payload: bytes
    signature: bytes

    def verified_by(self, key: PublicKey) -> bool:
        """Whether the key signed it. The hint is not looked at: anybody can write one."""
        return key.verify(self.signature, pre_authentication(_IN_TOTO, self.payload))

    def signs(self, digest: Digest) -> bool:
        """Whether it says that this manifest is signed, and nothing of others."""
        try:
            said = self.statement
        except VerificationError:
            return False
        return said.predicate_type == SIGNATURE and said.subjects == (digest,)

    @cached_property
    def statement(self) -> Statement:
        """What the signed bytes say; raises `VerificationError` where that is no statement, version 1 or 0.1."""
        try:
            data = json.loads(self.payload)
            if data["_type"] not in _STATEMENTS or not isinstance(data["subject"], list):
                raise VerificationError(
                    "a bundle's statement is of an unknown version", why=f"it says {str(data['_type'])[:100]}"
                )
            subjects = tuple(
                Digest(f"{name}:{value}")
                for subject in data["subject"]
                for name, value in subject["digest"].items()
                if name in ("sha256", "sha512")
            )
            return Statement(subjects=subjects, predicate_type=str(data["predicateType"]), predicate=data.get("predicate") or {})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise VerificationError("a bundle's statement cannot be read", why=f"{type(error).__name__}: {error}"[:200]) from None


def pre_authentication(payload_type: str, body: bytes) -> bytes:
    """The bytes that a DSSE signature is over (protocol.md, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def statement(subjects: Sequence[Digest], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """The bytes of an in-toto statement about manifests."""
    return canonical_json(
        {
            "_type": _STATEMENT,
            "subject": [{"digest": {digest.algorithm: digest.hex}} for digest in subjects],
            "predicateType": predicate_type,
            "predicate": dict(predicate),
        }
    )


def sign_statement(signer: Signer, body: bytes) -> bytes:
    """The bundle of a signed statement, JSON."""
    signature = signer.sign(pre_authentication(_IN_TOTO, body))
    return canonical_json(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": signer.public.hint}},
            "dsseEnvelope": {
                "payload": base64.b64encode(body).decode(),
                "payloadType": _IN_TOTO,
                "signatures": [{"sig": base64.b64encode(signature).decode()}],
            },
        }
    )


def read_bundle(data: bytes) -> Bundle | None:
    """A bundle that a plain key signed; None for one with a certificate, which is not ours to judge.

    Raises `VerificationError` for what is no bundle with one signed in-toto statement.
    """
    try:
        document = json.loads(data)
        envelope = document["dsseEnvelope"]
        material = document["verificationMaterial"]
        if "publicKey" not in material:
            return None
        if envelope["payloadType"] != _IN_TOTO or len(envelope["signatures"]) != 1:
            raise VerificationError(
                "a bundle holds no statement with one signature", why=f"it has {envelope['payloadType']!r:.100}"
            )
        return Bundle(
            hint=str(material["publicKey"].get("hint", "")),
            payload=decoded(envelope["payload"], "a bundle's payload"),
            signature=decoded(envelope["signatures"][0]["sig"], "a bundle's signature"),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError("a bundle cannot be read", why=f"{type(error).__name__}: {error}"[:200]) from None


def store_bundle(store: Store, bundle: bytes, subject: Descriptor, predicate_type: str, created: str) -> Descriptor:
    """Write a bundle as an artifact that refers to `subject`; returns its manifest's descriptor. `created` is RFC 3339.

    A small one, as those of signatures are, is embedded in the manifest too, so that it is read with it.
    """
    about = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "artifactType": BUNDLE,
        "config": store.put(b"{}", media_types.EMPTY).to_json(),
        "layers": [embedding(store.put(bundle, BUNDLE).to_json(), bundle)],
        "subject": about.to_json(),
        "annotations": {_CONTENT: "dsse-envelope", PREDICATE: predicate_type, media_types.CREATED: created},
    }
    return store.put_manifest(Manifest.build(manifest))
