"""A private apt: its own sources, lists, cache and status, and the host's configuration for all about the network.

It never reads or changes what the host has installed, and needs no privileges. Proxies, certificate authorities and
credentials are the host's, because apt reads the host's apt.conf and auth.conf before the private configuration.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path

from nexus_oci.bases.commands import Finished, need_space, no_space, require, run
from nexus_oci.errors import LockError, UnreachableError, VerificationError

_INST = re.compile(r"Inst (\S+?)(?::\S+)? (?:\[[^\]]*\] )?\((\S+) .*\[(\S+)\]\)")
_LISTS_SIZE = 200_000_000
"""Bytes that a suite's lists and apt's caches of them take, generously. apt hangs where they do not fit."""

_HOOKS = (
    "APT::Update::Pre-Invoke",
    "APT::Update::Post-Invoke",
    "APT::Update::Post-Invoke-Success",
    "DPkg::Pre-Invoke",
    "DPkg::Post-Invoke",
    "DPkg::Pre-Install-Pkgs",
)
"""What a host may run around apt: it is meant for the host's own packages, never for a private root."""


@dataclass(frozen=True, kw_only=True, order=True)
class Source:
    """One suite of one archive; `keyrings` are the files its signature is checked with (none: the host's own)."""

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)
    keyrings: tuple[str, ...] = ()

    def stanza(self) -> str:
        """The source in apt's deb822 form (sources.list(5))."""
        lines = [
            "Types: deb",
            f"URIs: {self.uri}",
            f"Suites: {self.suite}",
            f"Components: {' '.join(self.components)}",
            "Targets: Packages",
        ]
        if self.keyrings:
            lines.append(f"Signed-By: {' '.join(self.keyrings)}")
        return "\n".join(lines) + "\n"


class PrivateApt:
    """apt for one architecture with its state under `directory`, which is kept so that a later update is cheap."""

    def __init__(self, directory: Path, architecture: str, *, host_sources: bool = False) -> None:
        """`host_sources` takes packages from where the host takes them, in the place of `set_sources`."""
        require("apt-get", "apt-cache", purpose="choose Debian packages")
        self.directory = directory
        self.architecture = architecture
        self._host_sources = host_sources
        self.configuration = directory / "apt.conf"
        for part in ("sources.list.d", "preferences.d", "lists/partial", "archives/partial", "log"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        self.set_status(())
        self.configuration.write_text(self._configuration())

    def _configuration(self) -> str:
        here = self.directory
        values: dict[str, object] = {
            "APT::Architecture": self.architecture,
            "APT::Install-Recommends": "false",
            "APT::Install-Suggests": "false",
            "APT::Sandbox::User": "root",
            "APT::Get::Assume-Yes": "true",
            "Acquire::Languages": "none",
            "Acquire::PDiffs": "false",
            "Acquire::GzipIndexes": "false",
            "Acquire::Retries": "3",
            "Dir::State": here,
            "Dir::State::lists": here / "lists",
            "Dir::State::status": here / "status",
            "Dir::State::extended_states": here / "extended_states",
            "Dir::Cache": here,
            "Dir::Cache::archives": here / "archives",
            "Dir::Cache::pkgcache": here / "pkgcache.bin",
            "Dir::Cache::srcpkgcache": here / "srcpkgcache.bin",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": here / "preferences.d",
            "Dir::Log": here / "log",
        }
        if not self._host_sources:
            values |= {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": here / "sources.list.d"}
        cleared = "".join(f"#clear {name};\n" for name in ("APT::Architectures", "APT::Default-Release", *_HOOKS))
        lines = "".join(f'{name} "{value}";\n' for name, value in values.items())
        return f'{cleared}{lines}APT::Architectures {{ "{self.architecture}"; }};\n'

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time in this root."""
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def set_sources(self, sources: Sequence[Source]) -> None:
        """What to take packages from."""
        text = "\n".join(source.stanza() for source in sources)
        (self.directory / "sources.list.d" / "base.sources").write_text(text)

    def set_status(self, stanzas: Sequence[str]) -> None:
        """What apt takes for installed (deb-control stanzas, as in dpkg's status file)."""
        (self.directory / "status").write_text("\n".join(stanzas))

    def run(self, program: str, *arguments: str) -> Finished:
        """Run an apt program in this root."""
        return run([program, "-c", self.configuration, *arguments], scratch=self.directory)

    def update(self) -> None:
        """Fetch the signed indexes; raises with apt's own last lines.

        `UnreachableError` for the network, `VerificationError` for a signature, `LockError` for a suite that is not
        there, `BuildError` for a disk that is too full.
        """
        need_space(self.directory, _LISTS_SIZE, "fetching package lists")
        done = self.run("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")
        if not done.code:
            return
        if done.disk_full:
            raise no_space("fetching package lists", done.disk_full)
        if "does not have a Release file" in done.errors and " 404 " in done.output:
            raise LockError(
                "the package archive does not have the suite that a base asks for",
                why=done.last_lines(3),
                hint="check the base's `suite`",
            )
        if "GPG error" in done.errors or "is not signed" in done.errors:
            raise VerificationError(
                "the signature of the package archive is not valid",
                why=done.last_lines(),
                hint="update the package debian-archive-keyring on this machine",
            )
        raise UnreachableError(
            "the package archive cannot be reached",
            why=done.last_lines(),
            hint="check the network, the proxy and the mirror in apt's configuration (`apt-get update` must work)",
        )

    def released(self) -> int:
        """The newest date of the fetched Release files, in seconds since 1970; 0 where there are none."""
        dates = [0]
        for path in (self.directory / "lists").glob("*Release"):
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith("Date:"):
                    date = parsedate_to_datetime(line.partition(":")[2].strip())
                    dates.append(int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()))
                    break
        return max(dates)

    def candidates(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """The control fields of the version that would be installed of each name; unknown names are left out."""
        if not names:
            return {}
        done = self.run("apt-cache", "show", "--no-all-versions", *names)
        return {stanza["Package"]: stanza for stanza in stanzas(done.output)}

    def versions(self, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
        """The control fields of exact versions, by name and version."""
        done = self.run("apt-cache", "show", *(f"{name}={version}" for name, version in wanted))
        return {(stanza["Package"], stanza["Version"]): stanza for stanza in stanzas(done.output)}

    def closure(self, names: Sequence[str], origin: str) -> tuple[tuple[str, str], ...]:
        """Name and version of everything that installing `names` would bring.

        Raises `LockError` that names `origin` and gives apt's explanation where that cannot be installed.
        """
        done = self.run("apt-get", "install", "--simulate", "-q", "--no-remove", *names)
        if done.code:
            lines = [line.strip() for line in done.output.splitlines() if " : " in line or line.startswith("  ")]
            raise LockError(
                f"{origin} cannot be installed as it is defined",
                why="\n       ".join(lines[-6:]) or done.last_lines(),
                hint="change its `packages` or `exclude`",
            )
        return tuple(sorted((match[1], match[2]) for match in map(_INST.match, done.output.splitlines()) if match))


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a deb822 text (deb822(5)), as field to value; continuation lines keep their line breaks."""
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t") and name:
                fields[name] += f"\n{line.strip()}"
            elif ":" in line and not line.startswith("#"):
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields
