"""Checks as they are made: each is one JSON line on standard output, whatever comes of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

_LINES = 15
_TIMEOUT = 300.0


class Failure(Exception):  # noqa: N818  it is a result, not an error of this program
    """What was checked is not so; the text says what is the case instead."""


class Skipped(Exception):  # noqa: N818  it is a result, not an error of this program
    """The check cannot be made here; the text says why."""


@dataclass(frozen=True)
class Done:
    """A command that has ended, and what it printed on both its streams."""

    argv: tuple[str, ...]
    code: int
    text: str

    def last(self, lines: int = _LINES) -> str:
        """The end of what it printed."""
        return "\n".join(self.text.strip().splitlines()[-lines:])

    def unless(self, sign: str) -> Done:
        """The same, but ended badly where it printed a sign of that: some managers end well though a script failed."""
        return replace(self, code=self.code or int(sign in self.text))

    def must(self) -> str:
        """What it printed; raises `Failure` where it ended badly."""
        if self.code:
            raise Failure(f"{' '.join(self.argv)} ended with {self.code}: {self.last() or 'it printed nothing'}")
        return self.text


def run(*argv: str, folder: str | None = None, timeout: float = _TIMEOUT) -> Done:
    """Run a command to its end, with nothing on standard input; raises `Failure` where it is not there or does not end."""
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise Failure(f"{argv[0]} is not there") from error
    except OSError as error:
        raise Failure(f"{argv[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{' '.join(argv)} did not end within {timeout:.0f} s") from error
    return Done(argv=tuple(argv), code=done.returncode, text=done.stdout.decode(errors="replace"))


def poll(wanted: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Whether `wanted` becomes true within so many seconds; it is asked ten times a second."""
    deadline = time.monotonic() + seconds
    while not wanted():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def listed(problems: Sequence[str], limit: int = 8) -> None:
    """Raise `Failure` with the problems, if there are any."""
    if problems:
        more = f"; and {len(problems) - limit} more" if len(problems) > limit else ""
        raise Failure("; ".join(problems[:limit]) + more)


@dataclass
class Report:
    """The checks of one package. `failed` are the groups of which one has failed."""

    failed: list[str] = field(default_factory=list)
    blocked: str = ""

    @contextmanager
    def check(self, group: str, name: str, *, vital: bool = False) -> Iterator[None]:
        """A block that makes one check. After a `vital` one failed, the rest of the sequence is skipped; see `blocked`."""
        started = time.monotonic()
        status, why = "passed", ""
        try:
            yield
        except Skipped as reason:
            status, why = "skipped", str(reason)
        except Failure as reason:
            status, why = "failed", str(reason)
        except Exception as error:  # noqa: BLE001  a check that breaks is a check that failed
            place = traceback.extract_tb(error.__traceback__)[-1]
            status, why = "failed", f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})"
        self.say(group, name, status, why, time.monotonic() - started)
        if status == "failed":
            self.failed.append(group)
            if vital:
                self.blocked = name

    def goes_on(self) -> bool:
        """Whether no vital check has failed."""
        return not self.blocked

    def say(self, group: str, name: str, status: str, why: str = "", seconds: float = 0.0) -> None:
        """Write down a result."""
        line = {"group": group, "name": name, "status": status, "why": why, "seconds": round(seconds, 3)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def sequence(self, steps: Sequence[tuple[str, Callable[[], None]]]) -> None:
        """Run the steps (a group's name, and what makes its checks) in order, up to a vital check that fails."""
        for group, step in steps:
            if not self.goes_on():
                self.say(group, f"{group}", "skipped", f"not reached, since this failed: {self.blocked}")
            else:
                step()
