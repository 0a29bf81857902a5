"""What every verb shares: where the definition is, how results and progress are written."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus_oci.cli.display import Display


@dataclass(frozen=True, kw_only=True)
class Console:
    """The settings that stand before the verb, and the two streams. stdout carries results only."""

    directory: Path
    as_json: bool
    log_format: str
    quiet: bool
    environment: Mapping[str, str]

    def result(self, text: str) -> None:
        """One line of result on stdout."""
        sys.stdout.write(printable(text) + "\n")

    def data(self, data: Any) -> None:
        """A machine-readable result on stdout."""
        sys.stdout.write(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    def say(self, message: str) -> None:
        """A line for the user on stderr."""
        line = json_line("message", {"message": message}) if self.log_format == "json" else printable(message)
        sys.stderr.write(line + "\n")

    def display(self) -> Display:
        """A progress display for this terminal, or lines where it is none. A context manager."""
        from nexus_oci.cli.display import display

        return display(self.log_format, self.quiet, sys.stderr)

    @property
    def dist(self) -> Path:
        """Where a build leaves its output."""
        return self.directory / "dist"


def printable(text: str) -> str:
    """The text without characters that steer a terminal: names and messages may come from a registry or a build stage."""
    return text.translate(_STEERING)


_STEERING = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def json_line(kind: str, fields: Mapping[str, Any]) -> str:
    """One event as a line of JSON, for `--log-format json`."""
    return json.dumps({"event": kind, "time": round(time.time(), 3), **fields}, ensure_ascii=False)


def human_size(size: int) -> str:
    """Bytes in the unit that reads best."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
