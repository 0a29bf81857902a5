"""Package repositories as a client meets them: over HTTP, with the key that lies beside; and copies that were tampered with."""

from __future__ import annotations

import re
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from .report import Done, Failure, Report, Skipped, run
from .rpm import install_host
from .subject import Subject
from .units import booted, find_units, must_run

_COPY = Path("/opt/acceptance/served")


class Repository(ABC):
    """One kind of repository, and its client."""

    signatures: ClassVar[str]
    """The pattern of the file that signs the indexes."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.folder = Path(subject.file)

    @abstractmethod
    def tamperings(self) -> dict[str, str]:
        """What an attacker may change: what the check is called, and the pattern of the files."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the machine ready for the client."""

    @abstractmethod
    def configure(self, url: str, *, unseen: bool) -> None:
        """Put the configuration that lies beside the repository into place; with `unseen` trust it without signatures."""

    @abstractmethod
    def refresh(self) -> Done:
        """Fetch the indexes, from nothing."""

    @abstractmethod
    def install(self, name: str) -> Done:
        """Install a package, with what it depends on."""

    @abstractmethod
    def files(self, name: str) -> list[str]:
        """The files of an installed package."""

    @abstractmethod
    def remove(self, name: str) -> Done:
        """Remove it."""

    @property
    def signed(self) -> bool:
        """Whether there are signatures at all."""
        return any(self.folder.glob(self.signatures))


class Apt(Repository):
    """apt-get, with Signed-By (sources.list(5))."""

    signatures = "dists/*/InRelease"

    def tamperings(self) -> dict[str, str]:
        """The signed list, an index, a package."""
        return {
            "a changed InRelease is refused": "dists/*/InRelease",
            "a changed index is refused": "dists/*/main/binary-*/**/*",
            "a changed package is refused": "pool/**/*.deb",
        }

    def prepare(self) -> None:
        """Forget other sources."""
        Path("/etc/apt/sources.list.d").mkdir(exist_ok=True)

    def configure(self, url: str, *, unseen: bool) -> None:
        """The .sources file, with our address in it."""
        (file,) = self.folder.glob("*.sources")
        text = re.sub(r"^URIs:.*$", f"URIs: {url}", file.read_text(), flags=re.MULTILINE)
        Path("/etc/apt/sources.list.d", file.name).write_text(text + ("Trusted: yes\n" if unseen else ""))

    def refresh(self) -> Done:
        """`apt-get update`, for which a warning is an error."""
        for path in Path("/var/lib/apt/lists").glob("*_*"):
            path.unlink()
        for path in Path("/var/cache/apt/archives").glob("*.deb"):
            path.unlink()
        return run("apt-get", "--quiet", "-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=0", "update")

    def install(self, name: str) -> Done:
        """`apt-get install`."""
        return run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet", "install", name)

    def files(self, name: str) -> list[str]:
        """What dpkg has of it."""
        return run("dpkg", "--listfiles", name).must().splitlines()

    def remove(self, name: str) -> Done:
        """Purge it, and what it brought."""
        return run("apt-get", "--yes", "--quiet", "purge", "--autoremove", name)


class Yum(Repository):
    """dnf, with gpgcheck and repo_gpgcheck (dnf.conf(5))."""

    signatures = "repodata/repomd.xml.asc"

    def tamperings(self) -> dict[str, str]:
        """The signed list, an index, a package."""
        return {
            "a changed repomd.xml is refused": "repodata/repomd.xml",
            "a changed index is refused": "repodata/*.gz",
            "a changed package is refused": "packages/*.rpm",
        }

    def prepare(self) -> None:
        """A database, in which the machine's own packages are."""
        install_host()
        Path("/etc/yum.repos.d").mkdir(exist_ok=True)

    def configure(self, url: str, *, unseen: bool) -> None:
        """The .repo file, with our address in it."""
        (file,) = self.folder.glob("*.repo")
        text = re.sub(r"^baseurl=(.*)$", f"baseurl={url}", file.read_text(), flags=re.MULTILINE)
        text = re.sub(r"^gpgkey=.*/([^/]+)$", rf"gpgkey={url}/\1", text, flags=re.MULTILINE)
        if unseen:
            text = text.replace("gpgcheck=1", "gpgcheck=0")
        Path("/etc/yum.repos.d", file.name).write_text(text)

    def refresh(self) -> Done:
        """`dnf makecache`."""
        shutil.rmtree("/var/cache/dnf", ignore_errors=True)
        return self._dnf("makecache")

    def install(self, name: str) -> Done:
        """`dnf install`."""
        return self._dnf("install", name)

    def files(self, name: str) -> list[str]:
        """What rpm has of it."""
        return run("rpm", "--query", "--list", name).must().splitlines()

    def remove(self, name: str) -> Done:
        """Remove it, and what it brought."""
        return self._dnf("remove", name)

    @staticmethod
    def _dnf(*arguments: str) -> Done:
        return run("dnf", "--assumeyes", "--releasever=1", "--setopt=retries=1", "--setopt=skip_if_unavailable=0", *arguments)


def test(report: Report, subject: Subject) -> None:
    """Make every check of a repository."""
    repository = Apt(subject) if subject.format == "apt" else Yum(subject)
    with report.check("install", "the machine has started with systemd", vital=True):
        booted()
    with report.check("install", "the client is ready", vital=True):
        repository.prepare()
    report.sequence(
        [
            ("install", lambda: _install(report, repository)),
            ("refuse", lambda: _refuse(report, repository)),
        ]
    )


def _install(report: Report, repository: Repository) -> None:
    subject = repository.subject
    with report.check("signature", "it is signed"):
        if not repository.signed:
            raise Skipped("it has no signature: build with --openpgp-key to have it signed")
    with _served(repository.folder) as (url, asked):
        with report.check("install", "the client takes its indexes over HTTP", vital=True):
            repository.configure(url, unseen=not repository.signed)
            repository.refresh().must()
        if not report.goes_on():
            return
        if subject.format == "apt":
            with report.check("install", "indexes are fetched by their hash"):
                if not any("/by-hash/" in path for path in asked):
                    raise Failure("apt asked for none by its hash: " + " ".join(asked))
        wanted = subject.meta or subject.name
        with report.check("install", f"the client installs {wanted}", vital=True):
            repository.install(wanted).must()
            units = find_units(repository.files(subject.name))
        if not report.goes_on():
            return
        for unit in units.services:
            with report.check("service", f"{unit} runs"):
                if subject.unentitled:
                    raise Skipped(subject.unentitled)
                if subject.format == "yum":
                    run("systemctl", "start", unit)
                must_run(unit)
        with report.check("remove", "the client removes it"):
            repository.remove(wanted).must()


def _refuse(report: Report, repository: Repository) -> None:
    """Copies that must not be installed from; the client knows nothing of them from before."""
    if repository.signed:
        for name, pattern in repository.tamperings().items():
            _refused(report, repository, name, lambda copy, pattern=pattern: _flip(copy, pattern))  # type: ignore[misc]
    _refused(report, repository, "a copy without signatures is refused", lambda copy: _unsign(copy, repository.signatures))


def _refused(report: Report, repository: Repository, name: str, change: Callable[[Path], None]) -> None:
    with report.check("refuse", name):
        shutil.rmtree(_COPY, ignore_errors=True)
        shutil.copytree(repository.folder, _COPY)
        change(_COPY)
        with _served(_COPY) as (url, _):
            repository.configure(url, unseen=False)
            refreshed = repository.refresh()
            installed = repository.install(repository.subject.name)
        if not installed.code:
            repository.remove(repository.subject.name)
            raise Failure(f"{repository.subject.name} was installed from it: {refreshed.last(5)} {installed.last(5)}")


def _flip(copy: Path, pattern: str) -> None:
    """Change one byte in the middle of each file."""
    files = [path for path in copy.glob(pattern) if path.is_file()]
    if not files:
        raise Failure(f"there is no {pattern} to be changed")
    for path in files:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def _unsign(copy: Path, pattern: str) -> None:
    for path in list(copy.glob(pattern)):
        path.unlink()
        path.with_name("Release.gpg").unlink(missing_ok=True)


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server of the folder: its address, and the paths that it is asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
