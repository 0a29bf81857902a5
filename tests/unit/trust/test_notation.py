"""Envelopes of Notation: what is written, what is read, and every way in which one is refused."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.trust.keys import PrivateKey
from nexus_oci.trust.notation import (
    ENVELOPE,
    NOTATION,
    ChangedEnvelopeError,
    load_chain_signer,
    read_envelope,
    sign_descriptor,
    store_notation,
)
from tests.support.certificates import DAY, NOW, Certified, Wish, authority, issue

ROOT = authority()
LEAF = issue(Wish(), ROOT)
SUBJECT = Descriptor(media_type="application/vnd.oci.image.manifest.v1+json", digest=digest_of(b"{}"), size=2)
CRITICAL = "io.cncf.notary.signingScheme"


def der(leaf: Certified) -> tuple[bytes, ...]:
    return tuple(one.public_bytes(Encoding.DER) for one in leaf.chain)


SIGNER = load_chain_signer(der(LEAF), "chain", LEAF.key, NOW)


def envelope(**options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sign_descriptor(SIGNER, SUBJECT, now=NOW, **options))
    return found


def decoded(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def resigned(document: dict[str, Any], protected: Any = None, payload: Any = None) -> bytes:
    """The envelope with another header or payload, and with a signature that is right again."""
    document = dict(document)
    if protected is not None:
        document["protected"] = encoded(protected)
    if payload is not None:
        document["payload"] = encoded(payload)
    document["signature"] = encoded(SIGNER.sign(f"{document['protected']}.{document['payload']}".encode()))
    return json.dumps(document).encode()


def test_an_envelope_is_what_the_specification_asks_for() -> None:
    made = envelope(expires=NOW + DAY)
    assert set(made) == {"payload", "protected", "header", "signature"}
    assert decoded(made["payload"]) == {"targetArtifact": {"mediaType": SUBJECT.media_type, "digest": SUBJECT.digest, "size": 2}}
    header = decoded(made["protected"])
    assert header == {
        "alg": "ES256", "crit": [CRITICAL, "io.cncf.notary.expiry"], "cty": "application/vnd.cncf.notary.payload.v1+json",
        CRITICAL: "notary.x509", "io.cncf.notary.signingTime": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
        "io.cncf.notary.expiry": f"{NOW + DAY:%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip
    assert [base64.b64decode(one) for one in made["header"]["x5c"]] == list(der(LEAF))
    assert not re.search("[=+/]", made["payload"] + made["protected"] + made["signature"])
    assert len(base64.urlsafe_b64decode(made["signature"] + "==")) == 64


def test_an_envelope_is_stored_as_an_artifact_that_refers_to_its_subject(store: Store) -> None:
    body = sign_descriptor(SIGNER, SUBJECT, now=NOW)
    manifest = store.manifest(store_notation(store, body, SUBJECT, SIGNER.chain, NOW))
    assert (manifest.artifact_type, manifest.data["subject"]) == (NOTATION, SUBJECT.to_json())
    assert [layer.media_type for layer in manifest.layers] == [ENVELOPE]
    assert manifest.data["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert json.loads(manifest.annotations["io.cncf.notary.x509chain.thumbprint#S256"]) == list(SIGNER.chain.thumbprints)


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store.create(tmp_path / "oci")


def test_what_is_written_is_read_again() -> None:
    found = read_envelope(sign_descriptor(SIGNER, SUBJECT, now=NOW, expires=NOW + DAY))
    assert (found.target, found.signed_at, found.expires, found.chain.der) == (SUBJECT, NOW, NOW + DAY, der(LEAF))
    assert found.is_of(SUBJECT)
    assert found.key.fingerprint == PrivateKey(key=LEAF.key).public.fingerprint
    assert not found.is_of(replace(SUBJECT, size=3))
    assert not found.is_of(replace(SUBJECT, media_type="other/type"))
    assert found.untimely(NOW) is None
    assert read_envelope(sign_descriptor(SIGNER, SUBJECT, now=NOW)).expires is None


def test_time_ends_an_envelope() -> None:
    found = read_envelope(sign_descriptor(SIGNER, SUBJECT, now=NOW, expires=NOW + DAY))
    assert "the signature by" in str(found.untimely(NOW + DAY))
    assert "expired on" in str(replace(found, expires=None).untimely(NOW + 1000 * DAY))
    for moment in (NOW - 10 * DAY, NOW + 1000 * DAY):
        assert str(replace(found, signed_at=moment).untimely(NOW)).startswith("when it was signed, the certificate")
    assert "is valid from" in str(found.untimely(datetime(2000, 1, 1, tzinfo=UTC)))


Change = Callable[[dict[str, Any]], bytes]


def header(**changes: Any) -> Change:
    """Another protected header, signed again; None takes a field away."""

    def change(document: dict[str, Any]) -> bytes:
        fields = {**decoded(document["protected"]), **{name.replace("__", "."): value for name, value in changes.items()}}
        return resigned(document, protected={name: value for name, value in fields.items() if value is not None})

    return change


def field(**changes: Any) -> Change:
    """Other fields around, which nobody signed."""
    return lambda document: json.dumps({**document, **changes}).encode()


REFUSED: dict[str, tuple[Change, str]] = {
    "no JSON": (lambda _: b"no JSON", "cannot be read"),
    "no object": (lambda _: b"[]", "it is no JSON object"),
    "another field": (field(extra="x"), "has not the fields"),
    "a field less": (lambda document: json.dumps({"payload": document["payload"]}).encode(), "has not the fields"),
    "a field twice": (lambda document: json.dumps(document).encode().replace(b'{"', b'{"payload": "", "', 1), "given twice"),
    "no certificates": (field(header={"x5c": []}), "holds no certificates"),
    "no header": (field(header=None), "holds no certificates"),
    "certificates that are no base64": (field(header={"x5c": ["%%"]}), "is not base64"),
    "certificates that are none": (field(header={"x5c": ["AAAA"]}), "does not fulfil the requirements"),
    "a leaf alone": (lambda d: json.dumps({**d, "header": {"x5c": d["header"]["x5c"][:1]}}).encode(), "the root is missing"),
    "a header that is padded": (lambda d: json.dumps({**d, "protected": d["protected"] + "="}).encode(), "is not base64"),
    "a critical header that is not known": (
        header(crit=[CRITICAL, "io.cncf.notary.verificationPlugin"], io__cncf__notary__verificationPlugin="x"),
        "critical headers that are not known here",
    ),
    "a critical header that is not there": (header(crit=[CRITICAL, "io.cncf.notary.expiry"]), "list of critical headers is wrong"),
    "a critical header twice": (header(crit=[CRITICAL, CRITICAL]), "list of critical headers is wrong"),
    "a scheme that is not critical": (header(crit=[]), "list of critical headers is wrong"),
    "no critical headers": (header(crit=None), "does not say which of its headers are critical"),
    "an expiry that is not critical": (header(io__cncf__notary__expiry="2099-01-01T00:00:00Z"), "an expiry that is not critical"),
    "another content": (header(cty="text/plain"), "content is of an unknown type"),
    "another scheme": (header(io__cncf__notary__signingScheme="notary.x509.signingAuthority"), "a signing scheme that is not known"),
    "no algorithm": (header(alg=None), "content is of an unknown type"),
    "the algorithm none": (header(alg="none"), "algorithm is not that of its key"),
    "another key's algorithm": (header(alg="PS256"), "algorithm is not that of its key"),
    "another curve's algorithm": (header(alg="ES384"), "algorithm is not that of its key"),
    "an algorithm with a shared secret": (header(alg="HS256"), "algorithm is not that of its key"),
    "a payload that is not encoded": (header(b64=False), "payload is not encoded"),
    "no time": (header(io__cncf__notary__signingTime=None), "time cannot be read"),
    "a time without a zone": (header(io__cncf__notary__signingTime="2026-01-01T00:00:00"), "time cannot be read"),
    "another payload": (lambda document: resigned(document, payload={"other": {}}), "is no descriptor of what"),
    "more in the payload": (
        lambda document: resigned(document, payload={**decoded(document["payload"]), "more": 1}), "is no descriptor of what",
    ),
    "a descriptor that is none": (lambda document: resigned(document, payload={"targetArtifact": {}}), "descriptor is malformed"),
    "a name twice in the payload": (
        lambda document: resigned(document, payload=b'{"targetArtifact":{},"TargetArtifact":{}}'), "given twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_envelopes_that_are_refused(change: Change, said: str) -> None:
    with pytest.raises(VerificationError) as raised:
        read_envelope(change(envelope()))
    assert said in str(raised.value)


def test_a_changed_envelope_names_the_chain_that_did_not_sign_it() -> None:
    good = envelope()
    flipped = good["signature"][:40] + ("A" if good["signature"][40] != "A" else "B") + good["signature"][41:]
    other = issue(Wish(), ROOT)
    for change in (
        {"signature": flipped},
        {"signature": encoded(bytes(60))},
        {"signature": ""},
        {"payload": encoded({"targetArtifact": {}})},
        {"header": {"x5c": [base64.b64encode(one).decode() for one in der(other)]}},
    ):
        with pytest.raises(ChangedEnvelopeError, match="is not that of its certificate's key"):
            read_envelope(json.dumps({**good, **change}).encode())


@pytest.mark.parametrize("kind", ["ES384", "ES512", "PS256", "PS384"])
def test_every_kind_of_key_signs(kind: str) -> None:
    leaf = issue(Wish(kind=kind), ROOT)
    signer = load_chain_signer(der(leaf), "chain", leaf.key, NOW)
    made = sign_descriptor(signer, SUBJECT, now=NOW)
    assert decoded(json.loads(made)["protected"])["alg"] == kind
    assert read_envelope(made).is_of(SUBJECT)
    assert "PrivateKey" not in repr(signer)


def test_a_key_in_a_device_signs_where_it_is_over_p256() -> None:
    device = PrivateKey(key=LEAF.key)
    signer = load_chain_signer(der(LEAF), "chain", device, NOW)
    assert read_envelope(sign_descriptor(signer, SUBJECT, now=NOW)).is_of(SUBJECT)
    rsa = issue(Wish(kind="PS256"), ROOT)
    with pytest.raises(UsageError, match="only where it is over P-256"):
        load_chain_signer(der(rsa), "chain", PrivateKey(key=rsa.key), NOW)
