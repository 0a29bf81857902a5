"""Credentials as Docker keeps them: config.json, and the helpers that it names.

A credential belongs to one registry host and is never looked up for another.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nexus_oci.errors import RegistryError
from nexus_oci.registry.hosts import bare_host, config_keys

_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_HELPER_TIMEOUT = 60.0
_TOKEN_USER = "<token>"  # noqa: S105 - the user name by which helpers mark an identity token
_NOT_FOUND = "credentials not found"


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What proves who we are to one host: name and password, or an identity token, or a ready registry token."""

    origin: str
    """Where it was found, for messages."""
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str | None:
        """The value of an Authorization header for HTTP Basic (RFC 7617); None where there is no password."""
        if not self.username or not self.password:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find(host: str, config: Path | None) -> Credential | None:
    """The credential for `host`: its own helper, then the general store, then the file; None where there is none.

    Raises `RegistryError` where the file cannot be read, or a helper that it names is missing or fails.
    """
    data = _load(config) if config else {}
    keys = config_keys(host)
    helpers = _mapping(data, "credHelpers", config)
    for helper, served in [(helpers.get(key), key) for key in keys] + [(data.get("credsStore"), key) for key in keys]:
        if helper and (found := _ask_helper(str(helper), served)):
            return found
    auths = _mapping(data, "auths", config)
    by_host = {bare_host(key): entry for key, entry in reversed(list(auths.items()))}
    for key in keys:
        entry = auths.get(key) or by_host.get(bare_host(key))
        if isinstance(entry, Mapping) and (stored := _from_entry(entry, config)):
            return stored
    return None


def _load(config: Path) -> dict[str, Any]:
    try:
        data = json.loads(config.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(config, str(error)) from error
    if not isinstance(data, dict):
        raise _unreadable(config, "it is not a JSON object")
    return data


def _mapping(data: Mapping[str, Any], key: str, config: Path | None) -> dict[str, Any]:
    value = data.get(key) or {}
    if not isinstance(value, dict):
        raise _unreadable(config, f"{key} is not a JSON object")
    return value


def _unreadable(config: Path | None, why: str) -> RegistryError:
    return RegistryError(
        f"Docker's configuration {config} cannot be read",
        why=why,
        hint="mend the file, or let DOCKER_CONFIG name another folder",
    )


def _from_entry(entry: Mapping[str, Any], config: Path | None) -> Credential | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _unreadable(config, "an auth entry is not base64") from error
        username, _, password = decoded.rstrip("\0").partition(":")
    found = Credential(
        origin=str(config),
        username=username,
        password=password,
        identity_token=str(entry.get("identitytoken") or ""),
        registry_token=str(entry.get("registrytoken") or ""),
    )
    return found if found.basic or found.identity_token or found.registry_token else None


def _ask_helper(name: str, server: str) -> Credential | None:
    """Run `docker-credential-NAME get`, the helpers' protocol; None where it holds nothing for `server`."""
    program = f"docker-credential-{name}"
    if not _HELPER_NAME.match(name):
        raise RegistryError(f"{name[:60]!r} is not a credential helper", why="the name would leave its folder")
    try:
        done = subprocess.run(  # noqa: S603 - the program that the user's own configuration names
            [program, "get"], input=server.encode(), capture_output=True, check=False, timeout=_HELPER_TIMEOUT
        )
    except FileNotFoundError as error:
        raise RegistryError(
            f"the credential helper {program} is not installed",
            why=f"Docker's configuration names it for {server}",
            hint="install it, or take it out of the configuration and run `docker login` again",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(f"the credential helper {program} does not answer", why=str(error)) from error
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if _NOT_FOUND in said.lower():
            return None
        raise RegistryError(f"the credential helper {program} failed for {server}", why=said[:300] or None)
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"the credential helper {program} gave no credential", why="its answer is no JSON") from error
    if not secret:
        return None
    if username == _TOKEN_USER:
        return Credential(origin=program, identity_token=secret)
    return Credential(origin=program, username=username, password=secret)
