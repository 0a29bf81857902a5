"""An rpm through its life, with rpm and dnf on a Debian machine: in a database where one package stands for the host."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from .lifecycle import Lifecycle, PackageManager
from .report import Done, Report, Skipped, listed, run
from .subject import Subject
from .tree import Entry
from .units import Units

_CONFIG, _MISSING_OK, _NO_REPLACE, _GHOST = 1, 8, 16, 64
_QUERY = r"[%{FILENAMES}\t%{FILEMODES:octal}\t%{FILEUSERNAME}\t%{FILEGROUPNAME}\t%{FILEFLAGS}\t%{FILELINKTOS}\t%{FILEDIGESTS}\n]"
_KINDS = {0o040000: "directory", 0o120000: "link"}
_NAMES = {
    "libc6": ("glibc",),
    "passwd": ("shadow-utils", "passwd"),
    "libssl3t64": ("openssl-libs",),
    "debianutils": ("which",),
    "procps": ("procps-ng",),
    "nodejs": ("nodejs(engine)",),
    "python3": ("python(abi)",),
}
"""Debian's names of what other distributions call otherwise."""
_NO_FAULTS = {"no-group-tag", "no-signature", "unknown-key"}
"""What rpmlint calls an error, and is none: groups went out of use, and signatures are looked at where their key is."""
_FAILED = "scriptlet failed"
_SPEC = """\
Name: host
Version: 1
Release: 1
Summary: What the machine has by other means
License: none
BuildArch: noarch
AutoReqProv: no
{provides}
%description
The packages of this machine that another package manager brought.
%files
"""


class Rpm(PackageManager):
    """rpm for the first installation, dnf for what follows; rpm alone for packages of another processor, which dnf refuses."""

    written = (
        r"/var/lib/(rpm|dnf|systemd|private|dpkg)(/.*)?",
        r"/var/cache/(dnf|ldconfig|man)(/.*)?",
        r"/var/log/.*",
        r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?",
        r"/etc/\.pwd\.lock|/etc/ld\.so\.cache|/etc/machine-id",
        r"/etc/systemd/system/[^/]+\.target\.wants",
        r"/etc/dnf(/.*)?",
        r"/usr/lib/sysimage(/.*)?",
        r"/usr/share/licenses",
    )

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def entries(self, file: str) -> list[Entry]:
        """The files of a package; only configuration that an upgrade does not replace counts as such."""
        return [_entry(line.split("\t")) for line in self._query(file, _QUERY).splitlines() if "\t" in line]

    @staticmethod
    def _query(file: str, form: str) -> str:
        return run("rpm", "--query", "--nosignature", "--queryformat", form, "--package", file).must()

    def name_of(self, file: str) -> str:
        """The name in the header."""
        return self._query(file, "%{NAME}")

    def version_of(self, file: str) -> str:
        """Version and release in the header."""
        return self._query(file, "%{VERSION}-%{RELEASE}")

    def installed(self, name: str) -> str:
        """Version and release in the database."""
        done = run("rpm", "--query", "--queryformat", "%{VERSION}-%{RELEASE}", name)
        return "" if done.code else done.text

    def prepare(self, report: Report) -> None:
        """Makes the database, and the package that stands for the host."""
        with report.check("install", "the machine has a database of rpm's", vital=True):
            install_host()
        with report.check("install", "rpm finds the digests of the package right", vital=True):
            run("rpmkeys", "--checksig", "--nosignature", self.subject.file).must()

    def install(self, file: str) -> Done:
        """rpm itself, once."""
        return self._rpm("--install", "--nosignature", *self._foreign(), *self.subject.together(file))

    def upgrade(self, file: str) -> Done:
        """dnf, which finds its dependencies in the database."""
        if self.subject.foreign:
            return self._rpm("--upgrade", *self._foreign(), *self.subject.together(file))
        return self._dnf("upgrade", *self.subject.together(file))

    def downgrade(self, file: str) -> Done:
        """dnf, told that this is meant."""
        if self.subject.foreign:
            return self._rpm("--upgrade", "--oldpackage", *self._foreign(), *self.subject.together(file))
        return self._dnf("downgrade", *self.subject.together(file))

    def remove(self, name: str) -> Done:  # noqa: ARG002  and what was installed with it
        """rpm itself."""
        return self._rpm("--erase", *(self.name_of(file) for file in self.subject.together(self.subject.file)))

    def _foreign(self) -> list[str]:
        return ["--ignorearch"] if self.subject.foreign else []

    @staticmethod
    def _rpm(*arguments: str) -> Done:
        return run("rpm", *arguments).unless(_FAILED)

    @staticmethod
    def _dnf(verb: str, *files: str) -> Done:
        plain = ["--assumeyes", "--disablerepo=*", "--releasever=1", "--setopt=localpkg_gpgcheck=0", "--cacheonly"]
        return run("dnf", *plain, verb, *files).unless(_FAILED)

    def verify(self, name: str, edited: set[str]) -> None:
        """`rpm -V`: size, mode, digest, owner, group and links of every file."""
        lines = run("rpm", "--verify", name).text.splitlines()
        listed([line for line in lines if line.split()[-1] not in edited])

    def offered(self, path: str) -> str:
        """Where rpm puts the new version of an edited configuration file."""
        return f"{path}.rpmnew"

    def kept(self, path: str) -> str:
        """Where rpm puts an edited configuration file when the package goes."""
        return f"{path}.rpmsave"

    def start(self, units: Units) -> None:
        """An rpm turns its units on as the preset says, and leaves it to the administrator to start them."""
        for unit in units.all:
            run("systemctl", "start", unit)

    def check_lint(self, report: Report) -> None:
        """rpmlint's errors, but for those that are no fault here."""
        with report.check("lint", "rpmlint finds no error"):
            lines = run("rpmlint", self.subject.file).text.splitlines()
            errors = [line for line in lines if ": E: " in line]
            allowed = _NO_FAULTS | set(self.subject.allowed) | ({"no-binary"} if self.subject.beside else set())
            listed([line for line in errors if line.split(": E: ")[1].split()[0] not in allowed], limit=20)
            if not any("specfiles checked" in line for line in lines):
                raise Skipped("rpmlint did not run: " + " ".join(lines[-3:]))


def _entry(fields: list[str]) -> Entry:
    path, mode, owner, group, flags, link, digest = (*fields, "", "")[:7]
    number, marks = int(mode, 8), int(flags)
    kind = _KINDS.get(number & 0o170000, "file")
    return Entry(
        path=path,
        kind=kind,
        mode=number & 0o7777,
        owner=owner,
        group=group,
        link=link if kind == "link" else "",
        sha256=digest if len(digest) == 64 and not marks & _GHOST else "",
        config=bool(marks & _CONFIG and marks & _NO_REPLACE),
        may_be_absent=bool(marks & (_GHOST | _MISSING_OK)),
    )


def install_host() -> None:
    """Tell the database what is on the machine: every package of Debian's by its name, and the programs that scripts need."""
    run("rpmdb", "--initdb").must()
    provides = ["Provides: /bin/sh", "Provides: /usr/bin/sh", "Provides: /usr/bin/env", "Provides: /bin/bash"]
    listing = run("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n").must()
    for line in listing.splitlines():
        name, _, version = line.partition(" ")
        plain = version.rpartition(":")[2].partition("-")[0].partition("+")[0]
        abi = ".".join(plain.split(".")[:2])
        provides += [f"Provides: {one} = {abi if one.endswith('(abi)') else plain}" for one in (name, *_NAMES.get(name, ()))]
    with TemporaryDirectory() as folder:
        spec = Path(folder) / "host.spec"
        spec.write_text(_SPEC.format(provides="\n".join(provides)))
        run(
            "rpmbuild", "-bb", "--quiet", "--nodeps", "--define", f"_topdir {folder}", "--define", f"_rpmdir {folder}", str(spec)
        ).must()
        (made,) = Path(folder).glob("**/host-*.rpm")
        run("rpm", "--install", "--nosignature", str(made)).must()


def test(report: Report, subject: Subject) -> None:
    """Make every check of an rpm."""
    Lifecycle(report=report, subject=subject, manager=Rpm(subject)).run()
