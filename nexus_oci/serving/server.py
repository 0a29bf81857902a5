"""The sockets: HTTP/1.1 with connections that are kept, TLS and Basic authentication where they are asked for, files by sendfile.

It is Python's own server: one thread a connection, with a bound on how many there are and on how long one may be silent.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import io
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from nexus_oci import __version__
from nexus_oci.errors import NexusError, UsageError
from nexus_oci.serving.answers import Answer, Registry, Request

_BLOCK: Final = 1 << 20
_SILENCE: Final = 60.0
"""Seconds that a connection may send or take nothing."""
_CONNECTIONS: Final = 256


@dataclass(frozen=True, kw_only=True)
class Credential:
    """The one user who may enter. `repr` does not show the password."""

    user: str
    password: str = field(repr=False)

    def admits(self, header: str) -> bool:
        """Whether an Authorization header is this user's (RFC 7617); takes the same time whatever is wrong."""
        scheme, _, token = header.partition(" ")
        try:
            given = base64.b64decode(token.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        expected = f"{self.user}:{self.password}".encode()
        return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where to listen: an address of this machine, a port (0: any that is free), and what protects it."""

    host: str = "127.0.0.1"
    port: int = 5000
    certificate: Path | None = None
    key: Path | None = None
    credential: Credential | None = None


class RegistryServer(ThreadingHTTPServer):
    """Serves one registry until it is closed. `on_request` hears a line of each answer, from several threads.

    Raises `UsageError` where it cannot listen, or the certificate or its key cannot be read.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, registry: Registry, listening: Listening, on_request: Callable[[str], None] = lambda _: None) -> None:
        self.registry = registry
        self.credential = listening.credential
        self.on_request = on_request
        self._tls = _tls(listening)
        self._places = threading.BoundedSemaphore(_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
        try:
            super().__init__((listening.host, listening.port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"cannot listen on {listening.host}, port {listening.port}",
                why=getattr(error, "strerror", None) or str(error),
                hint="choose another with --address HOST:PORT; port 0 takes any that is free",
            ) from error

    @property
    def url(self) -> str:
        """The address that clients use."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"{'https' if self._tls else 'http'}://{name}:{port}"

    def server_bind(self) -> None:
        """Bind, without asking a name service what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection; TLS shakes hands in its thread, not in the one that accepts."""
        connection, address = super().get_request()
        connection.settimeout(_SILENCE)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, once there is a place for it."""
        if not self._places.acquire(timeout=_SILENCE):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """What the thread does; its place is free again afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or never spoke TLS, is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: RegistryServer
    protocol_version = "HTTP/1.1"
    server_version = f"nexus-oci/{__version__}"
    sys_version = ""
    wbufsize = -1

    def _respond(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        credential = self.server.credential
        if credential is not None and not credential.admits(headers.get("authorization", "")):
            answer = _unauthorized()
        else:
            answer = self.server.registry.answer(Request(method=self.command, target=self.path, headers=headers))
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            self.close_connection = True  # a body that nobody reads would be taken for the next request
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _respond  # noqa: N815  the base class looks for these names

    def _send(self, answer: Answer) -> None:
        stream = None
        if answer.blob is not None and self.command == "GET" and answer.length:
            try:
                stream = self.server.registry.content.open_from(answer.blob, answer.start)
            except NexusError as error:
                answer = _damaged(error)
        self.send_response_only(answer.status)
        self.send_header("Server", self.version_string())
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.server.on_request(f"{answer.status} {self.command} {self.path}")
        if self.command == "HEAD":
            return
        self.wfile.write(answer.data)
        self.wfile.flush()
        if stream is not None:
            with contextlib.closing(stream):
                self._send_stream(stream, answer.length)

    def _send_stream(self, stream: Any, length: int) -> None:
        """Send exactly so many bytes; a stream that ends early breaks the connection, so that the client notices."""
        if isinstance(stream, io.FileIO):
            sent = self.connection.sendfile(stream, stream.tell(), length)
            self.close_connection |= sent != length
            return
        left = length
        while left:
            block = stream.read(min(_BLOCK, left))
            if not block:
                self.close_connection = True
                return
            self.connection.sendall(block)
            left -= len(block)

    def log_message(self, *_: Any) -> None:
        """Nothing: each answer is told to `on_request`."""


def _tls(listening: Listening) -> ssl.SSLContext | None:
    if listening.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listening.certificate, listening.key)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{listening.certificate} and its key cannot be used for TLS",
            why=str(error),
            hint="give PEM files: the certificate with its chain, and with --tls-key the private key that belongs to it",
        ) from error
    return context


def _unauthorized() -> Answer:
    body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication is required"}]}'
    headers = {"Content-Type": "application/json", "WWW-Authenticate": 'Basic realm="nexus-oci"'}
    return Answer(status=401, headers={**headers, "Content-Length": str(len(body))}, data=body)


def _damaged(error: NexusError) -> Answer:
    """What is found only when a blob is opened: it is not what its digest says, and so is not sent."""
    import json

    body = json.dumps({"errors": [{"code": "UNKNOWN", "message": f"what is served is damaged: {error.what}"}]}).encode()
    return Answer(status=500, headers={"Content-Type": "application/json", "Content-Length": str(len(body))}, data=body)
