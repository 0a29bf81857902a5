"""A package of Arch Linux through its life, with pacman and a database of its own (pacman(8), BUILDINFO(5), PKGBUILD(5))."""

from __future__ import annotations

from pathlib import Path

from .lifecycle import Lifecycle, PackageManager
from .report import Done, Failure, Report, Skipped, listed, run
from .subject import Subject
from .tree import Entry, read_tar_of
from .units import Units

_CONFIGURATION = "/opt/acceptance/pacman.conf"
_ASSUMED = {"passwd": ("shadow",), "libc6": ("glibc",), "debianutils": ("which",), "nodejs": (), "python3": ("python",)}
"""Debian's names of what Arch calls otherwise."""


class Pacman(PackageManager):
    """pacman, on the machine's own root."""

    written = (
        r"/var/lib/(pacman|systemd|private)(/.*)?",
        r"/var/cache/(pacman|ldconfig|man)(/.*)?",
        r"/var/log/.*",
        r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?",
        r"/etc/\.pwd\.lock|/etc/ld\.so\.cache|/etc/machine-id",
        r"/etc/systemd/system/[^/]+\.target\.wants",
        r"/usr/(share|lib)/(licenses|bash-completion|fish|zsh)(/[^/]+)?",
    )

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        # As on Arch, whose packages count on it.
        sh = Path("/usr/bin/sh")
        sh.unlink()
        sh.symlink_to("bash")

    def entries(self, file: str) -> list[Entry]:
        """The files of the package; those that `backup` names are configuration."""
        kept = {f"/{path}" for path in self._fields(file).get("backup", [])}
        entries = read_tar_of("zstd", "--decompress", "--stdout", file)
        entries = [entry for entry in entries if not entry.path.rpartition("/")[2].startswith(".")]
        return [Entry(**{**entry.__dict__, "config": entry.path in kept}) for entry in entries]

    @staticmethod
    def _fields(file: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in run("bsdtar", "-xOf", file, ".PKGINFO").must().splitlines():
            key, sign, value = line.partition(" = ")
            if sign and not line.startswith("#"):
                found.setdefault(key, []).append(value)
        return found

    def name_of(self, file: str) -> str:
        """`pkgname`."""
        return self._fields(file)["pkgname"][0]

    def version_of(self, file: str) -> str:
        """`pkgver`."""
        return self._fields(file)["pkgver"][0]

    def installed(self, name: str) -> str:
        """The version in pacman's database."""
        done = run("pacman", "--config", _CONFIGURATION, "--query", name)
        return "" if done.code else done.text.split()[-1]

    def prepare(self, report: Report) -> None:
        """Makes the database; what Debian has already brought is assumed to be installed."""
        with report.check("install", "the machine has a database of pacman's", vital=True):
            Path("/var/lib/pacman").mkdir(parents=True, exist_ok=True)
            architecture = self._fields(self.subject.file)["arch"][0]
            Path(_CONFIGURATION).write_text(
                f"[options]\nArchitecture = {architecture}\nLocalFileSigLevel = Optional\nDisableSandbox\n"
            )
        with report.check("install", "the package has its lists and its script", vital=True):
            members = run("bsdtar", "-tf", self.subject.file).must().splitlines()
            listed([f"{name} is not in it" for name in (".PKGINFO", ".MTREE") if name not in members])
            if self.subject.service and ".INSTALL" not in members:
                raise Failure(".INSTALL is not in it")

    def install(self, file: str) -> Done:
        """`pacman -U`, which also goes up and down."""
        return self._pacman("--upgrade", *self._assumed(), file)

    upgrade = install
    downgrade = install

    def remove(self, name: str) -> Done:
        """`pacman -R`, which keeps edited configuration."""
        return self._pacman("--remove", name)

    def _assumed(self) -> list[str]:
        listing = run("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n").must()
        found = []
        for line in listing.splitlines():
            name, _, version = line.partition(" ")
            plain = version.rpartition(":")[2].partition("-")[0].partition("+")[0]
            found += [f"--assume-installed={one}={plain}" for one in (name, *_ASSUMED.get(name, ()))]
        return found

    @staticmethod
    def _pacman(*arguments: str) -> Done:
        return run("pacman", "--config", _CONFIGURATION, "--noconfirm", "--noprogressbar", *arguments).unless("error: ")

    def verify(self, name: str, edited: set[str]) -> None:
        """`pacman -Qkk`: every property that .MTREE has of a file."""
        done = run("pacman", "--config", _CONFIGURATION, "--query", "--check", "--check", name)
        lines = [line for line in done.text.splitlines() if line.startswith(("warning:", "backup file:"))]
        listed([line for line in lines if not any(path in line for path in edited)])

    def offered(self, path: str) -> str:
        """Where pacman puts the new version of an edited configuration file."""
        return f"{path}.pacnew"

    def kept(self, path: str) -> str:
        """Where pacman puts an edited configuration file when the package goes."""
        return f"{path}.pacsave"

    def start(self, units: Units) -> None:
        """A package of Arch's leaves it to the administrator to turn its units on."""
        for unit in units.all:
            run("systemctl", "enable", "--now", unit)

    def check_lint(self, report: Report) -> None:
        """Arch's linter is not among Debian's packages."""
        with report.check("lint", "namcap"):
            raise Skipped("Debian has no namcap")


def test(report: Report, subject: Subject) -> None:
    """Make every check of a package of Arch Linux."""
    Lifecycle(report=report, subject=subject, manager=Pacman(subject)).run()
