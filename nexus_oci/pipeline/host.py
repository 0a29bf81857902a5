"""What of the host a build stage is told: its certificate authorities, proxies, and package indexes.

They reach a stage as files of the context's `trust/` folder, mounted for one RUN; they are no part of any step's key and of
no layer that ships. Credentials inside an index's address are left out: a build stage's context is kept in the engine's cache.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_PASSED = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "NPM_CONFIG_REGISTRY",
    "GOPROXY",
    "GONOSUMDB",
    "GONOSUMCHECK",
    "GOSUMDB",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_TOOLS = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "NPM_CONFIG_CAFILE")


def trust_files(environment: Mapping[str, str], say: Callable[[str], None]) -> dict[str, bytes]:
    """The files of the context's trust/ folder: `ca.crt` (PEM), and `environment`, which a RUN's shell reads first."""
    lines = [f"export {name}=/run/trust/ca.crt" for name in _TOOLS]
    for name in _PASSED:
        value = environment.get(name)
        if value:
            shown = _without_credentials(value)
            if shown != value:
                say(f"{name} carries credentials: they are not handed to the build, which may then be refused by that host")
            lines.append(f"export {name}={shlex.quote(shown)}")
    lines += [f"export {key}={shlex.quote(value)}" for key, value in _pip_configuration(environment).items()]
    return {
        "trust/ca.crt": _bundle(environment),
        "trust/environment": ("\n".join(lines) + "\n").encode(),
    }


def _without_credentials(value: str) -> str:
    """One address or several, parted by blanks or commas, without the user and password before an @."""
    return re.sub(r"(://|^|[\s,])[^\s/]*@", r"\1", value)


def _bundle(environment: Mapping[str, str]) -> bytes:
    """The host's certificate authorities: what it is told to trust, its system's bundle, or certifi's."""
    for candidate in (environment.get("SSL_CERT_FILE"), *_BUNDLES):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes()
    import certifi

    return Path(certifi.where()).read_bytes()


def _pip_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """The package index of pip's own configuration files, where the environment names none."""
    import configparser

    home = Path(environment.get("HOME", "/"))
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    if environment.get("PIP_CONFIG_FILE"):
        files.append(Path(environment["PIP_CONFIG_FILE"]))
    parser = configparser.RawConfigParser()
    try:
        parser.read(files)
    except configparser.Error:
        return {}
    found = {}
    for option, name in (("index-url", "PIP_INDEX_URL"), ("extra-index-url", "PIP_EXTRA_INDEX_URL")):
        value = parser.get("global", option, fallback="")
        if value and name not in environment:
            found[name] = _without_credentials(" ".join(value.split()))
    return found
