"""Requests to one registry: pooled connections, timeouts, retries, redirects, and who gets the Authorization header.

The rule for credentials is kept in one place here, `Transport._exchange`: they are attached only where scheme, host and
port are the registry's own, so neither a redirect nor an upload address on another host ever sees them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from nexus_oci.errors import RegistryError, VerificationError
from nexus_oci.registry import faults, wire
from nexus_oci.registry.auth import Authenticator, Scope
from nexus_oci.registry.body import Body
from nexus_oci.registry.certificates import contexts
from nexus_oci.registry.credentials import find
from nexus_oci.registry.hosts import Origin, endpoint, origin, shown
from nexus_oci.registry.retry import Backoff, Pulse, TransientError
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.registry.wire import Response

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEPS_METHOD = frozenset({307, 308})
_MAX_REDIRECTS = 5
_MAX_CHALLENGES = 2
_MAX_ANSWER = 4 << 20
_USER_AGENT = "nexus-oci"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. `expect` are the statuses that the caller handles; all others become errors."""

    method: str
    url: str
    doing: str
    """What it is for, in words for messages: `reading the manifest app:1.0`."""
    expect: frozenset[int] = frozenset({200})
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | bytes | None = None
    scope: Scope = ()
    timeout: float | None = None
    """Seconds to wait for an answer; None for the setting's."""
    limit: int = _MAX_ANSWER
    """Bytes of answer that are read at most."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response that was read whole. `url` is where it came from in the end; header names are in lower case."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def content_type(self) -> str:
        """The media type without parameters."""
        return media_type(self.headers.get("content-type"))

    @property
    def next_url(self) -> str | None:
        """Where the next page is (RFC 8288), still relative if it was."""
        if "link" not in self.headers:
            return None
        import requests.utils

        links = requests.utils.parse_header_links(self.headers["link"])
        return next((link["url"] for link in links if link.get("rel") == "next" and link.get("url")), None)


def media_type(header: str | None) -> str:
    """The media type out of a Content-Type header, without parameters."""
    return (header or "").partition(";")[0].strip().lower()


class Transport:
    """Speaks HTTP to one registry host and whatever it redirects to. Used by several threads at once."""

    def __init__(self, host: str, settings: RegistrySettings) -> None:
        self.host = host
        self.settings = settings
        self.base = endpoint(host, plain_http=settings.plain_http, insist=settings.insist_on_plain_http)
        self.requests_made = 0
        self._origin: Origin = origin(self.base)
        self._lock = threading.Lock()
        self._proxies: dict[Origin, dict[str, str]] = {}
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        if self._origin[0] == "https" or settings.ca_file or settings.client_certificate:
            self._tls(self._origin)
        self._pools = wire.Pools(self._tls, self._proxies_for, settings.connect_timeout)
        self.auth = Authenticator(
            host, self.base, lambda: find(host, settings.docker_config), self._token_request, settings.pace.clock
        )

    def backoff(self) -> Backoff:
        """Fresh patience for one piece of work."""
        return Backoff(self.settings.retry, self.settings.pace)

    def pulse(self, doing: str) -> Pulse:
        """A watch over one answer."""
        return Pulse(self.settings.pace.clock, self.settings.stall_timeout, self.settings.slowest, f"{self.host} while {doing}")

    def fetch(self, call: Call) -> Answer:
        """Make the call, again where it may help, and read the answer whole. Only for calls that may be repeated."""
        return self._again(lambda: self.once(call))

    def open(self, call: Call) -> Response:
        """Make the call, again where it may help, and return the response with its body unread."""
        return self._again(lambda: self.send(call))

    def once(self, call: Call) -> Answer:
        """Make the call a single time; a failure that may pass raises `TransientError`."""
        response = self.send(call)
        with contextlib.closing(response):
            return self._read(call, response)

    def send(self, call: Call) -> Response:
        """Make the call a single time, with authentication and redirects, and check its status."""
        url, method, challenged = call.url, call.method, 0
        for _ in range(_MAX_REDIRECTS + _MAX_CHALLENGES + 1):
            response, used = self._exchange(replace(call, url=url, method=method))
            if response.status in call.expect:
                return response
            with contextlib.closing(response):
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location:
                    url = self.locate(url, location)
                    if response.status not in _KEEPS_METHOD and method not in ("GET", "HEAD"):
                        raise RegistryError(f"{self.host} sends us elsewhere while {call.doing}", why=f"to {shown(url)}")
                    continue
                demand = response.headers.get("WWW-Authenticate", "")
                if response.status == 401 and self.is_own(url) and challenged < _MAX_CHALLENGES:
                    challenged += 1
                    if self.auth.refused(demand, call.scope, used) and self.auth.header(call.scope) not in (None, used):
                        continue
                raise self._refusal(call, response)
        raise RegistryError(f"{self.host} sends us in circles while {call.doing}", why=f"over {_MAX_REDIRECTS} redirects")

    @contextlib.contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Around any talk with the network: foreign exceptions become ours, broken connections `TransientError`."""
        try:
            yield
        except (wire.NotConnectedError, http.client.HTTPException, OSError) as error:
            raise faults.from_exception(error, self.host, doing) from error

    def locate(self, base: str, location: str) -> str:
        """An absolute URL from a Location or Link of this registry; raises `RegistryError` if it leaves TLS.

        A registry behind a proxy may name itself with http where https is spoken; that is put right.
        """
        url = urljoin(base, location)
        scheme, name, _ = origin(url)
        if scheme == "http" and self._origin[0] == "https":
            if name != self._origin[1]:
                raise RegistryError(
                    f"{self.host} sends us to an address without TLS: {shown(url)}",
                    why="content would cross the network unprotected",
                )
            url = urlsplit(url)._replace(scheme="https", netloc=urlsplit(self.base).netloc).geturl()
        return url

    def is_own(self, url: str) -> bool:
        """Whether the URL is on the registry itself."""
        return origin(url) == self._origin

    def can_sendfile(self, url: str) -> bool:
        """Whether the kernel may send files there: no TLS and no proxy between."""
        return urlsplit(url).scheme == "http" and not self._proxies_for(url)

    def close(self) -> None:
        """Close the idle connections."""
        self._pools.close()

    def _again(self, attempt: Callable[[], _T]) -> _T:
        backoff = self.backoff()
        while True:
            try:
                return attempt()
            except TransientError as error:
                backoff.pause(error)

    def _exchange(self, call: Call) -> tuple[Response, str | None]:
        """One request and its response; the Authorization header that went with it, if the address may have one."""
        headers = {"Accept-Encoding": "identity", "User-Agent": _USER_AGENT, **call.headers}
        used = self.auth.header(call.scope) if self.is_own(call.url) else None
        if used:
            headers["Authorization"] = used
        return self._request(call, headers), used

    def _request(self, call: Call, headers: Mapping[str, str]) -> Response:
        with self._lock:
            self.requests_made += 1
        body = call.body
        if isinstance(body, Body):
            # An empty iterable would be sent chunked, which registries refuse.
            headers = {**headers, "Content-Length": str(len(body))}
            body = replace(body, sendfile=self.can_sendfile(call.url)) if len(body) else b""
        with self.translated(call.doing):
            return self._pools.request(call.method, call.url, headers, body, call.timeout or self.settings.read_timeout)

    def _read(self, call: Call, response: Response) -> Answer:
        chunks: list[bytes] = []
        length = 0
        pulse = self.pulse(call.doing)
        with self.translated(call.doing):
            while call.method != "HEAD" and (block := response.read(1 << 16)):
                length += len(block)
                pulse.heard(len(block))
                if length > call.limit:
                    raise VerificationError(
                        f"{self.host} sends too much while {call.doing}", why=f"over {call.limit} bytes are refused"
                    )
                chunks.append(block)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(status=response.status, url=response.url, headers=headers, body=b"".join(chunks))

    def _refusal(self, call: Call, response: Response) -> Exception:
        """The error for a status that was not expected, with what the registry says about it if that can be read."""
        status, body = response.status, b""
        headers = {name.lower(): value for name, value in response.headers.items()}
        with contextlib.suppress(TransientError, VerificationError):
            body = self._read(replace(call, limit=1 << 16), response).body
        return faults.from_status(
            self.host, call.doing, status, headers, body, tried=self.auth.describe(), pace=self.settings.pace
        )

    def _token_request(self, method: str, url: str, headers: Mapping[str, str], form: bytes | None) -> tuple[int, bytes]:
        """One request to a token service: its own Authorization header, no redirects."""
        call = Call(method=method, url=url, doing="asking for a token", headers=headers, body=form, limit=1 << 20)

        def attempt() -> tuple[int, bytes]:
            response = self._request(call, {"Accept-Encoding": "identity", "User-Agent": _USER_AGENT, **headers})
            with contextlib.closing(response):
                if response.status in faults.BUSY:
                    raise self._refusal(call, response)
                return response.status, self._read(call, response).body

        return self._again(attempt)

    def _proxies_for(self, url: str) -> dict[str, str]:
        """The proxies that the environment names for this address, by the customary variables."""
        key = origin(url)
        if key not in self._proxies:
            self._proxies[key] = _environment_proxies(url)
        return self._proxies[key]

    def _tls(self, place: Origin) -> ssl.SSLContext:
        """The context for an address: ours has our certificate, others never do."""
        with self._lock:
            if self._contexts is None:
                chosen = self.settings
                self._contexts = contexts(self.host, chosen.ca_file, chosen.client_certificate, chosen.certificate_folders)
            own, foreign = self._contexts
        return own if place == self._origin else foreign


def _environment_proxies(url: str) -> dict[str, str]:
    """What the environment says; the library that understands all of that is loaded only where it says anything."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    import requests.utils

    return dict(requests.utils.get_environ_proxies(url))
