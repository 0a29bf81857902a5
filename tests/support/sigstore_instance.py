"""A Sigstore instance of the test's own, on loopback: an authority, a log of certificates and a transparency log, with their API.

It speaks what clients need of Fulcio's API (v2) and Rekor's (v1), and makes real certificates, timestamps, proofs and promises, so
that clients verify them as they would the public instance's. It believes every token: who asks is what the token says.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

_START = "2020-01-01T00:00:00Z"
_ISSUER_V1, _ISSUER_V2 = ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCTS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_USAGE = {
    "content_commitment": False, "key_encipherment": False, "data_encipherment": False, "key_agreement": False,
    "crl_sign": False, "encipher_only": False, "decipher_only": False,
}  # fmt: skip


def _spki(key: Any) -> bytes:
    data: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Log:
    """A key that signs for a log."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def identity(self) -> bytes:
        """The log's id: the SHA-256 of its key."""
        return hashlib.sha256(_spki(self.key.public_key())).digest()

    def sign(self, data: bytes) -> bytes:
        """ECDSA over SHA-256."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def described(self, address: str) -> dict[str, Any]:
        """Its entry in a trusted root."""
        key = {
            "rawBytes": _text(_spki(self.key.public_key())),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": _START},
        }
        return {"baseUrl": address, "hashAlgorithm": "SHA2_256", "publicKey": key, "logId": {"keyId": _text(self.identity)}}


@dataclass
class Authority:
    """What issues certificates for ten minutes, each noted in a log of certificates (RFC 6962)."""

    log: Log = field(default_factory=Log)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        now = dt.datetime.now(dt.UTC)
        self.name = x509.Name.from_rfc4514_string("CN=sigstore of a test,O=Example")
        self.certificate = (
            x509.CertificateBuilder().subject_name(self.name).issuer_name(self.name).public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=100))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=False, key_cert_sign=True, **_USAGE), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )  # fmt: skip

    def issue(self, key: Any, identity: str, issuer: str, begins: dt.datetime | None = None) -> x509.Certificate:
        """A certificate for a public key, as Fulcio makes it, with the promise of the log in it."""
        begins = (begins or dt.datetime.now(dt.UTC)).replace(microsecond=0)
        who = x509.UniformResourceIdentifier(identity) if "://" in identity else x509.RFC822Name(identity)
        encoded = issuer.encode()
        builder = (
            x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.name).public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins).not_valid_after(begins + dt.timedelta(minutes=10))
            .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=False, **_USAGE), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([who]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V1, encoded), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, bytes([12, len(encoded)]) + encoded), critical=False)
        )  # fmt: skip
        noted = builder.sign(self.key, hashes.SHA256()).tbs_certificate_bytes
        return builder.add_extension(x509.UnrecognizedExtension(_SCTS, self._promise(noted, begins)), critical=False).sign(
            self.key, hashes.SHA256()
        )

    def _promise(self, noted: bytes, moment: dt.datetime) -> bytes:
        """The list of one signed certificate timestamp, as an extension's value."""
        stamp = int(moment.timestamp() * 1000)
        issuer = hashlib.sha256(_spki(self.key.public_key())).digest()
        signed = self.log.sign(
            struct.pack("!BBQH", 0, 0, stamp, 1) + issuer + struct.pack("!I", len(noted))[1:] + noted + b"\0\0"
        )
        one = b"\0" + self.log.identity + struct.pack("!QH", stamp, 0) + struct.pack("!BBH", 4, 3, len(signed)) + signed
        inner = struct.pack("!HH", len(one) + 2, len(one)) + one
        return (bytes([4, len(inner)]) if len(inner) < 128 else bytes([4, 0x81, len(inner)])) + inner


@dataclass
class Transparency:
    """A log of entries: a Merkle tree (RFC 6962) with checkpoints. Its first entry is nobody's: where a number is 0, Go writes none."""

    log: Log = field(default_factory=Log)
    leaves: list[bytes] = field(default_factory=lambda: [hashlib.sha256(b"\0first").digest()])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, body: bytes, moment: int | None = None) -> dict[str, Any]:
        """Note an entry; what Rekor answers."""
        with self.lock:
            return self._added(body, moment)

    def _added(self, body: bytes, moment: int | None) -> dict[str, Any]:
        self.leaves.append(hashlib.sha256(b"\0" + body).digest())
        index, size = len(self.leaves) - 1, len(self.leaves)
        root = _root(self.leaves)
        time = moment or int(dt.datetime.now(dt.UTC).timestamp())
        promised = {"body": _text(body), "integratedTime": time, "logID": self.log.identity.hex(), "logIndex": index}
        promise = self.log.sign(json.dumps(promised, sort_keys=True, separators=(",", ":")).encode())
        proof = {
            "logIndex": index, "treeSize": size, "rootHash": root.hex(), "hashes": [one.hex() for one in _proof(self.leaves, index)],
            "checkpoint": self._checkpoint(size, root),
        }  # fmt: skip
        return promised | {"verification": {"inclusionProof": proof, "signedEntryTimestamp": _text(promise)}}

    def _checkpoint(self, size: int, root: bytes) -> str:
        note = f"log.example - 1\n{size}\n{_text(root)}\n"
        return f"{note}\n\u2014 log.example {_text(self.log.identity[:4] + self.log.sign(note.encode()))}\n"


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    middle = _split(len(leaves))
    return hashlib.sha256(b"\1" + _root(leaves[:middle]) + _root(leaves[middle:])).digest()


def _proof(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if index < middle:
        return [*_proof(leaves[:middle], index), _root(leaves[middle:])]
    return [*_proof(leaves[middle:], index - middle), _root(leaves[:middle])]


def entry_of(envelope: str, verifiers: list[str]) -> bytes:
    """What Rekor notes of a DSSE envelope (its type dsse, 0.0.1)."""
    document = json.loads(envelope)
    payload = base64.b64decode(document["payload"])
    spec = {
        "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(envelope.encode()).hexdigest()},
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
        "signatures": [{"signature": document["signatures"][0]["sig"], "verifier": verifiers[0]}],
    }
    return json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}, sort_keys=True, separators=(",", ":")).encode()


@dataclass
class SigstoreInstance:
    """The instance. With `broken` set to a code every request is answered by it."""

    address: str
    authority: Authority = field(default_factory=Authority)
    transparency: Transparency = field(default_factory=Transparency)
    broken: int | None = None
    asked: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """trusted_root.json and signing_config.json."""
        chain = {"certificates": [{"rawBytes": _text(self.authority.certificate.public_bytes(Encoding.DER))}]}
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.transparency.log.described(self.address)],
            "certificateAuthorities": [
                {"subject": {"organization": "Example", "commonName": "sigstore of a test"}, "uri": self.address, "certChain": chain,
                 "validFor": {"start": _START}}
            ],
            "ctlogs": [self.authority.log.described(self.address)],
            "timestampAuthorities": [],
        }  # fmt: skip
        service = {"url": self.address, "majorApiVersion": 1, "validFor": {"start": _START}, "operator": "example.com"}
        config = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "caUrls": [service], "oidcUrls": [],
            "rekorTlogUrls": [service], "rekorTlogConfig": {"selector": "ANY"}, "tsaUrls": [], "tsaConfig": {"selector": "ANY"},
        }  # fmt: skip
        paths = folder / "trusted_root.json", folder / "signing_config.json"
        for path, document in zip(paths, (root, config), strict=True):
            path.write_text(json.dumps(document))
        return paths

    def certify(self, request: dict[str, Any], token: str) -> dict[str, Any]:
        """Fulcio's POST /api/v2/signingCert: with a request in PKCS #10 and the token in a header, or both in the body's own fields."""
        token = request.get("credentials", {}).get("oidcIdentityToken", token)
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        if "publicKeyRequest" in request:
            key: Any = load_pem_public_key(request["publicKeyRequest"]["publicKey"]["content"].encode())
        else:
            key = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"])).public_key()
        made = self.authority.issue(key, claims.get("email", claims["sub"]), claims["iss"])
        certificates = [one.public_bytes(Encoding.PEM).decode() for one in (made, self.authority.certificate)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": certificates}}}

    def note(self, request: dict[str, Any]) -> dict[str, Any]:
        """Rekor's POST /api/v1/log/entries."""
        proposed = request["spec"]["proposedContent"]
        answer = self.transparency.add(entry_of(proposed["envelope"], proposed["verifiers"]))
        return {hashlib.sha256(answer["body"].encode()).hexdigest(): answer}


def token(subject: str, issuer: str, seconds: int = 600, audience: str = "sigstore") -> str:
    """An identity token (a JWT), which nobody signed."""
    now = int(dt.datetime.now(dt.UTC).timestamp())
    claims = {"iss": issuer, "sub": subject, "aud": audience, "iat": now - 5, "exp": now + seconds}
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "AAAA"])


@contextlib.contextmanager
def sigstore_instance() -> Iterator[SigstoreInstance]:
    """A running instance."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append(self.path)
            code, answer = 201, {}
            if found.broken is not None:
                code, answer = found.broken, {"message": "not today"}
            elif self.path == "/api/v2/signingCert":
                code = 200
                answer = found.certify(data, self.headers.get("Authorization", "").removeprefix("Bearer "))
            elif self.path == "/api/v1/log/entries":
                answer = found.note(data)
            else:
                code = 404
            body = json.dumps(answer).encode()
            self.send_response(code)
            if self.path == "/api/v1/log/entries" and code == 201:
                self.send_header("ETag", next(iter(answer)))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing is said."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = SigstoreInstance(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
