"""A source rpm: its header, its digests, and the sources that are in it."""

from __future__ import annotations

from .report import Failure, Report, listed, run
from .subject import Subject


def test(report: Report, subject: Subject) -> None:
    """Make every check of a source rpm."""
    with report.check("header", "rpm reads it as a source package", vital=True):
        text = run(
            "rpm", "--query", "--nosignature", "--queryformat", "%{SOURCEPACKAGE} %{NAME}", "--package", subject.file
        ).must()
        mark, _, name = text.partition(" ")
        if mark != "1":
            raise Failure("its header does not say that it is one")
        if subject.name and name != subject.name:
            raise Failure(f"it is called {name}, and not {subject.name}")
    with report.check("header", "rpm finds its digests right"):
        run("rpmkeys", "--checksig", "--nosignature", subject.file).must()
    with report.check("sources", "it has a spec file and its sources"):
        there = run("sh", "-euc", 'rpm2cpio "$1" | cpio --list --quiet', "-", subject.file).must().split("\n")
        there = [name.removeprefix("./") for name in there if name]
        named = (
            run("rpm", "--query", "--nosignature", "--queryformat", "[%{FILENAMES}\n]", "--package", subject.file)
            .must()
            .split("\n")
        )
        listed([f"{name} is in the header and not in the archive" for name in named if name and name not in there])
        if not any(name.endswith(".spec") for name in there):
            raise Failure(f"there is no spec file among {', '.join(there) or 'nothing'}")
        if len(there) < 2:
            raise Failure("there is nothing in it but the spec file")
