"""systemd's view of a package's units: whether they are sound, hardened, running, answering and gone again."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .report import Failure, Report, Skipped, listed, poll, run
from .tree import owner_of

FOLDERS = ("/usr/lib/systemd/system/", "/lib/systemd/system/", "/etc/systemd/system/")
_EXPOSURE = re.compile(r"Overall exposure level for \S+: ([\d.]+)")
_MOST_EXPOSED = 3.0
_ANSWER = 5.0
_STARTING = 30.0


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units that a package brings, by name."""

    services: tuple[str, ...]
    sockets: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Sockets, then services."""
        return self.sockets + self.services


def find_units(paths: Iterable[str]) -> Units:
    """The units among the paths of a package; templates (`name@.service`) are none."""
    names = sorted({path.rpartition("/")[2] for path in paths if path.startswith(FOLDERS) and path.count("/") <= 5})
    names = [name for name in names if "@." not in name]
    return Units(
        services=tuple(name for name in names if name.endswith(".service")),
        sockets=tuple(name for name in names if name.endswith(".socket")),
    )


def booted() -> None:
    """Wait until the machine has started; raises `Failure` where it does not."""
    poll(lambda: Path("/run/systemd/private").exists(), _STARTING)
    state = run("systemctl", "is-system-running", "--wait").text.strip()
    if state not in ("running", "degraded"):
        raise Failure(f"systemd is {state or 'not running'}")


def show(unit: str, name: str) -> str:
    """A property of a unit."""
    return run("systemctl", "show", "--property", name, "--value", unit).text.strip()


def main_pid(unit: str) -> str:
    """The process of a service; `0` where it does not run."""
    return show(unit, "MainPID")


def journal(unit: str, lines: int = 6) -> str:
    """The last things that a unit said."""
    return run("journalctl", "--no-pager", "--output", "cat", "--lines", str(lines), "--unit", unit).text.strip()


def must_run(unit: str) -> None:
    """Raise `Failure` unless the service runs, and still does when it has had time to fall over."""
    if not poll(lambda: show(unit, "ActiveState") in ("active", "failed")) or show(unit, "ActiveState") != "active":
        raise Failure(f"{unit} is {show(unit, 'ActiveState')} ({show(unit, 'Result')}): {journal(unit)}")
    pid, restarts = main_pid(unit), show(unit, "NRestarts")
    time.sleep(0.5)
    if (main_pid(unit), show(unit, "NRestarts")) != (pid, restarts) or show(unit, "ActiveState") != "active":
        raise Failure(f"{unit} does not stay up: {journal(unit)}")


def check_units(report: Report, units: Units, *, version: str, health: Sequence[str], emulated: bool) -> None:
    """Check everything about the units of a package that was just installed."""
    for unit in units.all:
        _check_definition(report, unit)
    for unit in units.sockets:
        with report.check("socket", f"{unit} listens"):
            if not poll(lambda unit=unit: show(unit, "ActiveState") == "active", 5):  # type: ignore[misc]
                raise Failure(f"{unit} is {show(unit, 'ActiveState')}: {journal(unit)}")
        for address in _listening(unit):
            with report.check("socket", f"{address} has the mode and owner that were declared"):
                _check_permissions(unit, address)
            with report.check("socket", f"{address} is answered"):
                answered(address)
    for unit in units.services:
        with report.check("service", f"{unit} is active", vital=True):
            must_run(unit)
        with report.check("service", f"{unit} runs as its user"):
            _check_user(unit)
    if units.services:
        _check_program(report, units.services[0], version=version, health=health, emulated=emulated)


def _check_definition(report: Report, unit: str) -> None:
    with report.check("unit", f"systemd-analyze verify {unit}"):
        done = run("systemd-analyze", "verify", "--man=no", unit)
        told = [line for line in done.text.splitlines() if unit in line]
        if done.code or told:
            raise Failure("; ".join(told) or done.last())
    if unit.endswith(".service"):
        with report.check("unit", f"systemd-analyze security {unit} is under {_MOST_EXPOSED:.0f}"):
            text = run("systemd-analyze", "security", "--no-pager", unit).text
            found = _EXPOSURE.search(text)
            if found is None:
                raise Failure(text.strip()[-200:])
            if float(found[1]) >= _MOST_EXPOSED:
                raise Failure(f"its exposure is {found[1]}")
    with report.check("unit", f"{unit} is enabled"):
        state = run("systemctl", "is-enabled", unit).text.strip()
        if state not in ("enabled", "static", "indirect"):
            raise Failure(f"it is {state}")


def _listening(unit: str) -> list[str]:
    """The addresses of a socket unit: paths, ports, HOST:PORT."""
    text = run("systemctl", "show", "--property", "Listen", unit).text
    return [line.partition("=")[2].rpartition(" (")[0] for line in text.splitlines() if line.startswith("Listen=")]


def _check_permissions(unit: str, address: str) -> None:
    """The socket's file against socket-permissions.json, where the package has one, and against its unit."""
    if not address.startswith("/"):
        raise Skipped("a port has neither mode nor owner")
    state = Path(address).stat()
    owner, group = owner_of(state)
    found = {"mode": f"{state.st_mode & 0o7777:04o}", "owner": owner, "group": group}
    declared = _declared(address)
    if declared is None:
        user, group = show(unit, "SocketUser") or "root", show(unit, "SocketGroup")
        declared = {"mode": show(unit, "SocketMode"), "owner": user, "group": group or "root"}
    listed(
        [f"its {key} is {found[key]}, not {declared[key]}" for key in found if key in declared and found[key] != declared[key]]
    )


def _declared(address: str) -> dict[str, str] | None:
    """What a package's socket permissions manifest says of a socket; modes as four digits."""
    for file in Path("/usr/share").glob("*/socket-permissions.json"):
        for item in json.loads(file.read_bytes()).get("sockets", ()):
            if item.get("path") == address:
                known = {key: str(item[key]) for key in ("mode", "owner", "group") if key in item}
                return {**known, "mode": known.get("mode", "").rjust(4, "0")} if "mode" in known else known
    return None


def answered(address: str) -> str:
    """The first line that comes back for an HTTP request; empty where the service keeps silent but holds the connection."""
    kind: str = "unix" if address.startswith("/") else "inet"
    if kind == "unix":
        end = socket.socket(socket.AF_UNIX)
        target: str | tuple[str, int] = address
    else:
        host, _, port = address.rpartition(":")
        end = socket.socket(socket.AF_INET)
        target = ("127.0.0.1" if host.strip("[]") in ("", "::", "0.0.0.0", "*") else host.strip("[]"), int(port))  # noqa: S104
    with end:
        end.settimeout(_ANSWER)
        try:
            end.connect(target)
            end.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            first = end.recv(200)
        except TimeoutError:
            return ""
        except OSError as error:
            raise Failure(f"nobody answers at {address}: {error.strerror}") from error
    if not first:
        raise Failure(f"the connection to {address} was closed without an answer")
    return first.split(b"\r\n")[0].decode(errors="replace")


def _check_user(unit: str) -> None:
    user = show(unit, "User") or "root"
    if user == "root":
        raise Failure("it runs as root")
    pid = main_pid(unit)
    owner, _ = owner_of(Path(f"/proc/{pid}").stat())
    if owner != user:
        raise Failure(f"process {pid} belongs to {owner}, not to {user}")


def command_of(unit: str) -> str:
    """The program that a service starts."""
    text = show(unit, "ExecStart")
    found = re.search(r"path=(\S+)", text)
    if found is None:
        raise Failure(f"{unit} starts nothing: {text}")
    return found[1]


def _check_program(report: Report, unit: str, *, version: str, health: Sequence[str], emulated: bool) -> None:
    with report.check("service", "the program says its version"):
        text = run(command_of(unit), "--version", timeout=60 if emulated else 20).must()
        if version and version not in text:
            raise Failure(f"it says {text.strip()!r}, and its version is {version}")
    if health:
        with report.check("service", "the health check succeeds"):
            if not poll(lambda: run(*health).code == 0, 15):
                raise Failure(run(*health).last() or f"{' '.join(health)} fails")


def must_be_gone(unit: str) -> None:
    """Raise `Failure` where a unit still runs, or can still be started."""
    if not poll(lambda: show(unit, "ActiveState") in ("inactive", "failed", ""), 10):
        raise Failure(f"{unit} is still {show(unit, 'ActiveState')}")
    state = show(unit, "LoadState")
    if state not in ("not-found", "masked"):
        raise Failure(f"systemd still knows {unit}: it is {state}")


def users_of(texts: Iterable[str]) -> list[str]:
    """The users that sysusers.d files declare."""
    return [
        words[1] for text in texts for line in text.splitlines() if len(words := line.split()) > 1 and words[0] in ("u", "u!")
    ]


def check_tmpfiles(texts: Iterable[str]) -> list[str]:
    """What is wrong with the directories that tmpfiles.d files declare."""
    wrong = []
    for text in texts:
        for line in text.splitlines():
            words = line.split()
            if len(words) < 2 or words[0].rstrip("!+=~^-") not in ("d", "D"):
                continue
            path = Path(words[1])
            if not path.is_dir():
                wrong.append(f"{path} is missing")
                continue
            state = path.stat()
            owner, group = owner_of(state)
            wanted = dict(zip(("mode", "owner", "group"), words[2:5], strict=False))
            found = {"mode": f"{state.st_mode & 0o7777:04o}", "owner": owner, "group": group}
            for key, value in wanted.items():
                if value != "-" and value.lstrip(":~").rjust(4, "0" if key == "mode" else " ").strip() != found[key]:
                    wrong.append(f"{path} has {key} {found[key]}, not {value}")
    return wrong
