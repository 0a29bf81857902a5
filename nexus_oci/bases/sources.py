"""Where Debian's packages come from on this machine. No mirror is named here: its address is the host's to choose.

On a Debian host, apt's own sources are taken, with the wanted suite in the place of the host's. Elsewhere mmdebstrap
is asked what it would write into a new system of that suite.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nexus_oci.bases.apt import Source, stanzas
from nexus_oci.bases.commands import run
from nexus_oci.errors import BuildError

_UNSTABLE = frozenset({"sid", "unstable", "experimental"})
_ALIASES = ("stable", "oldstable", "testing", "unstable", "sid")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)")


@dataclass(frozen=True, kw_only=True)
class HostTarget:
    """One component of one suite that the host's apt is set up for; `origin` is known once its lists were fetched."""

    uri: str
    release: str
    component: str
    origin: str | None = None
    signed_by: str | None = None


def debian_sources(
    suite: str, components: Sequence[str], keyring: Path, default_sources: Callable[[str], str]
) -> tuple[Source, ...]:
    """The archives to take `suite` from: the suite itself, its updates and its security suite where the host has them.

    `default_sources` gives mmdebstrap's own sources of a suite; it is only asked on hosts that are not Debian.
    """
    found = from_host_targets(host_targets(), host_codename(), suite) or from_text(default_sources(suite))
    if not found:
        raise BuildError(f"no Debian archive that has {suite} is known on this machine", hint="check the suite's name")
    return tuple(sorted({replace(s, components=tuple(sorted(components)), keyrings=(str(keyring), *s.keyrings)) for s in found}))


def host_codename(release_file: Path = Path("/etc/os-release")) -> str | None:
    """The codename of the Debian that this machine runs, None where it runs something else."""
    try:
        lines = release_file.read_text().splitlines()
    except OSError:
        return None
    fields = {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
    return fields.get("VERSION_CODENAME", "sid") if fields.get("ID") == "debian" else None


def host_targets() -> tuple[HostTarget, ...]:
    """What the host's apt is set up to fetch packages from, whatever form its source files have."""
    done = run(["apt-get", "indextargets", "Created-By: Packages"])
    return tuple(
        HostTarget(
            uri=target["Repo-URI"],
            release=target["Release"],
            component=target["Component"],
            origin=target.get("Origin") or None,
            signed_by=_signed_by(target.get("Sourcesentry", "")),
        )
        for target in stanzas(done.output)
        if {"Repo-URI", "Release", "Component"} <= target.keys()
    )


def _signed_by(entry: str) -> str | None:
    """The Signed-By of the source that apt names as FILE:NUMBER (a stanza of a .sources file, else a line)."""
    name, _, number = entry.rpartition(":")
    try:
        text = Path(name).read_text()
        if name.endswith(".sources"):
            return list(stanzas(text))[int(number) - 1].get("Signed-By") or None
        match = re.search(r"signed-by=([^\s\]]+)", text.splitlines()[int(number) - 1])
        return match[1] if match else None
    except (OSError, ValueError, IndexError):
        return None


def from_host_targets(targets: Sequence[HostTarget], codename: str | None, suite: str) -> tuple[Source, ...]:
    """Debian's archives among the host's, with `suite` in the place of the host's own suite.

    Others that are named after the suite too (vendors' archives) are told by their Origin, or before the first
    update by a Signed-By that is not Debian's.
    """
    if codename is None:
        return ()
    family = {name: kind for base in (codename, *_ALIASES) for name, kind in _family(base)}
    sources = set()
    for target in targets:
        kind = family.get(target.release)
        if kind is None or target.component != "main" or (kind and suite in _UNSTABLE):
            continue
        foreign_key = target.signed_by is not None and "debian-archive" not in target.signed_by
        if (target.origin or ("other" if foreign_key else "Debian")) != "Debian":
            continue
        own_keys = target.signed_by.split() if foreign_key and target.signed_by else []
        keys = tuple(key for key in own_keys if Path(key).is_file())
        sources |= {Source(uri=uri, suite=suite + kind, keyrings=keys) for uri in _mirrors(target.uri)}
    complete = any(source.suite == suite for source in sources)
    return tuple(sorted(sources)) if complete else ()


def _family(codename: str) -> tuple[tuple[str, str], ...]:
    return (
        (codename, ""),
        (f"{codename}-updates", "-updates"),
        (f"{codename}-security", "-security"),
        (f"{codename}/updates", "-security"),
    )


def _mirrors(uri: str) -> tuple[str, ...]:
    """The address itself, or the first one that a `mirror+file:` list gives (apt-transport-mirror(1))."""
    if not uri.startswith("mirror+file:"):
        return (uri,)
    try:
        lines = Path(re.sub(r"^mirror\+file:/*", "/", uri).rstrip("/")).read_text().splitlines()
    except OSError:
        return (uri,)
    return tuple(line.split()[0] for line in lines if line.strip() and not line.startswith("#"))[:1]


def from_text(text: str) -> tuple[Source, ...]:
    """The sources of a text in apt's one-line form, in its deb822 form, or in both."""
    matches = (_ONE_LINE.match(line.strip()) for line in text.splitlines())
    found = {Source(uri=match[1], suite=match[2]) for match in matches if match}
    for stanza in stanzas(text):
        for uri in stanza.get("URIs", "").split():
            found |= {Source(uri=uri, suite=suite) for suite in stanza.get("Suites", "").split()}
    return tuple(sorted(found))
