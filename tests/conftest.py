"""`--require-everything`: a skipped integration test makes the run fail, and is named with its reason.

`--controllers`: what needs the programs of Kyverno, policy-controller and Ratify runs too. They are built for it, which takes a
quarter of an hour the first time; a run without the option leaves those tests out and says so in its first lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

INTEGRATION = Path(__file__).parent / "integration"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.addoption("--require-everything", action="store_true", help="fail where an integration test is skipped")
    parser.addoption("--controllers", action="store_true", help="run what needs the controllers' own programs, and build those")


def pytest_report_header(config: pytest.Config) -> str | None:
    """What is left out."""
    return (
        None if config.getoption("--controllers") else "left out without --controllers: tests marked so (see `make controllers`)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs the controllers' programs, unless it is asked for."""
    if config.getoption("--controllers"):
        return
    left_out = [item for item in items if item.get_closest_marker("controllers")]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run where the option is given."""
    if config.getoption("--require-everything"):
        config.pluginmanager.register(Requirement(config.rootpath))


class Requirement:
    """Collects what was skipped. A test that fails as expected is no skipped one."""

    def __init__(self, root: Path) -> None:
        self._folder = f"{INTEGRATION.relative_to(root).as_posix()}/"
        self._skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report, "integration" in report.keywords)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report, marked=False)

    def _note(self, report: pytest.TestReport | pytest.CollectReport, marked: bool) -> None:
        if marked or report.nodeid.startswith(self._folder):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            self._skipped[report.nodeid] = reason.removeprefix("Skipped: ")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self._skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._skipped:
            terminalreporter.section("skipped, but everything is required", red=True)
            for test, reason in sorted(self._skipped.items()):
                terminalreporter.line(f"{test}: {reason}", red=True)
