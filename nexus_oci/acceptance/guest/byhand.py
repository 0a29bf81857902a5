"""Packages whose manager cannot be had: read by what their format says, and laid out by hand, with their scripts in its order."""

from __future__ import annotations

import hashlib
import io
import tarfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .lifecycle import PackageManager
from .report import Done, Failure, Report, Skipped, run
from .subject import Subject
from .tree import Entry, read_tar
from .units import Units

_SCRIPTS = Path("/opt/acceptance/scripts")
_DATABASE = Path("/opt/acceptance/installed")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a package consists of: its fields, its scripts by name, its data as a tar, and its configuration files."""

    name: str
    version: str
    fields: Mapping[str, Sequence[str]]
    scripts: Mapping[str, bytes]
    data: bytes
    config: frozenset[str]


class ByHand(PackageManager):
    """A package manager that is played. The subclasses know the format and the order in which its manager calls scripts."""

    written = (
        r"/var/lib/(systemd|private)(/.*)?",
        r"/var/log/.*",
        r"/var/cache/(ldconfig|man)(/.*)?",
        r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?",
        r"/etc/\.pwd\.lock|/etc/ld\.so\.cache|/etc/machine-id",
        r"/etc/systemd/system/[^/]+\.target\.wants",
    )
    suffix = ""
    """What the manager adds to the name of new configuration beside an edited file."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._read: dict[str, Contents] = {}
        self._now: Contents | None = None
        self._packed: dict[str, str] = {}

    @abstractmethod
    def read(self, file: str) -> Contents:
        """Take a package apart; raises `Failure` where it is not as the format has it."""

    @abstractmethod
    def around(self, old: Contents | None, new: Contents | None) -> tuple[list[tuple[Contents, str, list[str]]], ...]:
        """The scripts (whose, name, arguments) before and after the files change from `old`, if any, to `new`, if any."""

    def contents(self, file: str) -> Contents:
        """The package in a file, read once."""
        if file not in self._read:
            self._read[file] = self.read(file)
        return self._read[file]

    def entries(self, file: str) -> list[Entry]:
        """The files of its data."""
        contents = self.contents(file)
        found = read_tar(io.BytesIO(contents.data))
        return [Entry(**{**entry.__dict__, "config": entry.path in contents.config}) for entry in found]

    def name_of(self, file: str) -> str:
        """The name in its fields."""
        return self.contents(file).name

    def version_of(self, file: str) -> str:
        """The version in its fields."""
        return self.contents(file).version

    def installed(self, name: str) -> str:
        """What was laid out last."""
        return self._now.version if self._now and self._now.name == name else ""

    def prepare(self, report: Report) -> None:
        """The dependencies are names of packages, which are only shown, since nobody can tell what they are there."""
        with report.check("install", "its structure is what the format asks for", vital=True):
            self.contents(self.subject.file)

    def install(self, file: str) -> Done:
        """Lay out the files between the scripts."""
        return self._change(self.contents(file))

    upgrade = install
    downgrade = install

    def remove(self, name: str) -> Done:  # noqa: ARG002  there is one package only
        """Take the files away between the scripts."""
        return self._change(None)

    def _change(self, new: Contents | None) -> Done:
        old = self._now
        before, after = self.around(old, new)
        for step in before:
            self._script(*step)
        if new:
            self._lay_out(new)
        self._take_away(old, new)
        for step in after:
            self._script(*step)
        self._now = new
        return Done(argv=("laid out by hand",), code=0, text="")

    @staticmethod
    def _script(owner: Contents, name: str, arguments: list[str]) -> None:
        if name not in owner.scripts:
            return
        _SCRIPTS.mkdir(exist_ok=True)
        path = _SCRIPTS / name.lstrip(".")
        path.write_bytes(owner.scripts[name])
        path.chmod(0o755)
        run(str(path), *arguments).must()

    def _lay_out(self, new: Contents) -> None:
        """Unpack the data; an edited configuration file stays, and the new one is put beside it."""
        with tarfile.open(fileobj=io.BytesIO(new.data)) as archive:
            for member in archive:
                path = "/" + member.name.removeprefix("./").strip("/")
                if path == "/" or (member.isdir() and Path(path).is_dir()):
                    continue
                target = path
                if path in new.config and Path(path).exists() and _digest(Path(path).read_bytes()) != self._packed.get(path):
                    target = path + self.suffix
                Path(target).unlink(missing_ok=True)
                member.name = target.lstrip("/")
                archive.extract(member, "/", filter="fully_trusted")
                if path in new.config and (content := archive.extractfile(member)):
                    self._packed[path] = _digest(content.read())

    def _take_away(self, old: Contents | None, new: Contents | None) -> None:
        if old is None:
            return
        still = {entry.path for entry in read_tar(io.BytesIO(new.data))} if new else set()
        for entry in sorted(read_tar(io.BytesIO(old.data)), key=lambda entry: entry.path, reverse=True):
            path = Path(entry.path)
            if entry.path in still:
                continue
            if entry.kind == "directory":
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
                continue
            edited = entry.path in old.config and path.exists() and _digest(path.read_bytes()) != self._packed.get(entry.path)
            if not edited:
                path.unlink(missing_ok=True)

    def verify(self, name: str, edited: set[str]) -> None:  # noqa: ARG002  the files are compared by another check
        """Nobody keeps a database."""
        raise Skipped("its package manager cannot be had on Debian")

    def offered(self, path: str) -> str:
        """Beside the edited file."""
        return path + self.suffix

    def start(self, units: Units) -> None:
        """What systems with these packages leave to the administrator."""
        for unit in units.all:
            run("systemctl", "enable", "--now", unit)

    def check_lint(self, report: Report) -> None:
        """The scripts are shell scripts."""
        with report.check("lint", "sh reads its scripts"):
            for name, text in self.contents(self.subject.file).scripts.items():
                path = _DATABASE.with_name("script to read")
                path.write_bytes(text)
                done = run("sh", "-n", str(path))
                if done.code:
                    raise Failure(f"{name}: {done.last()}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
