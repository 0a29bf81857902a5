"""Servers on loopback that speak as much of Vault's, Azure's and Google's key services as clients need to sign, with real keys.

They are no more than that: what they test is that our program asks as these services' documentation says, and reads what they answer.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

Answer = tuple[int, dict[str, Any], dict[str, str]]
Responder = Callable[[str, str, dict[str, Any], Mapping[str, str]], Answer]
PREHASHED = Prehashed(hashes.SHA256())


def pem(key: Any) -> str:
    """The public key, PEM."""
    data: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data.decode()


@contextlib.contextmanager
def json_server(respond: Responder, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers JSON; its port."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            code, document, headers = respond(self.command, self.path.partition("?")[0], body, self.headers)  # type: ignore[arg-type]
            data = json.dumps(document).encode()
            self.send_response(code)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer  # noqa: N815  http.server looks for these names

        def log_message(self, *_: Any) -> None:
            """Nothing is said."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def vault(keys: Mapping[str, tuple[str, Any]], mount: str, token: str) -> Responder:
    """Vault's transit engine: keys by name, each with its type; the second version of each is there."""

    def respond(method: str, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        if headers.get("X-Vault-Token") != token:
            return 403, {"errors": ["permission denied"]}, {}
        root = f"/v1/{mount}"
        name = path.split("/")[-1] if "/keys/" in path else path.removeprefix(f"{root}/sign/").split("/")[0]
        if not path.startswith(root) or name not in keys:
            return 404, {"errors": []}, {}
        kind, key = keys[name]
        if path == f"{root}/keys/{name}" and method == "GET":
            raw = isinstance(key, ed25519.Ed25519PrivateKey)
            public = base64.b64encode(key.public_key().public_bytes_raw()).decode() if raw else pem(key)
            return 200, {"data": {"type": kind, "keys": {"1": {"public_key": "old"}, "2": {"public_key": public}}}}, {}
        assert body["key_version"] == 2
        made = _signed(key, base64.b64decode(body.get("input", body.get("hash_input", ""))), body.get("signature_algorithm"))
        return 200, {"data": {"signature": f"vault:v2:{base64.b64encode(made).decode()}"}}, {}

    return respond


def _signed(key: Any, message: bytes, algorithm: str | None) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(hashes.SHA256()))
    if algorithm == "pkcs1v15":
        made: bytes = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return made
    made = key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    assert isinstance(made, bytes)
    return made


def tls(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS for 127.0.0.1; its certificate is in `folder`/tls.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=127.0.0.1")
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "tls.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem", folder / "tls.key")
    return context


def _web(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def azure(keys: Mapping[str, Any]) -> Responder:
    """Azure Key Vault at 127.0.0.1: keys by name."""

    def respond(_: str, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        host = headers["Host"]
        if "Authorization" not in headers:
            port = host.partition(":")[2]
            challenge = f'Bearer authorization="https://login.example/tenant", resource="https://0.0.1:{port}"'
            return 401, {}, {"WWW-Authenticate": challenge}
        name = path.split("/")[2]
        if name not in keys:
            return 404, {"error": {"code": "KeyNotFound", "message": f"no key {name}"}}, {}
        key, kid = keys[name], f"https://{host}/keys/{name}/0123abcd"
        if path.endswith("/sign"):
            assert body["alg"] == "ES256"
            r, s = decode_dss_signature(key.sign(base64.urlsafe_b64decode(body["value"] + "=="), ec.ECDSA(PREHASHED)))
            return 200, {"kid": kid, "value": _web(r.to_bytes(32, "big") + s.to_bytes(32, "big"))}, {}
        return 200, {"key": {"kid": kid, "key_ops": ["sign"], **_jwk(key)}, "attributes": {"enabled": True}}, {}

    return respond


def _jwk(key: Any) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "n": _web(key.public_key().public_numbers().n.to_bytes(256, "big")), "e": "AQAB"}
    numbers, size = key.public_key().public_numbers(), key.key_size // 8
    return {
        "kty": "EC",
        "crv": f"P-{key.key_size}",
        "x": _web(numbers.x.to_bytes(size, "big")),
        "y": _web(numbers.y.to_bytes(size, "big")),
    }


@contextlib.contextmanager
def google(keys: Mapping[str, tuple[str, Any]]) -> Iterator[Any]:
    """Google's key service over gRPC: keys by the full name of a version, each with its algorithm. A client of it."""
    import grpc
    from google.cloud import kms
    from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

    def public(request: Any, context: Any) -> Any:
        if request.name not in keys:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} not found")
        algorithm, key = keys[request.name]
        data = kms.ChecksummedData(data=pem(key).encode())
        return kms.PublicKey(name=request.name, algorithm=algorithm, public_key=data, pem=pem(key))

    def sign(request: Any, context: Any) -> Any:
        _, key = keys[request.name]
        if isinstance(key, rsa.RSAPrivateKey):
            made = key.sign(request.digest.sha256, padding.PKCS1v15(), PREHASHED)
        else:
            made = key.sign(request.digest.sha256, ec.ECDSA(PREHASHED))
        return kms.AsymmetricSignResponse(signature=made, name=request.name)

    def versions(request: Any, context: Any) -> Any:
        assert request.filter == "state=ENABLED"
        names = [name for name in keys if name.startswith(f"{request.parent}/")]
        return kms.ListCryptoKeyVersionsResponse(crypto_key_versions=[kms.CryptoKeyVersion(name=name) for name in names])

    methods: dict[str, tuple[Any, Any, Any]] = {
        "GetPublicKey": (public, kms.GetPublicKeyRequest, kms.PublicKey),
        "AsymmetricSign": (sign, kms.AsymmetricSignRequest, kms.AsymmetricSignResponse),
        "ListCryptoKeyVersions": (versions, kms.ListCryptoKeyVersionsRequest, kms.ListCryptoKeyVersionsResponse),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=asked.deserialize, response_serializer=answered.serialize
        )
        for name, (call, asked, answered) in methods.items()
    }
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("google.cloud.kms.v1.KeyManagementService", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield kms.KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel))
    finally:
        channel.close()
        server.stop(None).wait()
