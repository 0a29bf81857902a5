"""The rules of admission for a release: its repositories from the definition, its keys from what is trusted, as of now.

A key counts for a repository as it does when a release is verified: by its dates, and by its scope. One that does not count now
is left out and named, since most of the forms cannot say from when to when a key is good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.admission.rules import Key, Mirror, Rules, Scope
from nexus_oci.errors import UsageError
from nexus_oci.oci.reference import Reference
from nexus_oci.pipeline.subjects import RELEASES
from nexus_oci.trust.verification import Trust, TrustedKey

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition

PREDICATES = {
    "provenance": "https://slsa.dev/provenance/v1",
    "spdx": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
}
"""Short names of what may be demanded beside a signature."""
_LARGEST_CHAIN = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Repositories:
    """Full names of repositories, each with the distribution that is in it, and the prefixes that only they may be below."""

    distributions: dict[str, str | None]
    closed: tuple[str, ...] = ()


def repositories_of(definition: Definition) -> Repositories:
    """Where the definition publishes: its distributions, its chart and its releases. Raises `UsageError` without a registry."""
    if not definition.registry:
        raise UsageError(
            "admission needs to know of which repositories",
            why="neither the command nor the definition names a registry",
            hint="give --repository HOST/NAME, or set `registry:` in images/nexus.yaml",
        )
    found: dict[str, str | None] = {
        f"{definition.registry}/{item.repository}": item.distribution for item in definition.distributions
    }
    if definition.chart is not None:
        found[f"{definition.registry}/charts/{chart_name(definition, definition.chart.path)}"] = None
    found[f"{definition.registry}/{RELEASES}"] = None
    return Repositories(distributions=found, closed=(definition.registry,))


def rules_for(
    name: str,
    repositories: Repositories,
    trust: Trust,
    now: datetime,
    *,
    mirrors: Sequence[Mirror] = (),
    authorities: Sequence[str] = (),
    identities: Sequence[str] = (),
    attestations: Sequence[str] = (),
    audit: bool = False,
    plain_http: bool = False,
) -> tuple[Rules, tuple[str, ...]]:
    """The rules, and what the user should know of them: keys that were left out, and those that end."""
    scopes: list[Scope] = []
    notes: dict[str, None] = {}
    for repository, distribution in repositories.distributions.items():
        counting = []
        for key in trust.usable():
            refusal = key.refusal((repository,), distribution, now)
            if refusal is None:
                counting.append(_key(key))
            else:
                notes[f"{refusal}: it is not in what was written for {repository}"] = None
        scopes.append(Scope(repository=repository, keys=tuple(counting)))
    for ending in dict.fromkeys(key for scope in scopes for key in scope.keys if key.not_after is not None):
        notes[f"the key {ending.name} ends on {ending.not_after:%Y-%m-%d %H:%M} UTC: write the files again before"] = None
    rules = Rules(
        name=name,
        scopes=tuple(scopes),
        closed=repositories.closed,
        mirrors=tuple(mirrors),
        authorities=tuple(authorities),
        identities=tuple(identities) or ("*",),
        attestations=tuple(PREDICATES.get(kind, kind) for kind in attestations),
        revoked=tuple(sorted(map(str, trust.revoked))),
        audit=audit,
        plain_http=plain_http,
    )
    return rules, tuple(notes)


def parse_mirror(text: str) -> Mirror:
    """`FROM=TO`, each HOST or HOST/PATH; raises `UsageError` for anything else."""
    source, equals, copy = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} is no mirror", why="it reads FROM=TO", hint="write registry.example/team=mirror.site/team")
    return Mirror(source=parse_prefix(source), copy=parse_prefix(copy))


def parse_prefix(text: str) -> str:
    """HOST or HOST/PATH; raises `UsageError` for anything else."""
    plain = text.removesuffix("/")
    reference = Reference.parse(plain if "/" in plain else f"{plain}/any")
    if reference.tag or reference.digest:
        raise UsageError(f"{text!r} names one image", why="a host, or a host and a path, is wanted")
    return plain


def read_certificates(path: Path) -> tuple[str, ...]:
    """The certificates in a PEM file, each as PEM of its own; raises `UsageError` for what holds none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_CHAIN)
        return tuple(one.public_bytes(Encoding.PEM).decode() for one in x509.load_pem_x509_certificates(data))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", why=error.strerror or str(error)) from error
    except ValueError as error:
        raise UsageError(f"{path} holds no certificates", why=str(error).partition("\n")[0]) from None


def _key(key: TrustedKey) -> Key:
    return Key(
        name=key.name,
        pem=key.key.pem.decode(),
        not_before=key.not_before,
        not_after=key.not_after,
        repositories=key.repositories,
        distributions=key.distributions,
    )


def chart_name(definition: Definition, path: str) -> str:
    """The chart's name, which is that of its repository."""
    import yaml

    for root in filter(None, (definition.root, definition.defaults)):
        file = root / path / "Chart.yaml"
        if file.is_file():
            data = yaml.safe_load(file.read_text())
            if isinstance(data, dict) and data.get("name"):
                return str(data["name"])
    return Path(path).name
