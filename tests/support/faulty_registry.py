"""A small honest OCI registry in memory, on loopback, that misbehaves exactly as a test scripts it.

It implements what the client uses of the distribution-spec 1.1: blobs with ranges, uploads with PATCH and resume, mounts,
manifests with ETags, tags with pages, referrers; and Basic or token authentication. Faults are queued with `fault` and used
up one request at a time. Test modules that use it set `pytestmark = LOOPBACK`, since unit tests run without a network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

LOOPBACK = pytest.mark.allow_hosts(["127.0.0.1"])
"""Lets a test module talk to 127.0.0.1, and to nothing else (pytest-socket)."""
INDEX = "application/vnd.oci.image.index.v1+json"
_PATHS = (
    (re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<session>[0-9]*)\Z"), "upload"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)\Z"), "blob"),
    (re.compile(r"/v2/(?P<name>.+)/manifests/(?P<target>[^/]+)\Z"), "manifest"),
    (re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)\Z"), "referrers"),
    (re.compile(r"/v2/(?P<name>.+)/tags/list\Z"), "tags"),
    (re.compile(r"/token\Z"), "token"),
)


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class _Upload:
    data: bytearray = field(default_factory=bytearray)


Fault = Callable[["Handler"], bool]
"""Misbehaves in a request; returns True if it has answered it, False to let the honest answer follow."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    registry: FaultyRegistry


class FaultyRegistry:
    """The state of one server. `host` is its HOST:PORT."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, _Upload] = {}
        self.seen: list[Seen] = []
        self.referrers_api = True
        self.sends_subject_header = True
        self.mounts = True
        self.ranges = True
        self.conditional = True
        """Whether it heeds If-Match and If-None-Match when a manifest is written."""
        self.writing = threading.Lock()
        self.deletes_tags = False
        """Whether a tag can be deleted alone; a manifest by its digest always can."""
        self.page_size = 1000
        self.basic: str | None = None
        """`user:password` that Basic authentication demands."""
        self.token_realm: str | None = None
        """Where tokens come from; None: no token authentication. Tokens of any server's `issued` are good here."""
        self.token_users: dict[str, str] = {}
        self.identity_tokens: set[str] = set()
        self.token_lifetime = 300
        self.granted: dict[str, tuple[str, ...]] = {}
        """Token → its scopes."""
        self.upload_base = ""
        """Put before upload locations, to send them to another server."""
        self.on_bytes: Callable[[int], None] = lambda _: None
        """Hears of every block of a request's body that came, and with 0 of every request."""
        self.completed: list[tuple[str, str]] = []
        """Repository and digest of every upload that was finished."""
        self._faults: list[tuple[str, re.Pattern[str], Fault]] = []
        self._lock = threading.Lock()
        self._count = 0
        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.registry = self
        self._scheme = "https" if tls else "http"
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def repository(self, name: str) -> Repository:
        with self._lock:
            return self.repositories.setdefault(name, Repository())

    def fault(self, method: str, path: str, *faults: Fault) -> None:
        """Let the next requests of that method whose path matches the pattern meet these faults, one each."""
        with self._lock:
            self._faults += [(method, re.compile(path), one) for one in faults]

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for index, (wanted, pattern, fault) in enumerate(self._faults):
                if wanted == method and pattern.search(path):
                    del self._faults[index]
                    return fault
        return None

    def requests(self, method: str, path: str = "") -> list[Seen]:
        """The requests that came, of that method and with `path` in theirs."""
        return [seen for seen in self.seen if seen.method == method and path in seen.path]

    def next_number(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def new_upload(self) -> str:
        with self._lock:
            self._count += 1
            key = str(self._count)
            self.uploads[key] = _Upload()
            return key


@contextmanager
def faulty_registry(tls: ssl.SSLContext | None = None) -> Iterator[FaultyRegistry]:
    """A running server, with TLS if a context is given."""
    registry = FaultyRegistry(tls)
    thread = threading.Thread(target=lambda: registry.server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.server.shutdown()
        registry.server.server_close()


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Answer with this, whatever was asked; underscores in header names become dashes."""

    def act(handler: Handler) -> bool:
        handler.drain()
        handler.reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return act


def reset_after(count: int) -> Fault:
    """Take `count` bytes of the request's body, as an honest registry would, then reset the connection."""

    def act(handler: Handler) -> bool:
        handler.stop_reading_at = count
        return False

    return act


def cut_answer(count: int) -> Fault:
    """Send the honest header, `count` bytes of the body, then reset the connection."""

    def act(handler: Handler) -> bool:
        handler.stop_writing_at = count
        return False

    return act


def alter(change: Callable[[bytes], bytes]) -> Fault:
    """Send the honest answer with another body."""

    def act(handler: Handler) -> bool:
        handler.change = change
        return False

    return act


def headers(**values: str) -> Fault:
    """Send the honest answer with some headers replaced (or left out, where the value is empty)."""

    def act(handler: Handler) -> bool:
        handler.forced = {name.replace("_", "-"): value for name, value in values.items()}
        return False

    return act


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    stop_reading_at: int | None = None
    stop_writing_at: int | None = None
    change: Callable[[bytes], bytes] | None = None
    forced: dict[str, str]
    left: int

    @property
    def registry(self) -> FaultyRegistry:
        return self.server.registry  # type: ignore[attr-defined, no-any-return]

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """As always; a client that goes away is no error."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_any(self) -> None:
        parts = urlsplit(self.path)
        self.left = int(self.headers.get("Content-Length") or 0)
        self.stop_reading_at, self.stop_writing_at, self.change, self.forced = None, None, None, {}
        seen = Seen(self.command, parts.path, parse_qs(parts.query), {k.lower(): v for k, v in self.headers.items()})
        self.registry.seen.append(seen)
        self.registry.on_bytes(0)
        fault = self.registry.take_fault(self.command, parts.path)
        if fault is not None and fault(self):
            return
        if parts.path == "/v2/":
            self.reply(200, b"{}", {"Content-Type": "application/json"})
            return
        for pattern, kind in _PATHS:
            if match := pattern.match(parts.path):
                if kind != "token" and not self.allowed(match["name"], seen):
                    return
                getattr(self, f"serve_{kind}")(seen, **match.groupdict())
                return
        self.fail(404, "NAME_INVALID")

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_any  # noqa: N815 - http.server asks for these

    def body(self) -> Iterator[bytes]:
        """The request's body in blocks; resets the connection where a fault says so."""
        taken = 0
        while self.left:
            if self.stop_reading_at is not None and taken >= self.stop_reading_at:
                self.hang_up()
            limit = min(self.left, 1 << 16, *([self.stop_reading_at - taken] if self.stop_reading_at else []))
            block = self.rfile.read1(limit)
            if not block:
                raise ConnectionResetError
            self.left -= len(block)
            taken += len(block)
            self.registry.on_bytes(len(block))
            yield block

    def drain(self) -> bytes:
        return b"".join(self.body())

    def hang_up(self) -> None:
        """Close with a reset, as a crashed server would."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise ConnectionResetError

    def reply(self, status: int, body: bytes = b"", extra: dict[str, str] | None = None) -> None:
        if self.left:
            self.close_connection = True
        if self.change is not None:
            body = self.change(body)
        sent = {"Content-Length": str(len(body)), **(extra or {}), **self.forced}
        self.send_response(status)
        for name, value in sent.items():
            if value:
                self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.stop_writing_at is not None and self.stop_writing_at < len(body):
            self.wfile.write(body[: self.stop_writing_at])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.close_connection = True
            return
        self.wfile.write(body)

    def fail(self, status: int, code: str, **extra: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
        self.reply(status, body, {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in extra.items()})

    def allowed(self, name: str, seen: Seen) -> bool:
        registry = self.registry
        needed = "pull" if seen.method in ("GET", "HEAD") and "uploads" not in seen.path else "push"
        if registry.basic is not None:
            wanted = "Basic " + base64.b64encode(registry.basic.encode()).decode()
            if seen.authorization == wanted:
                return True
            self.fail(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="test"')
            return False
        if registry.token_realm is None:
            return True
        token = (seen.authorization or "").removeprefix("Bearer ")
        scopes = registry.granted.get(token)
        if scopes is not None and _covers(scopes, name, needed):
            return True
        error = ',error="insufficient_scope"' if scopes is not None else ""
        scope = f"repository:{name}:{'pull' if needed == 'pull' else 'pull,push'}"
        demand = f'Bearer realm="{registry.token_realm}",service="test",scope="{scope}"{error}'
        self.fail(401, "UNAUTHORIZED", WWW_Authenticate=demand)
        return False

    def serve_token(self, seen: Seen) -> None:
        registry = self.registry
        form = parse_qs(self.drain().decode()) if seen.method == "POST" else {}
        scopes = tuple(" ".join((form or seen.query).get("scope", [])).split())
        if form:
            good = form.get("refresh_token", [""])[0] in registry.identity_tokens
        elif seen.authorization:
            user, _, password = base64.b64decode(seen.authorization.removeprefix("Basic ")).decode().partition(":")
            good = registry.token_users.get(user) == password
        else:
            good = not registry.token_users
        if not good:
            self.fail(401, "UNAUTHORIZED")
            return
        token = f"token-{registry.next_number()}"
        registry.granted[token] = scopes
        data = {"token": token, "access_token": token, "expires_in": registry.token_lifetime}
        self.reply(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def serve_blob(self, seen: Seen, name: str, digest: str) -> None:
        data = self.registry.repository(name).blobs.get(digest)
        if data is None:
            self.fail(404, "BLOB_UNKNOWN")
            return
        extra = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        match = re.match(r"bytes=(\d+)-\Z", seen.headers.get("range", ""))
        if match and self.registry.ranges:
            start = int(match[1])
            extra["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.reply(206, data[start:], extra)
            return
        if seen.method == "HEAD":
            extra["Content-Length"] = str(len(data))
            self.reply(200, b"", extra)
            return
        self.reply(200, data, extra)

    def serve_upload(self, seen: Seen, name: str, session: str) -> None:
        registry = self.registry
        if seen.method == "POST":
            self.drain()
            digest, other = seen.query.get("mount", [""])[0], seen.query.get("from", [""])[0]
            if registry.mounts and digest in registry.repository(other).blobs:
                registry.repository(name).blobs[digest] = registry.repository(other).blobs[digest]
                self.reply(201, b"", {"Location": f"/v2/{name}/blobs/{digest}"})
                return
            self.reply(202, b"", self.upload_headers(name, registry.new_upload()))
            return
        upload = registry.uploads.get(session)
        if upload is None:
            self.fail(404, "BLOB_UPLOAD_UNKNOWN")
            return
        if seen.method == "GET":
            self.reply(204, b"", self.upload_headers(name, session))
            return
        place = seen.headers.get("content-range", str(len(upload.data)))
        if int(place.partition("-")[0]) != len(upload.data):
            self.fail(416, "RANGE_INVALID")
            return
        for block in self.body():
            upload.data += block
        if seen.method == "PATCH":
            self.reply(202, b"", self.upload_headers(name, session))
            return
        data, digest = bytes(upload.data), seen.query["digest"][0]
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            self.fail(400, "DIGEST_INVALID")
            return
        del registry.uploads[session]
        registry.repository(name).blobs[digest] = data
        registry.completed.append((name, digest))
        self.reply(201, b"", {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    def upload_headers(self, name: str, session: str) -> dict[str, str]:
        last = max(len(self.registry.uploads[session].data) - 1, 0)
        location = f"{self.registry.upload_base}/v2/{name}/blobs/uploads/{session}?state=x"
        return {"Location": location, "Range": f"0-{last}"}

    def serve_manifest(self, seen: Seen, name: str, target: str) -> None:
        repository = self.registry.repository(name)
        digest = target if ":" in target else repository.tags.get(target, "")
        held = repository.manifests.get(digest)
        if seen.method == "PUT":
            raw = self.drain()
            with self.registry.writing:
                digest = target if ":" in target else repository.tags.get(target, "")
                self.put_manifest(seen, repository, target, raw, digest if digest in repository.manifests else None)
            return
        if held is None:
            self.fail(404, "MANIFEST_UNKNOWN")
            return
        kind, raw = held
        extra = {"Content-Type": kind, "Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        if seen.method == "DELETE":
            self.delete_manifest(repository, target, digest)
            return
        if seen.headers.get("if-none-match") == extra["ETag"]:
            self.reply(304, b"", {"ETag": extra["ETag"], "Content-Length": ""})
            return
        if seen.method == "HEAD":
            extra["Content-Length"] = str(len(raw))
            raw = b""
        self.reply(200, raw, extra)

    def delete_manifest(self, repository: Repository, target: str, digest: str) -> None:
        if ":" not in target:
            if not self.registry.deletes_tags:
                self.fail(405, "UNSUPPORTED")
                return
            del repository.tags[target]
        else:
            del repository.manifests[digest]
            repository.tags = {tag: named for tag, named in repository.tags.items() if named != digest}
        self.reply(202)

    def put_manifest(self, seen: Seen, repository: Repository, target: str, raw: bytes, current: str | None) -> None:
        data = json.loads(raw)
        wanted, none_match = seen.headers.get("if-match"), seen.headers.get("if-none-match")
        if self.registry.conditional and ((wanted and wanted != f'"{current}"') or (none_match == "*" and current)):
            self.fail(412, "DENIED")
            return
        blobs = [*([data["config"]] if "config" in data else []), *data.get("layers", [])]
        missing = [blob for blob in blobs if blob["digest"] not in repository.blobs]
        missing += [child for child in data.get("manifests", []) if child["digest"] not in repository.manifests]
        if missing:
            self.fail(404, "MANIFEST_BLOB_UNKNOWN")
            return
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        repository.manifests[digest] = (seen.headers["content-type"], raw)
        if ":" not in target:
            repository.tags[target] = digest
        extra = {"Location": f"/v2/x/manifests/{digest}", "Docker-Content-Digest": digest}
        if "subject" in data and self.registry.sends_subject_header:
            extra["OCI-Subject"] = data["subject"]["digest"]
        self.reply(201, b"", extra)

    def serve_referrers(self, seen: Seen, name: str, digest: str) -> None:
        if not self.registry.referrers_api:
            self.fail(404, "NOT_FOUND")
            return
        found = []
        for key, (kind, raw) in self.registry.repository(name).manifests.items():
            data = json.loads(raw)
            if data.get("subject", {}).get("digest") == digest:
                artifact_type = data.get("artifactType") or data.get("config", {}).get("mediaType")
                entry = {"mediaType": kind, "digest": key, "size": len(raw), "artifactType": artifact_type}
                found.append(entry | ({"annotations": data["annotations"]} if data.get("annotations") else {}))
        start = int(seen.query.get("start", ["0"])[0])
        page = found[start : start + self.registry.page_size]
        extra = {"Content-Type": INDEX}
        if start + self.registry.page_size < len(found):
            extra["Link"] = f'<{seen.path}?start={start + self.registry.page_size}>; rel="next"'
        self.reply(200, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": page}).encode(), extra)

    def serve_tags(self, seen: Seen, name: str) -> None:
        tags = sorted(self.registry.repository(name).tags)
        last = seen.query.get("last", [""])[0]
        rest = [tag for tag in tags if tag > last]
        page = rest[: self.registry.page_size]
        extra = {"Content-Type": "application/json"}
        if len(rest) > len(page):
            extra["Link"] = f'</v2/{name}/tags/list?n={len(page)}&last={page[-1]}>; rel="next"'
        self.reply(200, json.dumps({"name": name, "tags": page}).encode(), extra)


def _covers(scopes: tuple[str, ...], name: str, action: str) -> bool:
    for scope in scopes:
        prefix, _, actions = scope.rpartition(":")
        if prefix == f"repository:{name}" and action in actions.split(","):
            return True
    return False
