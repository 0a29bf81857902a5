"""HTTP/1.1 on the wire (RFC 9112): pools of connections, proxies, TLS, files sent by the kernel, answers read into buffers.

http.client does the talking. What a caller gets is a `Response` whose connection goes back to its pool once it was read
whole; any other end closes it. Nothing is retried here, but for one thing: an idle connection that the server had closed
already is replaced by a new one, as long as nothing came back on it.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import weakref
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, cast
from urllib.parse import unquote, urlsplit

from nexus_oci.errors import UsageError
from nexus_oci.registry.body import FilePiece
from nexus_oci.registry.hosts import Origin, origin

_IDLE = 64
"""Connections that are kept for each place at most."""
_SEND_TIMEOUT = 120.0
"""Seconds in which a registry has to take something of what is sent: longer than connecting may take."""
_LONGEST = 1 << 18
"""Bytes of a header."""
_GONE = (ConnectionError, http.client.BadStatusLine)


class NotConnectedError(Exception):
    """No connection came about; the cause is what was raised first."""


Content = bytes | Iterable[bytes | memoryview | FilePiece] | None


class Headers(Mapping[str, str]):
    """The header of an answer (RFC 9110, 5): names in any case; what came several times is joined with commas."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._values: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.decode("iso-8859-1").partition(":")
            key, text = name.strip().lower(), value.strip()
            if colon and key:
                self._values[key] = f"{self._values[key]}, {text}" if key in self._values else text

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class _Answer(http.client.HTTPResponse):
    """An answer that can be read as it comes in, and that says so when it ends before its length."""

    def begin(self) -> None:
        """Read the header (RFC 9112, 4 to 6). As in http.client, but for its parser of mail, which takes most of its time."""
        status = HTTPStatus.CONTINUE
        while status == HTTPStatus.CONTINUE:
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            lines = self._lines()
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version.startswith("HTTP/1.0") else 11
        headers = Headers(lines)
        self.headers = self.msg = headers  # type: ignore[assignment]  # all that is asked of it
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = self._check_close()  # type: ignore[attr-defined]
        length = headers.get("content-length", "")
        self.length = int(length) if length.isascii() and length.isdigit() and not self.chunked else None
        if status in (204, 304) or 100 <= status < 200 or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        if not self.will_close and not self.chunked and self.length is None:
            self.will_close = True

    def _lines(self) -> list[bytes]:
        """The lines of the header; one that goes on in the next is joined with it, as old servers write them."""
        lines: list[bytes] = []
        size = 0
        while (line := self.fp.readline(_LONGEST + 1)) not in (b"\r\n", b"\n", b""):
            size += len(line)
            if size > _LONGEST:
                raise http.client.LineTooLong("header")
            if line[:1] in b" \t" and lines:
                lines[-1] += line
            else:
                lines.append(line)
        return lines

    def take(self, view: memoryview) -> int:
        """Put what one read of the socket brings into `view`; returns the count of bytes, 0 at the end only."""
        if self.isclosed():
            return 0
        if self.chunked:
            data = self.read1(len(view))
            view[: len(data)] = data
            return len(data)
        if self.length is not None:
            view = view[: self.length]
        count: int = self.fp.readinto1(view)
        if self.length is None:
            if not count and view:
                self._close_conn()  # type: ignore[attr-defined]
            return count
        if not count and view:
            raise http.client.IncompleteRead(b"", self.length)
        self.length -= count
        if not self.length:
            self._close_conn()  # type: ignore[attr-defined]
        return count


class _Sending:
    """Sending has a time limit of its own, and lets the kernel send ranges of files."""

    sock: socket.socket | None

    def send(self, data: Any) -> None:
        """Send bytes, or a `FilePiece`."""
        if self.sock is not None:
            self.sock.settimeout(_SEND_TIMEOUT)
        if not isinstance(data, FilePiece):
            super().send(data)  # type: ignore[misc]
            return
        if self.sock is None:
            raise ConnectionResetError("the connection was closed while a file was being sent")
        if self.sock.sendfile(data.file, data.offset, data.count) != data.count:
            raise ConnectionResetError("the file became shorter while it was being sent")


class _Plain(_Sending, http.client.HTTPConnection):
    response_class = _Answer


class _Secure(_Sending, http.client.HTTPSConnection):
    response_class = _Answer


_Connection = _Plain | _Secure


class Response:
    """An answer whose body has not been read. A context manager; used by one thread."""

    def __init__(self, answer: _Answer, url: str, connection: _Connection, give_back: Callable[[_Connection], None]) -> None:
        self._answer = answer
        self._connection: _Connection | None = connection
        self._give_back = give_back
        self.status: int = answer.status
        self.reason: str = answer.reason
        self.headers = cast(Mapping[str, str], answer.headers)
        self.url = url

    @property
    def empty(self) -> bool:
        """Whether there is no body."""
        return self._answer.length == 0

    def readinto(self, view: memoryview) -> int:
        """Put what came in into `view`, at least one byte; returns the count, 0 at the end only.

        Raises `OSError` or `http.client.HTTPException` where the connection breaks first.
        """
        count = self._answer.take(view)
        if not count and len(view):
            self.close()
        return count

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes as they come in; without it all of the rest, for small bodies."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 16), b""))
        buffer = bytearray(size)
        count = self.readinto(memoryview(buffer))
        del buffer[count:]
        return bytes(buffer)

    def close(self) -> None:
        """Give the connection back if the body was read whole, else close it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        whole = self._answer.isclosed() or self._answer.length == 0
        self._answer.close()
        if whole and not self._answer.will_close and connection.sock is not None:
            self._give_back(connection)
        else:
            connection.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


@dataclass(frozen=True, kw_only=True)
class _Route:
    """How an address is reached: directly, or through a proxy."""

    place: Origin
    proxy: str | None


def _close_idle(idle: dict[_Route, list[_Connection]]) -> None:
    """Close connections that nobody uses, and forget them."""
    while idle:
        for connection in idle.popitem()[1]:
            connection.close()


class Pools:
    """Idle connections, by where they lead. Used by several threads at once.

    `contexts` gives the TLS context for an address; `proxies` the proxies for one, by scheme.
    """

    def __init__(
        self, contexts: Callable[[Origin], ssl.SSLContext], proxies: Callable[[str], Mapping[str, str]], connect_timeout: float
    ) -> None:
        self._contexts = contexts
        self._proxies = proxies
        self._connect_timeout = connect_timeout
        self._idle: defaultdict[_Route, list[_Connection]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closed = False
        # Whoever forgets to close it leaves no open sockets behind.
        weakref.finalize(self, _close_idle, self._idle).atexit = False

    def request(self, method: str, url: str, headers: Mapping[str, str], content: Content, timeout: float) -> Response:
        """Send a request; the answer's header has come in when this returns. `timeout`: seconds between two reads.

        Raises `NotConnectedError`, `OSError` or `http.client.HTTPException`, and what reading the content raises.
        """
        place = origin(url)
        route = _Route(place=place, proxy=_proxy(self._proxies(url), place[0]))
        target, headers = self._target(route, url, headers)
        while True:
            connection, fresh = self._take(route)
            try:
                answer = _exchange(connection, method, target, headers, content, timeout)
            except _GONE:
                connection.close()
                if not fresh and (content is None or isinstance(content, bytes)):
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            return Response(answer, url, connection, lambda used: self._put(route, used))

    def close(self) -> None:
        """Close every idle connection, and those that come back later."""
        with self._lock:
            self._closed = True
            _close_idle(self._idle)

    def _target(self, route: _Route, url: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """What the request line names (RFC 9112, 3.2), and the headers, with the proxy's password where there is one."""
        if route.proxy and route.place[0] == "http":
            return url.partition("#")[0], {**headers, **_proxy_login(route.proxy)}
        parts = urlsplit(url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers

    def _take(self, route: _Route) -> tuple[_Connection, bool]:
        """A connection, and whether it is a new one."""
        while True:
            with self._lock:
                idle = self._idle[route]
                connection = idle.pop() if idle else None
            if connection is None:
                return self._connect(route), True
            if connection.sock is not None and not _readable(connection.sock):
                return connection, False
            connection.close()

    def _put(self, route: _Route, connection: _Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle[route]) < _IDLE:
                self._idle[route].append(connection)
                return
        connection.close()

    def _connect(self, route: _Route) -> _Connection:
        scheme, host, port = route.place
        connection: _Connection
        if route.proxy is None:
            connection = self._open(scheme, host, port, route.place)
        else:
            through = urlsplit(route.proxy)
            address = (through.hostname or "", through.port or (443 if through.scheme == "https" else 8080))
            if scheme == "http":
                connection = self._open(through.scheme, *address, origin(f"{through.scheme}://{address[0]}:{address[1]}"))
            else:
                # http.client speaks the proxy's CONNECT in the clear, and TLS inside of it.
                connection = _Secure(*address, timeout=self._connect_timeout, context=self._contexts(route.place))
                connection.set_tunnel(host, port, _proxy_login(route.proxy))
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NotConnectedError(str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self, scheme: str, host: str, port: int, place: Origin) -> _Connection:
        if scheme == "http":
            return _Plain(host, port, timeout=self._connect_timeout)
        return _Secure(host, port, timeout=self._connect_timeout, context=self._contexts(place))


def _exchange(
    connection: _Connection, method: str, target: str, headers: Mapping[str, str], content: Content, timeout: float
) -> _Answer:
    """Send, and read the header of the answer. A server may answer, and close, before it has taken everything."""
    try:
        connection.request(method, target, body=content, headers=dict(headers))  # type: ignore[arg-type]  # FilePiece is ours
    except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
        answer = _early(connection, timeout)
        if answer is None:
            raise
        return answer
    if connection.sock is not None:
        connection.sock.settimeout(timeout)
    found: _Answer = connection.getresponse()  # type: ignore[assignment]
    return found


def _early(connection: _Connection, timeout: float) -> _Answer | None:
    """The answer to a request that could not be sent whole, if there is one; its connection is of no further use.

    Raises `ssl.SSLError` where the answer is that TLS was refused.
    """
    if connection.sock is None or not _readable(connection.sock):
        return None
    connection.sock.settimeout(timeout)
    # http.client itself waits for the end of the request, which will never come.
    answer = _Answer(connection.sock, method="POST")
    try:
        answer.begin()
    except ssl.SSLError as error:
        answer.close()
        if isinstance(error, ssl.SSLEOFError):
            return None
        raise
    except (*_GONE, OSError):
        answer.close()
        return None
    answer.will_close = True
    return answer


def _readable(sock: socket.socket) -> bool:
    """Whether an idle connection has something to read: that can only be its end."""
    try:
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _proxy(proxies: Mapping[str, str], scheme: str) -> str | None:
    """The address of the proxy for a scheme; raises `UsageError` for one of a kind that is not spoken."""
    text = proxies.get(scheme) or proxies.get("all")
    if not text:
        return None
    address = text if "://" in text else f"http://{text}"
    parts = urlsplit(address)
    if parts.scheme == "http" or (parts.scheme == "https" and scheme == "http"):
        return address
    raise UsageError(
        f"the proxy for {scheme} addresses is of a kind that is not spoken here: {parts.scheme}",
        why=f"the environment names {parts.scheme}://{parts.hostname}",
        hint="name a proxy that speaks HTTP in HTTPS_PROXY, or exempt the registry in NO_PROXY",
    )


def _proxy_login(proxy: str) -> dict[str, str]:
    """The header that lets us through a proxy whose address has a name and a password (RFC 9110, 11.7.2)."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": "Basic " + b64encode(login.encode()).decode()}
