"""What systemd is told of a package: the service and its socket, the user, the directories, the preset, and who may connect.

Sources: systemd.service(5), systemd.socket(5), systemd.exec(5), systemd.syntax(7), sysusers.d(5), tmpfiles.d(5),
systemd.preset(5).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nexus_oci.formats.package import LinuxPackage, ServiceUnit, SocketUnit

STATE_MODE = 0o750
RUNTIME_MODE = 0o755
"""Those who connect to a socket in there have to get past the directory."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
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
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX",
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
"""Not MemoryDenyWriteExecute: interpreters that compile at run time need it off. AF_NETLINK: servers that listen on all addresses
list them (getifaddrs), as Node's do."""


def service_unit(service: ServiceUnit, socket: SocketUnit | None = None) -> bytes:
    """The service: the definition's own unit, or one confined as far as a network server can be."""
    if service.unit is not None:
        return service.unit
    own = f"{socket.name}.socket" if socket else ""
    state, runtime = service.state_directory, service.runtime_directory
    sections = {
        "Unit": [
            f"Description={one_line(service.description).replace('%', '%%')}",
            f"Documentation={service.documentation}" if service.documentation else "",
            f"Requires={own}" if own else "",
            "Wants=network-online.target",
            " ".join(filter(None, ["After=network-online.target", own])),
        ],
        "Service": [
            f"Type={service.kind}",
            f"ExecStart={_command(service.command)}",
            f"User={service.user}",
            f"Group={service.user}",
            f"WorkingDirectory={service.working_directory}" if service.working_directory else "",
            *(f"Environment={_assignment(key, value)}" for key, value in sorted(service.environment.items())),
            f"Restart={service.restart}",
            f"RestartPreventExitStatus={' '.join(map(str, service.final_exits))}" if service.final_exits else "",
            "RestartSec=2s",
            *([f"StateDirectory={state}", f"StateDirectoryMode={STATE_MODE:04o}"] if state else []),
            *([f"RuntimeDirectory={runtime}", f"RuntimeDirectoryMode={RUNTIME_MODE:04o}"] if runtime else []),
            "RuntimeDirectoryPreserve=yes" if runtime and socket and _inside(socket, f"/run/{runtime}") else "",
            "UMask=0027",
            *_CONFINEMENT,
        ],
        "Install": ["WantedBy=multi-user.target", f"Also={own}" if own else ""],
    }  # fmt: skip
    return _unit(sections)


def socket_unit(socket: SocketUnit) -> bytes:
    """The socket that systemd opens, and keeps open while the service is started again."""
    if socket.unit is not None:
        return socket.unit
    paths = ["DirectoryMode=0755", f"SocketMode={socket.mode}", f"SocketUser={socket.user}", f"SocketGroup={socket.group}"]
    sections = {
        "Unit": [f"Description={one_line(socket.description).replace('%', '%%')}"],
        "Socket": [
            *(f"ListenStream={one.replace('%', '%%')}" for one in socket.listen),
            *(paths if socket.paths else []),
            "RemoveOnStop=yes" if socket.paths else "",
        ],
        "Install": ["WantedBy=sockets.target"],
    }
    return _unit(sections)


def sysusers(package: LinuxPackage) -> bytes:
    """The lines of sysusers.d(5) that make the package's user and its socket's group; empty where there is none."""
    lines = []
    if package.user:
        lines.append(f'u {package.user} - "{user_comment(package)}" /nonexistent /usr/sbin/nologin')
    group = socket_group(package)
    if group:
        lines.append(f"g {group} -")
    return _lines(lines)


def socket_group(package: LinuxPackage) -> str:
    """The group that has to be made for the socket: none where it is the user's own, or root."""
    group = package.socket.group if package.socket and package.socket.paths and package.socket.unit is None else ""
    return "" if group in ("root", package.user) else group


def user_comment(package: LinuxPackage) -> str:
    """The comment of the package's user, by which a removal knows that this package made it."""
    return f"{package.name} service"


def directories(package: LinuxPackage) -> Mapping[str, int]:
    """The directories that the service owns, with their modes."""
    service = package.service
    if service is None:
        return {}
    named = {f"/var/lib/{service.state_directory}": STATE_MODE} if service.state_directory else {}
    return named | ({f"/run/{service.runtime_directory}": RUNTIME_MODE} if service.runtime_directory else {})


def tmpfiles(package: LinuxPackage) -> bytes:
    """The lines of tmpfiles.d(5) for those directories; empty where there are none."""
    user = package.service.user if package.service else ""
    return _lines([f"d {path} {mode:04o} {user} {user} -" for path, mode in directories(package).items()])


def unit_names(package: LinuxPackage) -> tuple[str, ...]:
    """The package's units; the socket comes first, as it is started first and stopped first."""
    names = [f"{package.socket.name}.socket"] if package.socket else []
    return tuple([*names, f"{package.service.name}.service"] if package.service else names)


def preset(package: LinuxPackage) -> bytes:
    """The preset that turns the units on where a distribution would leave them off; empty without units."""
    return _lines([f"enable {name}" for name in unit_names(package)])


def socket_manifest(package: LinuxPackage) -> bytes:
    """Who may connect to what, as JSON, for those who set up proxies or audit a machine; empty without a socket.

    Where the definition brings its own unit, that unit's settings are told.
    """
    if package.socket is None:
        return b""
    socket = _as_written(package.socket)
    sockets = [_socket_entry(socket, one) for one in socket.listen]
    service = f"{package.service.name}.service" if package.service else None
    data = {"schema": 1, "package": package.name, "unit": f"{socket.name}.socket", "service": service, "sockets": sockets}
    return json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n"


def _socket_entry(socket: SocketUnit, listen: str) -> Mapping[str, str]:
    if not listen.startswith("/"):
        local = listen.startswith(("127.", "[::1]"))
        who_may = "every process on this machine" if local else "whoever reaches the port"
        return {"listen": listen, "type": "tcp", "may_connect": who_may}
    mode = int(socket.mode, 8)
    who = ["root"]
    if mode & 0o200 and socket.user != "root":
        who.append(f"the user {socket.user}")
    if mode & 0o020:
        who.append(f"members of the group {socket.group}")
    if mode & 0o002:
        who = ["every user of this machine"]
    facts = {"mode": f"{mode:04o}", "owner": socket.user, "group": socket.group}
    return {"listen": listen, "type": "unix", **facts, "may_connect": ", ".join(who)}


def _as_written(socket: SocketUnit) -> SocketUnit:
    """The values of a unit that the definition brings; what it does not say is systemd's default."""
    if socket.unit is None:
        return socket
    found: dict[str, list[str]] = {}
    for line in socket.unit.decode(errors="replace").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            found.setdefault(key.strip(), []).append(value.strip())

    def last(key: str, default: str) -> str:
        return found.get(key, [default])[-1] or default

    user = last("SocketUser", "root")
    return replace(
        socket, listen=tuple(filter(None, found.get("ListenStream", []))), mode=last("SocketMode", "0666"), user=user,
        group=last("SocketGroup", user),
    )  # fmt: skip


def _inside(socket: SocketUnit, folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in socket.paths)


def _unit(sections: Mapping[str, Sequence[str]]) -> bytes:
    text = "\n".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines if line) for name, lines in sections.items())
    return text.encode()


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


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


def one_line(text: str) -> str:
    """Text without control characters, and with single blanks."""
    return " ".join(_CONTROL.sub(" ", text).split())
