"""Signatures of the Notary Project (Notation): certificates vouch for the key, and a JWS for the manifest.

Specifications: notaryproject/specs, "OCI Signature Specification" (storage), "Signature Specification" (payload, attributes) and
"JWS Signature Envelope". An envelope is the only layer of an artifact whose `subject` is the manifest. It is a flattened JWS in
JSON (RFC 7515) whose payload is the subject's descriptor. The certificates are in it; what its manifest says of them is not read.

`read_envelope` does the first four of these steps; the others are `NotationSignature`'s, and whoever knows the trust calls them.

1. It is JSON with one payload, one protected header and one signature, none of them twice.
2. Every header that it calls critical is known here; what has to be critical is.
3. The chain in it fulfils the requirements of `certificates`.
4. The algorithm is the one that the leaf's key demands, and the signature is this key's over header and payload.
5. A certificate of the chain is one of those that are believed, the leaf's subject is too, and none of them is revoked.
6. The payload is the descriptor of the manifest that it refers to: type, digest and size.
7. Every certificate was valid when it says it was signed, and is now; it has not expired itself.

Countersignatures of time stamping authorities are not judged, so a signature counts only while its certificates are valid.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from nexus_oci import __version__
from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, canonical_json
from nexus_oci.trust.certificates import Chain, algorithm_of
from nexus_oci.trust.keys import PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from nexus_oci.trust.keys import Signer

NOTATION: Final = media_types.NOTATION
"""The artifact type of what carries an envelope."""
ENVELOPE: Final = "application/jose+json"
"""The media type of an envelope in JWS. The other kind, COSE (`application/cose`), is not read here."""
_PAYLOAD: Final = "application/vnd.cncf.notary.payload.v1+json"
_THUMBPRINTS: Final = "io.cncf.notary.x509chain.thumbprint#S256"
_SCHEME, _TIME, _EXPIRY = "io.cncf.notary.signingScheme", "io.cncf.notary.signingTime", "io.cncf.notary.expiry"
_AGENT: Final = "io.cncf.notary.signingAgent"
_X509: Final = "notary.x509"
_KNOWN: Final = frozenset({_SCHEME, _EXPIRY})
"""The headers that may be critical, because they are looked at."""


class ChainSigner(Protocol):
    """What signs with a certificate: a key in memory, or in a device, and the chain that vouches for it."""

    @property
    def chain(self) -> Chain:
        """The certificates."""
        ...

    def sign(self, message: bytes) -> bytes:
        """A signature over the message, as RFC 7518 lays it out, by the algorithm that the leaf's key demands."""
        ...


@dataclass(frozen=True, kw_only=True)
class FileChainSigner:
    """A key in memory and its chain; a `ChainSigner`. `repr` does not show the key."""

    chain: Chain
    key: EllipticCurvePrivateKey | RSAPrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """ECDSA is the same each time (RFC 6979); RSA is PSS, and never is."""
        from cryptography.hazmat.primitives.asymmetric import ec, padding

        hashed = _hash_of(algorithm_of(self.key.public_key()))
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return _raw(self.key.sign(message, ec.ECDSA(hashed, deterministic_signing=True)), self.key.curve.key_size)
        return self.key.sign(message, padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed)


@dataclass(frozen=True, kw_only=True)
class DeviceChainSigner:
    """A key that stays in a device or a cloud, and its chain; a `ChainSigner`. The key is over P-256."""

    chain: Chain
    signer: Signer

    def sign(self, message: bytes) -> bytes:
        """ES256."""
        return _raw(self.signer.sign(message), 256)


@dataclass(frozen=True, kw_only=True)
class NotationSignature:
    """An envelope as it was read: whose it is and of what, its signature being right. Times are UTC.

    `target` is the descriptor in the payload. Nothing is said yet of whether the chain is believed, or valid now.
    """

    chain: Chain
    target: Descriptor
    signed_at: datetime
    expires: datetime | None

    @property
    def key(self) -> PublicKey:
        """The leaf's key; of its own kind, which may be one that signs nothing else here."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return PublicKey(der=self.chain.leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def untimely(self, now: datetime) -> str | None:
        """Why it does not count now, for reasons of time; None where it does."""
        if self.expires is not None and now >= self.expires:
            return f"the signature by {self.chain.subject} expired on {self.expires:%Y-%m-%d %H:%M} UTC"
        then = self.chain.untimely(self.signed_at)
        return f"when it was signed, {then}" if then else self.chain.untimely(now)

    def is_of(self, subject: Descriptor) -> bool:
        """Whether it is of this manifest: type, digest and size."""
        return (self.target.media_type, self.target.digest, self.target.size) == (
            subject.media_type,
            subject.digest,
            subject.size,
        )


def load_chain_signer(
    chain: Sequence[bytes], name: str, key: Any, now: datetime, *, names_key: str = "the key"
) -> FileChainSigner | DeviceChainSigner:
    """A key and the certificates that vouch for it, checked; `key` is a private key of `cryptography` or a `Signer`.

    Raises `UsageError` with everything that verifiers would refuse: the key is another's, requirements that are not fulfilled,
    a certificate that is not valid at `now`.
    """
    found = Chain(der=tuple(chain))
    faults = found.faults()
    if not faults:
        untimely = found.untimely(now)
        faults += [untimely] if untimely else []
        if _public_of(key) != _spki(found.leaf.public_key()):
            faults.append(f"{names_key} is not that of the first certificate, {found.subject}")
    if faults:
        raise UsageError(
            f"the certificates in {name} cannot vouch for a signature",
            why="\n       ".join(faults),
            hint="give the chain from the signing key's certificate to the root, for code signing, as the Notary Project asks",
        )
    if not hasattr(key, "private_numbers"):
        if algorithm_of(found.leaf.public_key()) != "ES256":
            raise UsageError(
                "a key in a device signs for Notation only where it is over P-256", why="others sign in another form"
            )
        return DeviceChainSigner(chain=found, signer=key)
    return FileChainSigner(chain=found, key=key)


def sign_descriptor(signer: ChainSigner, subject: Descriptor, *, now: datetime, expires: datetime | None = None) -> bytes:
    """The envelope over a manifest's descriptor, JSON. Times are cut to seconds."""
    target = {"mediaType": subject.media_type, "digest": str(subject.digest), "size": subject.size}
    protected: dict[str, Any] = {
        "alg": algorithm_of(signer.chain.leaf.public_key()),
        "crit": [_SCHEME, *([_EXPIRY] if expires else [])],
        "cty": _PAYLOAD,
        _SCHEME: _X509,
        _TIME: _stamp(now),
    }
    if expires is not None:
        protected[_EXPIRY] = _stamp(expires)
    header, payload = _encoded(canonical_json(protected)), _encoded(canonical_json({"targetArtifact": target}))
    return canonical_json(
        {
            "payload": payload,
            "protected": header,
            "header": {_AGENT: f"nexus-oci/{__version__}", "x5c": [base64.b64encode(one).decode() for one in signer.chain.der]},
            "signature": _encoded(signer.sign(f"{header}.{payload}".encode())),
        }
    )


def store_notation(store: Store, envelope: bytes, subject: Descriptor, chain: Chain, now: datetime) -> Descriptor:
    """Write an envelope as an artifact that refers to `subject`; returns its manifest's descriptor."""
    about = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.MANIFEST,
        "artifactType": NOTATION,
        "config": store.put(b"{}", media_types.EMPTY).to_json(),
        "layers": [store.put(envelope, ENVELOPE).to_json()],
        "subject": about.to_json(),
        "annotations": {_THUMBPRINTS: json.dumps(list(chain.thumbprints)), media_types.CREATED: _stamp(now)},
    }
    return store.put_manifest(Manifest.build(manifest))


def read_envelope(data: bytes) -> NotationSignature:
    """Read an envelope and check its form, its chain's and its signature: steps 1 to 4 of this module, but for revocation.

    Raises `VerificationError` for what is no envelope, or one with a critical header that is not known here, or changed.
    """
    document = _object(data, "an envelope")
    if not {"payload", "protected", "header", "signature"} == set(document):
        raise VerificationError(
            "an envelope has not the fields of a flattened JWS", why=f"it has {', '.join(sorted(document))[:200]}"
        )
    protected = _object(_decoded(document["protected"], "the protected header"), "the protected header")
    _check_header(protected)
    chain = _chain(document["header"])
    faults = chain.faults()
    if faults:
        raise VerificationError("a chain of certificates does not fulfil the requirements", why="; ".join(faults))
    algorithm = algorithm_of(chain.leaf.public_key())
    if protected["alg"] != algorithm:
        raise VerificationError(
            "an envelope's algorithm is not that of its key",
            why=f"it says {str(protected['alg'])[:20]}, and {algorithm} is right",
        )
    message = f"{document['protected']}.{document['payload']}".encode()
    if not _verifies(chain.leaf.public_key(), algorithm, _decoded(document["signature"], "the signature"), message):
        raise ChangedEnvelopeError("an envelope's signature is not that of its certificate's key", chain=chain)
    return NotationSignature(
        chain=chain,
        target=_target(_object(_decoded(document["payload"], "the payload"), "the payload")),
        signed_at=_moment(protected, _TIME),
        expires=_moment(protected, _EXPIRY) if _EXPIRY in protected else None,
    )


class ChangedEnvelopeError(VerificationError):
    """An envelope whose signature is wrong; `chain` is the chain in it, which did not make it. Exit code 4."""

    def __init__(self, what: str, *, chain: Chain) -> None:
        super().__init__(what, why="it was changed, or its certificates were exchanged")
        self.chain = chain


def _check_header(protected: Mapping[str, Any]) -> None:
    """What the protected header has to say, and no more that would have to be understood."""
    critical = protected.get("crit")
    if not isinstance(critical, list) or not all(isinstance(name, str) for name in critical):
        raise VerificationError("an envelope does not say which of its headers are critical")
    unknown = set(critical) - _KNOWN
    if unknown:
        raise VerificationError("an envelope has critical headers that are not known here", why=", ".join(sorted(unknown))[:200])
    if len(set(critical)) != len(critical) or set(critical) - set(protected) or _SCHEME not in critical:
        raise VerificationError("an envelope's list of critical headers is wrong", why=", ".join(critical)[:200])
    if _EXPIRY in protected and _EXPIRY not in critical:
        raise VerificationError("an envelope has an expiry that is not critical")
    if protected.get("cty") != _PAYLOAD or not isinstance(protected.get("alg"), str):
        raise VerificationError("an envelope's content is of an unknown type", why=f"it says {str(protected.get('cty'))[:100]}")
    if protected.get(_SCHEME) != _X509:
        raise VerificationError(
            "an envelope follows a signing scheme that is not known here",
            why=f"it is {str(protected.get(_SCHEME))[:60]}; known is {_X509}",
        )
    if protected.get("b64", True) is not True:
        raise VerificationError("an envelope's payload is not encoded")


def _chain(header: Any) -> Chain:
    certificates = header.get("x5c") if isinstance(header, dict) else None
    if not isinstance(certificates, list) or not certificates or not all(isinstance(one, str) for one in certificates):
        raise VerificationError("an envelope holds no certificates")
    try:
        return Chain(der=tuple(base64.b64decode(one, validate=True) for one in certificates))
    except (binascii.Error, ValueError) as error:
        raise VerificationError("an envelope's certificate is not base64", why=str(error)) from None


def _target(payload: Mapping[str, Any]) -> Descriptor:
    target = payload.get("targetArtifact")
    if set(payload) != {"targetArtifact"} or not isinstance(target, dict):
        raise VerificationError(
            "an envelope's payload is no descriptor of what is signed", why=f"it has {', '.join(payload)[:100]}"
        )
    return Descriptor.from_json(target)


def _object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object in which no name is given twice: two readers could understand such a one differently."""

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len({name.lower() for name in found}) != len(pairs):
            raise ValueError("a name is given twice")
        return found

    try:
        found = json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{what} cannot be read", why=f"{type(error).__name__}: {error}"[:200]) from None
    if not isinstance(found, dict):
        raise VerificationError(f"{what} cannot be read", why="it is no JSON object")
    return found


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: Any, what: str) -> bytes:
    """Base64url without padding (RFC 7515, section 2), in its only spelling."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError, TypeError) as error:
        raise VerificationError(f"{what} of an envelope is not base64", why=str(error)) from None
    if _encoded(data) != text:
        raise VerificationError(f"{what} of an envelope is not base64", why="it has characters that mean nothing")
    return data


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(protected: Mapping[str, Any], name: str) -> datetime:
    text = protected.get(name)
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise VerificationError("an envelope's time cannot be read", why=f"{name} is {str(text)[:60]}")
    return found.astimezone(UTC)


def _verifies(key: Any, algorithm: str, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    hashed = _hash_of(algorithm)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            size = (key.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                return False
            numbers = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
            key.verify(utils.encode_dss_signature(*numbers), message, ec.ECDSA(hashed))
        else:
            key.verify(signature, message, padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed)
    except InvalidSignature:
        return False
    return True


def _hash_of(algorithm: str) -> Any:
    from cryptography.hazmat.primitives import hashes

    kinds: Mapping[str, Callable[[], Any]] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
    return kinds[algorithm[2:]]()


def _raw(der: bytes, bits: int) -> bytes:
    """An ECDSA signature as two numbers of a fixed length (RFC 7518, section 3.4)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    size = (bits + 7) // 8
    return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(der))


def _spki(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def _public_of(key: Any) -> bytes | None:
    """The public part, DER, of a private key or a `Signer`; None for a key that has none."""
    if hasattr(key, "private_numbers"):
        return _spki(key.public_key())
    public = getattr(key, "public", None)
    return public.der if isinstance(public, PublicKey) else None
