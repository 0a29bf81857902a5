"""A Debian package through its whole life: lint, install, upgrade, removal, purge (Debian Policy, chapters 6 and 10.7)."""

from __future__ import annotations

import subprocess

from .lifecycle import Lifecycle, PackageManager
from .report import Done, Failure, Report, listed, run
from .subject import Subject
from .tree import Entry, read_tar_of

_WRITTEN = (
    r"/var/log/.*",
    r"/var/lib/(dpkg|apt|systemd|private)(/.*)?",
    r"/var/cache/(apt|debconf|man|ldconfig|fontconfig)(/.*)?",
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?",
    r"/etc/\.pwd\.lock|/etc/ld\.so\.cache|/etc/machine-id",
    r"/usr/share/(info/dir|applications/mimeinfo\.cache|mime/.*)",
    r"/etc/systemd/system/[^/]+\.target\.wants",
)
"""What dpkg, apt, systemd and triggers write for themselves, and leave."""


class Dpkg(PackageManager):
    """dpkg and apt."""

    written = _WRITTEN

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.lint = subprocess.Popen(
            ["lintian", "--allow-root", "--tag-display-limit", "0", subject.file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def entries(self, file: str) -> list[Entry]:
        """The files of a package; conffiles are marked."""
        conffiles = set(self._control(file, "conffiles").splitlines())
        found = read_tar_of("dpkg-deb", "--fsys-tarfile", file)
        return [Entry(**{**entry.__dict__, "config": entry.path in conffiles}) for entry in found]

    @staticmethod
    def _control(file: str, name: str) -> str:
        done = run("dpkg-deb", "--info", file, name)
        return "" if done.code else done.text

    def name_of(self, file: str) -> str:
        """The name in the package's control file."""
        return run("dpkg-deb", "--field", file, "Package").must().strip()

    def version_of(self, file: str) -> str:
        """The version in the package's control file."""
        return run("dpkg-deb", "--field", file, "Version").must().strip()

    def installed(self, name: str) -> str:
        """The version that is installed; empty where none is."""
        done = run("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", self._arch(name))
        state, _, version = done.text.strip().partition(" ")
        return version if state == "installed" and not done.code else ""

    def _names(self) -> list[str]:
        return [self._arch(self.name_of(file)) for file in self.subject.together(self.subject.file)]

    def _arch(self, name: str) -> str:
        return f"{name}:{self.subject.foreign}" if self.subject.foreign else name

    def prepare(self, report: Report) -> None:
        """Lets dpkg take packages of another processor, and asks apt about the dependencies."""
        if self.subject.foreign:
            run("dpkg", "--add-architecture", self.subject.foreign).must()
        with report.check("install", "apt finds its dependencies met", vital=True):
            self._apt("--simulate", "install", *self.subject.together(self.subject.file)).must()

    def install(self, file: str) -> Done:
        """dpkg itself, once."""
        return run("dpkg", "--install", *self.subject.together(file))

    def upgrade(self, file: str) -> Done:
        """apt, which calls dpkg; configuration that was edited stays."""
        return self._apt("install", *self.subject.together(file))

    def downgrade(self, file: str) -> Done:
        """apt, told that this is meant."""
        return self._apt("--allow-downgrades", "install", *self.subject.together(file))

    def remove(self, name: str) -> Done:  # noqa: ARG002  and what was installed with it
        """Remove, but keep configuration."""
        return self._apt("remove", *self._names())

    def purge(self, name: str) -> Done | None:  # noqa: ARG002  and what was installed with it
        """Remove configuration too."""
        return run("dpkg", "--purge", *self._names())

    def _apt(self, *arguments: str) -> Done:
        keep = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
        return run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet", *keep, *arguments)

    def verify(self, name: str, edited: set[str]) -> None:
        """`dpkg -V`: every file has the checksum of the package's md5sums."""
        lines = run("dpkg", "--verify", self._arch(name)).text.splitlines()
        listed([line for line in lines if line.split()[-1] not in edited])

    def offered(self, path: str) -> str:
        """Where dpkg puts the new version of an edited conffile."""
        return f"{path}.dpkg-dist"

    def check_lint(self, report: Report) -> None:
        """lintian's errors and warnings."""
        with report.check("lint", "lintian finds no error and no warning"):
            output, _ = self.lint.communicate(timeout=300)
            lines = output.decode(errors="replace").splitlines()
            listed([line for line in lines if line.startswith(("E:", "W:"))], limit=20)
            if self.lint.returncode not in (0, 1, 2):
                raise Failure("\n".join(lines[-5:]))


def test(report: Report, subject: Subject) -> None:
    """Make every check of a deb."""
    Lifecycle(report=report, subject=subject, manager=Dpkg(subject)).run()
