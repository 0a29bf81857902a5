"""Answers to a registry's demand for authentication (distribution-spec; Docker's token and OAuth2 flows).

An `Authenticator` belongs to one registry host. Its Basic credential goes to that host, or to the token service that
the host names, and nowhere else; its bearer tokens go to that host only. Who attaches them (transport) keeps that rule
for redirects and upload addresses.
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from nexus_oci.errors import RegistryError
from nexus_oci.oci.reference import is_loopback
from nexus_oci.registry.credentials import Credential
from nexus_oci.registry.hosts import origin, shown

Scope = tuple[str, ...]
"""Sorted `repository:NAME:ACTIONS` entries; what a token allows."""

_PIECE = re.compile(r"""[,\s]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+))?""")
_DEFAULT_LIFETIME = 60.0
_CLIENT = "nexus-oci"


class TokenRequest(Protocol):
    """Makes one request to a token service, with retries, and returns status and body."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], form: bytes | None) -> tuple[int, bytes]:
        """Send it; redirects are not followed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One demand out of a WWW-Authenticate header (RFC 9110, 11.6.1)."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Token:
    value: str
    expires: float


def pull_scope(repository: str) -> Scope:
    """What reading a repository takes."""
    return (f"repository:{repository}:pull",)


def push_scope(repository: str, mount_from: str | None = None) -> Scope:
    """What writing a repository takes, with blobs mounted from another."""
    scope = (f"repository:{repository}:pull,push",)
    return merge(scope, pull_scope(mount_from)) if mount_from else scope


def delete_scope(repository: str) -> Scope:
    """What removing something from a repository takes."""
    return (f"repository:{repository}:delete,pull,push",)


def merge(one: Scope, other: Scope) -> Scope:
    """A scope that allows what either does."""
    actions: dict[str, set[str]] = defaultdict(set)
    for entry in (*one, *other):
        name, _, allowed = entry.rpartition(":")
        actions[name] |= set(allowed.split(","))
    return tuple(f"{name}:{','.join(sorted(allowed))}" for name, allowed in sorted(actions.items()))


def challenges(header: str) -> list[Challenge]:
    """Every challenge of a WWW-Authenticate header, schemes in lower case."""
    found: list[tuple[str, dict[str, str]]] = []
    for match in _PIECE.finditer(header):
        name, value = match[1], match[2]
        if value is None:
            found.append((name.lower(), {}))
        elif found:
            plain = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
            found[-1][1][name.lower()] = plain
    return [Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in found]


class Authenticator:
    """The Authorization headers of one registry host. Used by several threads at once."""

    def __init__(
        self,
        host: str,
        base: str,
        credential: Callable[[], Credential | None],
        request: TokenRequest,
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._base = base
        self._find = credential
        self._request = request
        self._clock = clock
        self._looked_up = False
        self._credential: Credential | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[Scope, _Token] = {}
        self._widened: dict[Scope, Scope] = {}
        self._lock = threading.Lock()
        self._fetching: defaultdict[Scope, threading.Lock] = defaultdict(threading.Lock)

    def header(self, scope: Scope) -> str | None:
        """The Authorization header for a request of that scope; None until the registry has asked for one."""
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            credential = self._known_credential()
            return credential.basic if credential else None
        return "Bearer " + self._token(challenge, scope)

    def refused(self, demand: str, scope: Scope, used: str | None) -> bool:
        """Learn from a 401: `demand` is its WWW-Authenticate, `used` the header that was not enough.

        Returns whether a request with a new `header` is worth making.
        """
        offered = {challenge.scheme: challenge for challenge in reversed(challenges(demand))}
        challenge = offered.get("bearer") or offered.get("basic")
        if challenge is None:
            return False
        with self._lock:
            self._challenge = challenge
            if challenge.scheme == "basic":
                return used is None or not used.startswith("Basic ")
            current = self._widened.get(scope, scope)
            wanted = tuple(challenge.parameters.get("scope", "").split())
            wider = merge(current, wanted)
            self._widened[scope] = wider
            held = self._tokens.get(wider)
            if held and used == f"Bearer {held.value}":
                del self._tokens[wider]
            return True

    def describe(self) -> str:
        """What was tried, for messages."""
        if not self._looked_up or self._credential is None:
            return "no credentials are known for it"
        return f"the credentials from {self._credential.origin} were used"

    def _known_credential(self) -> Credential | None:
        with self._lock:
            if not self._looked_up:
                self._credential = self._find()
                self._looked_up = True
            return self._credential

    def _token(self, challenge: Challenge, scope: Scope) -> str:
        credential = self._known_credential()
        if credential and credential.registry_token:
            return credential.registry_token
        with self._lock:
            wanted = self._widened.get(scope, scope)
            gate = self._fetching[wanted]
        with gate:
            held = self._tokens.get(wanted)
            if held is None or held.expires <= self._clock():
                held = self._fetch(challenge, wanted, credential)
                self._tokens[wanted] = held
            return held.value

    def _fetch(self, challenge: Challenge, scope: Scope, credential: Credential | None) -> _Token:
        realm = challenge.parameters.get("realm", "")
        service = challenge.parameters.get("service", "")
        self._check_realm(realm)
        began = self._clock()
        if credential and credential.identity_token:
            form = {"grant_type": "refresh_token", "service": service, "client_id": _CLIENT, "scope": " ".join(scope)}
            form["refresh_token"] = credential.identity_token
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            status, body = self._request("POST", realm, headers, urlencode(form).encode())
        else:
            query = ([("service", service)] if service else []) + [("scope", entry) for entry in scope]
            basic = credential.basic if credential else None
            headers = {"Authorization": basic} if basic else {}
            url = realm + ("&" if "?" in realm else "?") + urlencode(query)
            status, body = self._request("GET", url, headers, None)
        if status != 200:
            raise RegistryError(
                f"{self._host} gives no token for {' '.join(scope)}",
                why=f"its token service {shown(realm)} answered {status}; {self.describe()}",
                hint=f"run `docker login {self._host}`, or ask for the right to this repository",
            )
        value, lifetime = self._read_token(body, realm)
        return _Token(value=value, expires=began + lifetime - min(10.0, lifetime / 10))

    def _read_token(self, body: bytes, realm: str) -> tuple[str, float]:
        try:
            data: Any = json.loads(body)
            value = data.get("token") or data["access_token"]
            lifetime = float(data.get("expires_in") or _DEFAULT_LIFETIME)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"the token service of {self._host} gave no token", why=f"{shown(realm)} answered with something else"
            ) from error
        if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
            raise RegistryError(f"the token service of {self._host} gave no token", why="its token is no plain text")
        return value, lifetime

    def _check_realm(self, realm: str) -> None:
        """A token service needs TLS, unless the registry has none either and the service is on its host or this one."""
        scheme, _, _ = origin(realm)
        if scheme == "https":
            return
        netloc = urlsplit(realm).netloc
        plain = self._base.startswith("http://")
        if not plain or (netloc != urlsplit(self._base).netloc and not is_loopback(netloc)):
            raise RegistryError(
                f"{self._host} sends us to a token service without TLS: {shown(realm)}",
                why="credentials would cross the network unprotected",
            )
