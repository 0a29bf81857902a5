"""Names of registry hosts: Docker Hub's aliases, and which addresses may be spoken to without TLS."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from nexus_oci.errors import RegistryError, UsageError
from nexus_oci.oci.reference import is_loopback

_HUB = "docker.io"
_HUB_ENDPOINT = "registry-1.docker.io"
_HUB_CONFIG_KEY = "https://index.docker.io/v1/"
_HUB_ALIASES = frozenset({_HUB, "index.docker.io", _HUB_ENDPOINT, "registry.hub.docker.com"})
_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host name and port: what credentials belong to."""


def is_hub(host: str) -> bool:
    """Whether HOST is Docker Hub under any of its names."""
    return host in _HUB_ALIASES


def endpoint(host: str, *, plain_http: bool, insist: bool = False) -> str:
    """The base URL of a registry's API, without a path.

    HTTP is spoken only where `plain_http` asks for it, and then only to this machine unless the caller insists;
    else `UsageError`.
    """
    if not plain_http:
        return f"https://{_HUB_ENDPOINT if is_hub(host) else host}"
    if not is_loopback(host) and not insist:
        raise UsageError(
            f"plain HTTP to {host} is refused",
            why="passwords and content would cross the network unprotected; only loopback addresses are exempt",
            hint="give the registry a certificate and name its authority with --ca-file, or insist with --plain-http-anywhere",
        )
    return f"http://{host}"


def api_repository(host: str, repository: str) -> str:
    """The repository's name in the API: Docker Hub keeps its single-word names under `library/`."""
    return f"library/{repository}" if is_hub(host) and "/" not in repository else repository


def config_keys(host: str) -> tuple[str, ...]:
    """The keys under which Docker's configuration may hold the credentials of HOST, most usual first."""
    return (_HUB_CONFIG_KEY, *sorted(_HUB_ALIASES)) if is_hub(host) else (host,)


def bare_host(key: str) -> str:
    """The host of a configuration key, which old tools wrote as a URL: `https://host/v1/` → `host`."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


@lru_cache(maxsize=256)
def origin(url: str) -> Origin:
    """Scheme, host and port of an absolute http(s) URL; raises `RegistryError` for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RegistryError("a registry sent an address that cannot be read", why=str(error)) from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise RegistryError("a registry sent an address that is not followed", why="only http and https without a user name are")
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def shown(url: str) -> str:
    """A URL for messages: without its query, which may carry signatures."""
    return url.partition("?")[0]
