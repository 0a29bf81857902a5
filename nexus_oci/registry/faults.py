"""What goes wrong between us and a registry, in words for the user: what, why, what to do."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping

from nexus_oci.errors import NexusError, NotFoundError, RegistryError, VerificationError
from nexus_oci.oci.reference import is_loopback
from nexus_oci.registry.retry import Pace, TransientError, retry_after
from nexus_oci.registry.wire import NotConnectedError

BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that may pass when the request is made again."""
_HOPELESS = 2
"""Tries where nothing answers at all: once more, in case the registry is just starting."""


def from_status(
    host: str, doing: str, status: int, headers: Mapping[str, str], body: bytes, *, tried: str, pace: Pace
) -> NexusError:
    """The error for an answer that nobody expected. `tried` says which credentials were used."""
    said = _messages(body, headers.get("content-type", ""))
    what = f"{host} answered {status} while {doing}"
    if status == 401:
        return RegistryError(
            f"{host} refuses to let us in while {doing}",
            why=f"{tried}; it says {said or 'nothing more'}",
            hint=f"run `docker login {host}` and try again",
        )
    if status == 403:
        return RegistryError(
            f"{host} forbids {doing}",
            why=f"{tried}; it says {said or 'nothing more'}",
            hint=f"ask for the right to do this, or run `docker login {host}` as somebody who has it",
        )
    if status == 404:
        return NotFoundError(
            f"{host} has nothing there while {doing}",
            why=f"it says {said}" if said else "the repository or what was asked for does not exist",
            hint="check the name; some registries want a repository or project to be made before the first push",
        )
    if status in BUSY:
        return TransientError(
            what,
            why=f"it says {said}" if said else None,
            hint="it asks for fewer requests: wait, use fewer --jobs, or log in for a higher limit"
            if status == 429
            else "try again later; what is already there will not be sent twice",
            retry_after=retry_after(headers.get("retry-after"), pace),
        )
    if status in (400, 422) and "DIGEST_INVALID" in said:
        return VerificationError(
            f"{host} got other bytes than their digest says while {doing}",
            why=said,
            hint="the local copy is damaged or the connection alters content; run `nexus-oci build` again",
        )
    return RegistryError(what, why=f"it says {said}" if said else None)


def from_exception(error: Exception, host: str, doing: str) -> RegistryError:
    """The error for what http.client, the socket or TLS raised."""
    cause = error.__cause__ if isinstance(error, NotConnectedError) and error.__cause__ else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RegistryError(
            f"the certificate of {host} is not trusted",
            why=cause.verify_message,
            hint="name its authority with --ca-file, or install it on this machine",
        )
    if isinstance(cause, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (cause.reason or ""):
        return RegistryError(
            f"{host} wants to see a certificate of ours while {doing}",
            why="it lets in only who proves himself by one",
            hint="name it with --client-cert and --client-key, or put it into Docker's certs.d folder for this registry",
        )
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        plain = "it may speak plain HTTP: use --plain-http" if is_loopback(host) else "check the port and its TLS setup"
        return RegistryError(f"no TLS connection to {host} while {doing}", why=str(cause), hint=plain)
    if isinstance(cause, socket.gaierror):
        return _unreachable(host, doing, "its name is not known", "check the name and the network")
    if isinstance(cause, ConnectionRefusedError):
        return _unreachable(host, doing, "connection refused", "check that it runs, and its host and port")
    if isinstance(error, NotConnectedError):
        return _unreachable(host, doing, _short(cause), "check the network, and the proxy if there is one")
    why = "no answer came in time" if isinstance(cause, TimeoutError) else _short(cause)
    return TransientError(f"the connection to {host} broke while {doing}", why=why, hint="try again later")


def _unreachable(host: str, doing: str, why: str, hint: str) -> TransientError:
    return TransientError(f"{host} cannot be reached while {doing}", why=why, hint=hint, tries=_HOPELESS)


def _short(error: BaseException) -> str:
    return str(error)[:200] or type(error).__name__


def _messages(body: bytes, content_type: str) -> str:
    """The registry's own words: the distribution-spec's error list, else what kind of page it sent."""
    try:
        entries = json.loads(body)["errors"]
        said = [f"{entry.get('code', '')}: {entry.get('message', '')}".strip(": ") for entry in entries]
        return "; ".join(_printable(text) for text in said)[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "an HTML page" if "html" in content_type else ""


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
