"""Linux packages: the description that nfpm reads, the systemd unit and user, and the maintainer scripts of a deb.

Sources: Debian Policy (chapters 6, 9.2, 10.7), systemd.unit(5), systemd.exec(5), sysusers.d(5), nfpm's configuration reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nexus_oci.errors import DefinitionError

DEBIAN_ARCHITECTURES = {
    "amd64": "amd64",
    "arm64": "arm64",
    "arm": "armhf",
    "386": "i386",
    "ppc64le": "ppc64el",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""OCI's name of an architecture → Debian's."""


@dataclass(frozen=True, kw_only=True)
class ServiceUnit:
    """A systemd service to be generated."""

    name: str
    description: str
    documentation: str
    command: tuple[str, ...]
    user: str
    restart: str
    state_directory: str
    runtime_directory: str
    working_directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LinuxPackage:
    """What a package says about itself. `config_files` are absolute paths that an upgrade must not overwrite."""

    name: str
    version: str
    architecture: str
    maintainer: str
    description: str
    vendor: str
    homepage: str
    licence: str
    section: str
    priority: str
    depends: tuple[str, ...]
    config_files: tuple[str, ...]
    user: str
    service: ServiceUnit | None
    epoch: int

    @property
    def debian_version(self) -> str:
        """The version as dpkg orders it: a pre-release sorts before its release (`1.0.0~rc.1`), build metadata after (`+5`)."""
        return debian_version(self.version)

    @property
    def deb_file(self) -> str:
        """The customary name of the deb."""
        architecture = DEBIAN_ARCHITECTURES.get(self.architecture, self.architecture)
        return f"{self.name}_{self.debian_version}_{architecture}.deb"


def debian_version(version: str) -> str:
    """A semantic version in Debian's form (deb-version(7)): `-` of a pre-release becomes `~`, and inner hyphens become dots."""
    core, plus, build = version.partition("+")
    number, dash, pre = core.partition("-")
    text = number + ("~" + pre.replace("-", ".") if dash else "")
    return text + ("+" + build.replace("-", ".") if plus else "")


def nfpm_configuration(package: LinuxPackage, tree: str) -> bytes:
    """nfpm's configuration (JSON, which is YAML) for a staged tree at `tree` inside the stage.

    Configuration files are expected beside the tree at `TREE.config`, since nfpm refuses a path named twice. As nfpm puts
    variables of its environment into texts, a dollar sign is written as the variable `DOLLAR`, which has to hold one. Raises
    `DefinitionError` where a package would lack what every package must have.
    """
    if not package.maintainer:
        raise DefinitionError(
            "a deb needs a maintainer",
            why="Debian Policy 5.6.2 asks for one",
            hint="set `engine.maintainer: Name <mail@example.com>` in images/nexus.yaml",
        )
    scripts = {"postinstall": "postinst", "preremove": "prerm", "postremove": "postrm"} if package.user else {}
    data: dict[str, Any] = {
        "name": package.name,
        "arch": DEBIAN_ARCHITECTURES.get(package.architecture, package.architecture),
        "platform": "linux",
        "version": package.debian_version,
        "version_schema": "none",
        "section": package.section,
        "priority": package.priority,
        "maintainer": _literal(package.maintainer),
        "description": "\n".join(map(_literal, package.description.strip().splitlines())),
        "vendor": _literal(package.vendor),
        "homepage": _literal(package.homepage),
        "license": _literal(package.licence),
        "depends": list(package.depends),
        "contents": [
            {"src": tree, "dst": "/", "type": "tree"},
            *({"src": f"{tree}.config{path}", "dst": path, "type": "config"} for path in package.config_files),
        ],
        "disable_globbing": True,
        "scripts": scripts,
        "deb": {"compression": "xz"},
    }
    return json.dumps({key: value for key, value in data.items() if value}, indent=1, sort_keys=True).encode() + b"\n"


def staged_files(package: LinuxPackage) -> dict[str, bytes]:
    """Generated files by their installed path (without the leading slash): unit, user, copyright."""
    files: dict[str, bytes] = {f"usr/share/doc/{package.name}/copyright": copyright_file(package).encode()}
    if package.user:
        line = f'u {package.user} - "{_comment(package)}" /nonexistent /usr/sbin/nologin\n'
        files[f"usr/lib/sysusers.d/{package.name}.conf"] = line.encode()
    if package.service:
        files[f"usr/lib/systemd/system/{package.service.name}.service"] = unit_file(package.service).encode()
    return files


def copyright_file(package: LinuxPackage) -> str:
    """The machine-readable copyright file (Debian's copyright-format 1.0)."""
    lines = ["Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/", f"Upstream-Name: {package.name}"]
    if package.homepage:
        lines.append(f"Source: {package.homepage}")
    owner = _one_line(package.vendor or package.maintainer)
    lines += ["", "Files: *", f"Copyright: {owner}", f"License: {package.licence or 'unspecified'}"]
    if "Apache-2.0" in package.licence:
        lines += [" On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0."]
    return "\n".join(lines) + "\n"


def unit_file(service: ServiceUnit) -> str:
    """A service unit, confined as far as a network server can be."""
    sections = {
        "Unit": [
            f"Description={_one_line(service.description).replace('%', '%%')}",
            f"Documentation={service.documentation}" if service.documentation else "",
            "After=network-online.target",
            "Wants=network-online.target",
        ],
        "Service": [
            "Type=exec",
            f"ExecStart={_command(service.command)}",
            f"User={service.user}",
            f"Group={service.user}",
            f"WorkingDirectory={service.working_directory}" if service.working_directory else "",
            *(f"Environment={_assignment(key, value)}" for key, value in sorted(service.environment.items())),
            f"Restart={service.restart}",
            "RestartSec=2s",
            f"StateDirectory={service.state_directory}" if service.state_directory else "",
            f"RuntimeDirectory={service.runtime_directory}" if service.runtime_directory else "",
            "UMask=0027",
            *_CONFINEMENT,
        ],
        "Install": ["WantedBy=multi-user.target"],
    }
    return "\n".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines if line) for name, lines in sections.items())


_CONFINEMENT = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateUsers=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RemoveIPC=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
)


def maintainer_scripts(package: LinuxPackage) -> Mapping[str, bytes]:
    """postinst, prerm and postrm (Debian Policy 6) of a package with a user; its service is enabled, started, and forgotten."""
    if not package.user:
        return {}
    unit = f"{package.service.name}.service" if package.service else ""
    state = package.service.state_directory if package.service else ""
    values = {"USER": package.user, "COMMENT": _comment(package), "NAME": package.name, "UNIT": unit, "STATE": state}
    bodies = {"postinst": [_MAKE_USER], "prerm": [], "postrm": []}
    if unit:
        bodies["postinst"].append(_START)
        bodies["prerm"].append(_STOP)
        bodies["postrm"].append(_FORGET)
    bodies["postrm"] += [_PURGE_STATE, _PURGE_USER] if state else [_PURGE_USER]
    return {name: _script(parts, values) for name, parts in bodies.items()}


def _script(parts: Sequence[str], values: Mapping[str, str]) -> bytes:
    text = "\n".join(parts)
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return f"#!/bin/sh\nset -e\n\n{text}\nexit 0\n".encode()


_MAKE_USER = """\
if [ "$1" = configure ]; then
    if command -v systemd-sysusers >/dev/null 2>&1; then
        systemd-sysusers @NAME@.conf
    elif ! getent passwd @USER@ >/dev/null 2>&1; then
        getent group @USER@ >/dev/null 2>&1 || groupadd --system @USER@
        useradd --system --gid @USER@ --comment "@COMMENT@" --home-dir /nonexistent --no-create-home \\
            --shell /usr/sbin/nologin @USER@
    fi
fi
"""
_START = """\
if [ "$1" = configure ] || [ "$1" = abort-upgrade ] || [ "$1" = abort-deconfigure ] || [ "$1" = abort-remove ]; then
    if command -v deb-systemd-helper >/dev/null 2>&1; then
        deb-systemd-helper unmask @UNIT@ >/dev/null || true
        if deb-systemd-helper --quiet was-enabled @UNIT@; then
            deb-systemd-helper enable @UNIT@ >/dev/null || true
        else
            deb-systemd-helper update-state @UNIT@ >/dev/null || true
        fi
    fi
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then action=restart; else action=start; fi
        deb-systemd-invoke $action @UNIT@ >/dev/null || true
    fi
fi
"""
_STOP = """\
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop @UNIT@ >/dev/null || true
fi
"""
_FORGET = """\
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if command -v deb-systemd-helper >/dev/null 2>&1; then
    if [ "$1" = remove ]; then
        deb-systemd-helper mask @UNIT@ >/dev/null || true
    elif [ "$1" = purge ]; then
        deb-systemd-helper purge @UNIT@ >/dev/null || true
        deb-systemd-helper unmask @UNIT@ >/dev/null || true
    fi
fi
"""
_PURGE_STATE = """\
if [ "$1" = purge ]; then
    rm -rf "/var/lib/@STATE@"
fi
"""
_PURGE_USER = """\
if [ "$1" = purge ]; then
    # Only a user that this package made carries its comment; one that was there before it stays.
    if [ "$(getent passwd @USER@ | cut -d: -f5)" = "@COMMENT@" ]; then
        userdel @USER@ >/dev/null 2>&1 || true
        if getent group @USER@ >/dev/null 2>&1; then groupdel @USER@ >/dev/null 2>&1 || true; fi
    fi
fi
"""


def _comment(package: LinuxPackage) -> str:
    """The comment of the service's user, by which a purge knows that this package made it."""
    return f"{package.name} service"


def _command(words: Sequence[str]) -> str:
    """A command line for ExecStart: `%` and `$` doubled, words with blanks or quotes quoted, control characters escaped
    (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").
    """
    quoted = []
    for word in words:
        text = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
        text = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
        quoted.append(f'"{text}"' if re.search(r"[\s\"';\\]", text) or not text else text)
    return " ".join(quoted)


def _assignment(key: str, value: str) -> str:
    """A variable for Environment, where `$` means nothing (systemd.exec(5), "Environment")."""
    return _command([f"{key}={value}"]).replace("$$", "$")


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())


def _literal(text: str) -> str:
    """One line of text that nfpm leaves as it is."""
    return _one_line(text).replace("$", "${DOLLAR}")
