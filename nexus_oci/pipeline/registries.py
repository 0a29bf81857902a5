"""Opens repositories of registries with what the environment and the command line say of credentials and trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.oci.reference import Reference

if TYPE_CHECKING:
    from nexus_oci.registry.client import RegistryClient
    from nexus_oci.registry.end import ReadingEnd, RegistryEnd
    from nexus_oci.registry.settings import RegistrySettings


@dataclass(frozen=True, kw_only=True)
class Access:
    """How registries are to be spoken to. `client_certificate`: a file, and that of its key where it is another."""

    environment: Mapping[str, str]
    plain_http: bool = False
    insist_on_plain_http: bool = False
    ca_file: Path | None = None
    client_certificate: tuple[Path, Path | None] | None = None

    def client(self, host: str) -> RegistryClient:
        """A client of one host."""
        from nexus_oci.registry.client import RegistryClient

        return RegistryClient(host, self.settings())

    def reading_end(self, reference: Reference) -> ReadingEnd:
        """The repository of a reference, to be read only: that loads less."""
        from nexus_oci.registry.end import ReadingEnd
        from nexus_oci.registry.reading import RegistryReader

        return ReadingEnd(RegistryReader(reference.host, self.settings(writing=False)), reference.repository)

    def settings(self, *, writing: bool = True) -> RegistrySettings:
        """All of this, as a client takes it; without `writing` no journal of uploads is kept."""
        from nexus_oci.registry.certificates import ClientCertificate, certificate_folders
        from nexus_oci.registry.settings import RegistrySettings, docker_config_file

        own = self.client_certificate
        return RegistrySettings(
            docker_config=docker_config_file(self.environment),
            ca_file=self.ca_file,
            client_certificate=ClientCertificate(certificate=own[0], key=own[1]) if own else None,
            certificate_folders=certificate_folders(self.environment),
            plain_http=self.plain_http,
            insist_on_plain_http=self.insist_on_plain_http,
            journal=_journal(self.environment) if writing else None,
        )

    def end(self, reference: Reference) -> RegistryEnd:
        """The repository of a reference, as an end of a transfer."""
        from nexus_oci.registry.end import RegistryEnd

        return RegistryEnd(self.client(reference.host), reference.repository)


def _journal(environment: Mapping[str, str]) -> Path:
    from nexus_oci.bases.host import default_cache

    return default_cache(environment, Path.home()) / "uploads"


def registry_end(reference: Reference, environment: Mapping[str, str], *, plain_http: bool) -> RegistryEnd:
    """The repository of a reference; see `Access`."""
    return Access(environment=environment, plain_http=plain_http).end(reference)
