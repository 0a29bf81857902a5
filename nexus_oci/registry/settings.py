"""How a registry is to be spoken to: what the command line and the environment decide, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nexus_oci.registry.certificates import ClientCertificate
from nexus_oci.registry.retry import Pace, RetryPolicy

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class RegistrySettings:
    """Everything about a connection that is not its host.

    `docker_config` is Docker's config.json (None: anonymous). `ca_file` is trusted beside the system's authorities.
    `client_certificate` is shown to the registry itself; without it that of `certificate_folders` (`certs.d`) is.
    `plain_http` speaks HTTP to loopback addresses, to others only with `insist_on_plain_http`. Times in seconds,
    sizes in bytes; blobs over `chunk_size` are uploaded in pieces of that size, so that a broken upload resumes, and
    with `journal`, a folder, also in the next process. Up to `whole_up_to` one request is tried first: many registries
    hash again what came in pieces. An answer of which less than `slowest` bytes come in
    `stall_timeout` is given up. At most `uploads` blobs, of `bytes_at_once` together, are written at a time.
    """

    docker_config: Path | None = None
    ca_file: Path | None = None
    client_certificate: ClientCertificate | None = None
    certificate_folders: tuple[Path, ...] = ()
    plain_http: bool = False
    insist_on_plain_http: bool = False
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    commit_timeout: float = 600.0
    stall_timeout: float = 60.0
    slowest: int = 60 * 1024
    chunk_size: int = 64 * MIB
    whole_up_to: int = 1024 * MIB
    journal: Path | None = None
    uploads: int = 16
    bytes_at_once: int = 2048 * MIB
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    pace: Pace = field(default_factory=Pace)


def docker_config_file(environment: Mapping[str, str]) -> Path | None:
    """Where Docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else `$HOME/.docker/config.json`."""
    if folder := environment.get("DOCKER_CONFIG"):
        return Path(folder) / "config.json"
    home = environment.get("HOME") or environment.get("USERPROFILE")
    return Path(home) / ".docker" / "config.json" if home else None
