"""Whom we believe to be a registry, and by what we prove who we are to it: TLS contexts, and Docker's folders for them.

Docker, Podman and containerd's older configuration keep a folder for each registry, `certs.d/HOST[:PORT]/`: `*.crt` are
authorities that are trusted for that registry, `NAME.cert` with `NAME.key` a certificate of ours (docker(1), "Verify
repository client with certificates"). A certificate of ours is shown to the registry itself, never where it redirects to.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import certifi

from nexus_oci.errors import UsageError
from nexus_oci.registry.hosts import is_hub

_FOLDERS = ("/etc/containers/certs.d", "/etc/docker/certs.d")
_OWN_FOLDERS = (".config/containers/certs.d", ".config/docker/certs.d")
_HUB_FOLDER = "docker.io"


@dataclass(frozen=True, kw_only=True)
class ClientCertificate:
    """Files in PEM: a certificate, with its chain, and its private key, which may stand in the same file."""

    certificate: Path
    key: Path | None = None


def certificate_folders(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where Docker and Podman look for `certs.d`: the user's folders, then the system's."""
    home = environment.get("HOME") or environment.get("USERPROFILE")
    own = tuple(Path(home) / folder for folder in _OWN_FOLDERS) if home else ()
    return (*own, *map(Path, _FOLDERS))


def contexts(
    host: str, ca_file: Path | None, client: ClientCertificate | None, folders: Sequence[Path]
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The context for a registry's own address, and the one for wherever it sends us.

    Both trust the system's authorities and `ca_file`. The first also trusts what the registry's folders hold, and has our
    certificate: `client`, else that of the folders. Raises `UsageError` for files that cannot be used.
    """
    foreign = tls_context(ca_file)
    found = [path for folder in folders if (path := _folder(folder, host)) is not None]
    certificates = [client] if client else [pair for path in found for pair in _pairs(path)]
    authorities = [path for folder in found for path in sorted(folder.glob("*.crt"))]
    if not certificates and not authorities:
        return foreign, foreign
    own = tls_context(ca_file)
    for path in authorities:
        _trust(own, path)
    for pair in certificates[:1]:
        _load(own, pair)
    return own, foreign


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the system's authorities and those in `ca_file`; raises `UsageError` for a bad file."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not ssl.get_default_verify_paths().capath:
        context.load_verify_locations(certifi.where())
    if ca_file:
        _trust(context, ca_file)
    return context


def _folder(folder: Path, host: str) -> Path | None:
    """The folder of one registry below a `certs.d`."""
    path = folder / (_HUB_FOLDER if is_hub(host) else host)
    try:
        return path if path.is_dir() else None
    except OSError:
        return None


def _pairs(folder: Path) -> list[ClientCertificate]:
    found = []
    for path in sorted(folder.glob("*.cert")):
        key = path.with_suffix(".key")
        if not key.is_file():
            raise UsageError(
                f"{path} has no key beside it", why=f"{key.name} is not there", hint="put the key there, or take the .cert away"
            )
        found.append(ClientCertificate(certificate=path, key=key))
    return found


def _trust(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the certificate authorities in {path} cannot be read", why=str(error), hint="give a file of PEM certificates"
        ) from error


def _load(context: ssl.SSLContext, pair: ClientCertificate) -> None:
    """Take up our certificate. A key with a passphrase is refused: OpenSSL would ask for it on the terminal."""

    def refuse() -> str:
        raise UsageError(
            f"the key of {pair.certificate} has a passphrase",
            why="keys of connections are read unattended",
            hint="keep the key without one, in a file that only you can read",
        )

    try:
        context.load_cert_chain(str(pair.certificate), str(pair.key) if pair.key else None, password=refuse)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"our certificate {pair.certificate} cannot be used",
            why=str(error),
            hint="give a certificate and its key as PEM files that belong together",
        ) from error
