"""The life of a package that has a manager: the same questions to each, put to dpkg, rpm or pacman."""

from __future__ import annotations

import pwd
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from .report import Done, Failure, Report, Skipped, listed, run
from .subject import Subject
from .tree import Entry, changes, differences, read_manifest, snapshot
from .units import (
    Units,
    booted,
    check_tmpfiles,
    check_units,
    find_units,
    journal,
    main_pid,
    must_be_gone,
    must_run,
    show,
    users_of,
)

_EDIT = b"\n\n"
"""What an administrator adds to a configuration file here: harmless in every format, and not what the following package adds."""


class PackageManager(ABC):
    """What a package manager is asked to do, and where it differs from the others."""

    written: ClassVar[Sequence[str]]
    """Expressions of the paths that it, systemd and triggers write for themselves."""

    @abstractmethod
    def entries(self, file: str) -> list[Entry]:
        """The files of a package as it records them."""

    @abstractmethod
    def name_of(self, file: str) -> str:
        """The name of the package in a file."""

    @abstractmethod
    def version_of(self, file: str) -> str:
        """The version of the package in a file."""

    @abstractmethod
    def installed(self, name: str) -> str:
        """The installed version; empty where it is not installed."""

    @abstractmethod
    def prepare(self, report: Report) -> None:
        """What has to be done or checked before the first installation."""

    @abstractmethod
    def install(self, file: str) -> Done:
        """Install a package that is not there."""

    @abstractmethod
    def upgrade(self, file: str) -> Done:
        """Go to a newer version."""

    @abstractmethod
    def downgrade(self, file: str) -> Done:
        """Go to an older version."""

    @abstractmethod
    def remove(self, name: str) -> Done:
        """Remove it."""

    def purge(self, name: str) -> Done | None:  # noqa: ARG002  most managers know no such thing
        """Remove what a removal leaves; nothing where removing is all there is."""
        return None

    @abstractmethod
    def verify(self, name: str, edited: set[str]) -> None:
        """Let the manager compare what is installed with its database; raises `Failure`."""

    @abstractmethod
    def offered(self, path: str) -> str:
        """Where the new version of an edited configuration file is put."""

    def place(self, path: str) -> str:
        """Where a path of the definition is on this machine."""
        return path

    def kept(self, path: str) -> str:
        """Where an edited configuration file is after the removal."""
        return path

    def start(self, units: Units) -> None:  # noqa: B027  most packages start what they bring
        """What an administrator does after the installation, where the format's packages start nothing by themselves."""

    @abstractmethod
    def check_lint(self, report: Report) -> None:
        """What its linter says."""


@dataclass
class Lifecycle:
    """One package on one machine."""

    report: Report
    subject: Subject
    manager: PackageManager
    name: str = ""
    entries: list[Entry] = field(default_factory=list)
    units: Units = field(default_factory=lambda: Units(services=(), sockets=()))
    before: dict[str, tuple[object, ...]] = field(default_factory=dict)
    edited: dict[str, bytes] = field(default_factory=dict)
    stopped: str = ""
    state: list[str] = field(default_factory=list)

    def run(self) -> None:
        """From the first look to the last trace."""
        self.report.sequence(
            [
                ("install", self._install),
                ("files", self._files),
                ("service", self._service),
                *self._changes(),
                ("remove", self._remove),
                ("purge", self._purge),
            ]
        )
        self.manager.check_lint(self.report)

    def _install(self) -> None:
        with self.report.check("install", "the machine has started with systemd", vital=True):
            booted()
        self.before = snapshot()
        with self.report.check("install", "the package can be read", vital=True):
            self.name = self.manager.name_of(self.subject.file)
            self.entries = self.manager.entries(self.subject.file)
            self.units = find_units(entry.path for entry in self.entries)
        if self.report.goes_on():
            self.manager.prepare(self.report)
        if not self.report.goes_on():
            return
        with self.report.check("install", "the package manager installs it", vital=True):
            self.manager.install(self.subject.file).must()
            version = self.manager.version_of(self.subject.file)
            if self.manager.installed(self.name) != version:
                raise Failure(f"{self.manager.installed(self.name) or 'nothing'} is installed, and it is {version}")

    def _files(self) -> None:
        self.stopped = self.subject.cannot_run(Path(entry.path) for entry in self.entries)
        self.state = [name for unit in self.units.services for name in show(unit, "StateDirectory").split()]
        with self.report.check("files", "what the definition promises is there"):
            there = [entry.path for entry in self.entries]
            wanted = [self.manager.place(path) for path in self.subject.expected]
            missing = [path for path in wanted if not _has(there, path)]
            listed([f"{path} is not in the package" for path in missing])
        with self.report.check("files", "the package manager finds every file as it was packed"):
            self.manager.verify(self.name, set())
        with self.report.check("files", "owner, mode and content of each file are the package's"):
            listed(differences(self.entries, present=self.before))
        with self.report.check("files", "owner, mode and content of each file are those of its manifest.json"):
            self._manifest()
        with self.report.check("files", "the checksums that the package carries are right"):
            self._checksums()
        with self.report.check("files", "its users exist"):
            self._users()
        with self.report.check("files", "its directories exist"):
            files = [
                entry.path for entry in self.entries if Path(entry.path).parent.name == "tmpfiles.d" and entry.kind == "file"
            ]
            wrong = check_tmpfiles(Path(path).read_text() for path in files if Path(path).is_file())
            # systemd takes a service's directory below /run away again when the service cannot run.
            listed([line for line in wrong if not (self.stopped and line.startswith("/run/"))])
        with self.report.check("files", "the shells can read its completions"):
            shell = [e.path for e in self.entries if e.path.startswith("/usr/share/bash-completion/") and e.kind == "file"]
            for path in shell:
                run("bash", "-n", path).must()

    def _manifest(self) -> None:
        manifests = [entry.path for entry in self.entries if entry.path == f"/usr/share/{self.name}/manifest.json"]
        if not manifests:
            raise Skipped("it carries none")
        for path in manifests:
            absolute = [replace(entry, path="/" + entry.path.lstrip("/")) for entry in read_manifest(Path(path))]
            listed(differences(absolute, present=self.before))

    def _checksums(self) -> None:
        sums = [entry.path for entry in self.entries if entry.path.endswith("/SHA256SUMS")]
        if not sums:
            raise Skipped("it carries none")
        for path in sums:
            name = Path(path).read_text().partition("\n")[0].partition("  ")[2]
            folder = Path(path).parent if (Path(path).parent / name).exists() else Path("/")
            run("sha256sum", "--check", "--quiet", "--strict", path, folder=str(folder)).must()

    def _users(self) -> None:
        users = users_of(self._texts("sysusers.d"))
        if self.subject.user and self.subject.user not in users:
            users.append(self.subject.user)
        known = {entry.pw_name for entry in pwd.getpwall()}
        listed([f"there is no user {user}" for user in users if user not in known])

    def _texts(self, folder: str) -> list[str]:
        """The installed files of the package whose folder has that name."""
        paths = (Path(entry.path) for entry in self.entries if entry.kind == "file")
        return [path.read_text() for path in paths if path.parent.name == folder and path.is_file()]

    def _service(self) -> None:
        with self.report.check("service", "its units are there"):
            wanted = [unit for unit in (self.subject.service, self.subject.socket) if unit]
            listed([f"{unit} is not in the package" for unit in wanted if unit not in self.units.all])
        if self.stopped:
            self.report.say("service", "the service runs", "skipped", self.stopped)
            return
        self.manager.start(self.units)
        check_units(
            self.report,
            self.units,
            version=self.subject.version,
            health=self.subject.health,
            emulated=bool(self.subject.foreign),
        )
        # A service that does not run has been told of; the rest of the package's life can be looked at all the same.
        self.report.blocked = ""

    def _changes(self) -> list[tuple[str, Callable[[], None]]]:
        """To another version and back; from a former one the second step is the upgrade."""
        subject = self.subject
        if subject.preceding:
            return [
                ("downgrade", lambda: self._change("downgrade", self.manager.downgrade, subject.preceding)),
                ("upgrade", lambda: self._change("upgrade", self.manager.upgrade, subject.file)),
            ]
        if subject.following:
            return [
                ("upgrade", lambda: self._change("upgrade", self.manager.upgrade, subject.following)),
                ("downgrade", lambda: self._change("downgrade", self.manager.downgrade, subject.file)),
            ]
        return [
            ("upgrade", lambda: self.report.say("upgrade", "another version takes its place", "skipped", subject.no_following))
        ]

    def _change(self, group: str, change: Callable[[str], Done], file: str) -> None:
        if not self.edited:
            self._edit()
        pids = self._pids()
        with self.report.check(group, "another version takes its place", vital=True):
            change(file).must()
            self._must_be_installed(file)
        if not self.report.goes_on():
            return
        self._after_change(group, pids)
        if file != self.subject.following:
            return
        with self.report.check(group, "the new configuration is beside the edited one"):
            if not self.edited:
                raise Skipped("it has no configuration files")
            offered = [self.manager.offered(path) for path in self.edited]
            listed([f"{path} is missing" for path in offered if not Path(path).is_file()])

    def _must_be_installed(self, file: str) -> None:
        version = self.manager.version_of(file)
        if self.manager.installed(self.name) != version:
            raise Failure(f"{self.manager.installed(self.name) or 'nothing'} is installed, and not {version}")

    def _edit(self) -> None:
        for entry in self.entries:
            if entry.config and entry.kind == "file":
                path = Path(entry.path)
                with path.open("ab") as file:
                    file.write(_EDIT)
                self.edited[entry.path] = path.read_bytes()

    def _pids(self) -> dict[str, str]:
        return {unit: main_pid(unit) for unit in self.units.services}

    def _after_change(self, group: str, pids: dict[str, str]) -> None:
        with self.report.check(group, "edited configuration is kept"):
            self._must_be_kept(self.edited)
        with self.report.check(group, "the package manager finds every file as it was packed"):
            self.manager.verify(self.name, set(self.edited))
        if self.stopped:
            return
        for unit, pid in pids.items():
            with self.report.check(group, f"{unit} was restarted and runs"):
                must_run(unit)
                if main_pid(unit) == pid:
                    raise Failure(f"it is still process {pid}: {journal(unit)}")

    def _must_be_kept(self, wanted: dict[str, bytes]) -> None:
        if not self.edited:
            raise Skipped("it has no configuration files" if self.subject.following else "none was edited")
        gone = [f"{path} is gone" for path in wanted if not Path(path).is_file()]
        changed = [path for path, data in wanted.items() if Path(path).is_file() and Path(path).read_bytes() != data]
        listed([*gone, *(f"{path} was overwritten" for path in changed)])

    def _remove(self) -> None:
        with self.report.check("remove", "the package manager removes it", vital=True):
            self.manager.remove(self.name).must()
            if self.manager.installed(self.name):
                raise Failure("it is still installed")
        for unit in self.units.all:
            with self.report.check("remove", f"{unit} was stopped and is gone"):
                must_be_gone(unit)
        with self.report.check("remove", "its files are gone"):
            files = [entry.path for entry in self.entries if entry.kind != "directory"]
            kept = {self.manager.kept(path) for path in self.edited}
            if not self.edited:
                kept = {entry.path for entry in self.entries if entry.config}
            listed([f"{path} is still there" for path in files if path not in kept and Path(path).exists()])
        with self.report.check("remove", "edited configuration is kept"):
            self._must_be_kept({self.manager.kept(path): data for path, data in self.edited.items()})

    def _purge(self) -> None:
        done = self.manager.purge(self.name)
        if done is not None:
            with self.report.check("purge", "the package manager purges it", vital=True):
                done.must()
        else:
            self._remove_kept()
        with self.report.check("purge", "nothing is left of it"):
            state = [f"/var/(lib|cache|log)/(private/)?{re.escape(name)}(/.*)?" for name in self.state] if done is None else []
            listed(changes(self.before, (*self.manager.written, *state)))

    def _remove_kept(self) -> None:
        """What an administrator does who wants the configuration gone too, where the package manager has no word for it."""
        folders = {entry.path for entry in self.entries if entry.kind == "directory"}
        for path in self.edited:
            for name in {self.manager.kept(path), self.manager.offered(path), f"{path}.rpmsave"}:
                Path(name).unlink(missing_ok=True)
            folder = Path(path).parent
            while str(folder) in folders and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent


def _has(paths: Sequence[str], wanted: str) -> bool:
    """Whether a path is among those of a package, or something below it."""
    return any(path == wanted or path.startswith(f"{wanted}/") for path in paths)
