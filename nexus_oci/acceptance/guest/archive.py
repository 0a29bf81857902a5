"""An archive that is unpacked anywhere: two readers agree on it, it runs from where it lies, and its own programs install it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from .lifecycle import Lifecycle, PackageManager
from .report import Done, Failure, Report, Skipped, listed, run
from .subject import Subject
from .tree import Entry, differences, owner_of, read_manifest, snapshot

_WORK = Path("/opt/acceptance/unpacked")
_PREFIX = "/usr/local"
_UNITS = ("/etc/systemd/", "/etc/sysusers.d/", "/etc/tmpfiles.d/")
_VERSION = re.compile(r"version (\S+) is installed")


class Archive(PackageManager):
    """install.sh and uninstall.sh of the archive itself."""

    written = (
        r"/var/lib/(systemd|private)(/.*)?",
        r"/var/log/.*",
        r"/var/cache/(ldconfig|man)(/.*)?",
        r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?",
        r"/etc/\.pwd\.lock|/etc/ld\.so\.cache|/etc/machine-id",
        r"/etc/systemd/system/[^/]+\.target\.wants",
    )

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._folders: dict[str, Path] = {}
        self._version = ""
        self._options: list[str] = []

    def cannot_start(self) -> str:
        """Why the program does not run on this machine; then nothing here asks install.sh to start it."""
        reason = self.subject.cannot_run(sorted(self._unpacked(self.subject.file).rglob("*")))
        self._options = ["--no-service"] if reason else []
        return reason

    def _unpacked(self, file: str) -> Path:
        """The one folder of the archive, unpacked by GNU tar."""
        if file not in self._folders:
            folder = _WORK / Path(file).name
            folder.mkdir(parents=True)
            run("tar", "-x", "-f", file, "-C", str(folder)).must()
            tops = list(folder.iterdir())
            if len(tops) != 1:
                raise Failure(f"it unpacks to {len(tops)} things beside each other, and not to one folder")
            self._folders[file] = tops[0]
        return self._folders[file]

    def entries(self, file: str) -> list[Entry]:
        """What install.sh puts below another root."""
        root = _WORK / f"root of {Path(file).name}"
        root.mkdir(parents=True)
        run("sh", str(self._unpacked(file) / "install.sh"), *self._options, f"--destdir={root}").must()
        found = []
        for path in sorted(root.rglob("*")):
            place = "/" + str(path.relative_to(root))
            if place == f"{_PREFIX}/share/{self.name_of(file)}/installed":
                continue
            state = path.lstat()
            kind = "link" if path.is_symlink() else "directory" if path.is_dir() else "file"
            owner, group = owner_of(state)
            found.append(
                Entry(
                    path=place,
                    kind=kind,
                    mode=state.st_mode & 0o7777,
                    owner=owner,
                    group=group,
                    link=str(path.readlink()) if kind == "link" else "",
                    config=kind == "file" and place.startswith("/etc/") and not place.startswith(_UNITS),
                )
            )
        shutil.rmtree(root)
        return found

    def _manifest(self, file: str) -> dict[str, object]:
        found: dict[str, object] = json.loads((self._unpacked(file) / "manifest.json").read_bytes())
        return found

    def name_of(self, file: str) -> str:
        """The name in manifest.json."""
        return str(self._manifest(file)["name"])

    def version_of(self, file: str) -> str:
        """The version in manifest.json."""
        return str(self._manifest(file)["version"])

    def installed(self, name: str) -> str:
        """The version that install.sh said it installed, as long as its record of that is there."""
        return self._version if Path(f"{_PREFIX}/share/{name}/installed").is_file() else ""

    def prepare(self, report: Report) -> None:
        """Reads it with two programs, and runs it from where it lies."""
        top = self._unpacked(self.subject.file)
        with report.check("unpack", "GNU tar and bsdtar unpack the same tree"):
            self._compare()
        with report.check("unpack", "SHA256SUMS is right and lists every file"):
            self.verify("", set())
            listed_files = {line.partition("  ")[2] for line in (top / "SHA256SUMS").read_text().splitlines()}
            files = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file() and not path.is_symlink()}
            listed([f"{name} is not listed" for name in sorted(files - listed_files - {"SHA256SUMS"})])
        with report.check("unpack", "owner, mode and content of each file are those of its manifest.json"):
            listed(differences(read_manifest(top / "manifest.json"), root=f"{top}/"))
        with report.check("unpack", "the program runs from there"):
            self._run_from(top)

    def _compare(self) -> None:
        other = _WORK / "bsdtar"
        other.mkdir(parents=True)
        run("bsdtar", "-x", "-p", "-f", self.subject.file, "-C", str(other)).must()
        mine = self._unpacked(self.subject.file).parent
        first = {path.removeprefix(str(mine)): facts for path, facts in snapshot(str(mine)).items()}
        second = {path.removeprefix(str(other)): facts for path, facts in snapshot(str(other)).items()}
        listed([f"{path} is in one only" for path in sorted(first.keys() ^ second.keys())])
        listed([f"{path} differs" for path in sorted(first) if first[path] != second[path]])
        run("diff", "--recursive", "--no-dereference", str(mine), str(other)).must()

    def _run_from(self, top: Path) -> None:
        programs = sorted(path for path in (top / "bin").iterdir() if path.is_file())
        if not programs:
            raise Failure("there is nothing in its bin folder")
        if self._options:
            raise Skipped(self.cannot_start())
        text = run(str(programs[0]), "--version").must()
        if self.subject.version and self.subject.version not in text:
            raise Failure(f"it says {text.strip()!r}, and its version is {self.subject.version}")

    def install(self, file: str) -> Done:
        """install.sh, which also goes up and down."""
        done = run("sh", str(self._unpacked(file) / "install.sh"), *self._options)
        found = _VERSION.search(done.text)
        self._version = found[1] if found else ""
        return done

    upgrade = install
    downgrade = install

    def remove(self, name: str) -> Done:
        """The uninstall.sh that was installed."""
        return run("sh", f"{_PREFIX}/share/{name}/uninstall.sh")

    def verify(self, name: str, edited: set[str]) -> None:  # noqa: ARG002  it keeps no database
        """`sha256sum -c` where it was unpacked."""
        run("sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS", folder=str(self._unpacked(self.subject.file))).must()

    def place(self, path: str) -> str:
        """What is below /usr elsewhere goes below the prefix; units, users and directories of services go to /etc."""
        for folder in ("systemd/system", "sysusers.d", "tmpfiles.d"):
            if path.startswith(f"/usr/lib/{folder}/"):
                return path.replace("/usr/lib/", "/etc/", 1)
        return path.replace("/usr/", f"{_PREFIX}/", 1) if path.startswith("/usr/") else path

    def offered(self, path: str) -> str:
        """Where install.sh puts the new version of an edited configuration file."""
        return f"{path}.new"

    def check_lint(self, report: Report) -> None:
        """Its two programs are shell scripts that a strict shell can read."""
        with report.check("lint", "sh reads install.sh and uninstall.sh"):
            for name in ("install.sh", "uninstall.sh"):
                run("sh", "-n", str(self._unpacked(self.subject.file) / name)).must()


def test(report: Report, subject: Subject) -> None:
    """Make every check of an archive. Of one whose program does not run here, everything but the service."""
    manager = Archive(subject)
    stopped = ""
    with report.check("unpack", "GNU tar unpacks it to one folder", vital=True):
        stopped = manager.cannot_start()
    if stopped:
        report.say("service", "install.sh starts the service", "skipped", stopped)
        subject = replace(subject, service="", socket="", user="")
    Lifecycle(report=report, subject=subject, manager=manager).run()
