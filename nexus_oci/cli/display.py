"""Progress on stderr: live lines on a terminal, one line an event otherwise, or JSON lines for machines."""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol, Self, TextIO

from nexus_oci.cli.console import human_size, json_line, printable
from nexus_oci.pipeline.progress import StepActivity, StepChanged

_LONGEST = 120
_WORDS = {"started": "start", "cached": "cached", "done": "done", "failed": "FAILED"}


class Display(Protocol):
    """A progress display; a context manager."""

    def step(self, event: StepChanged) -> None:
        """A step changed its state."""

    def activity(self, event: StepActivity) -> None:
        """A running step did something."""

    def say(self, message: str) -> None:
        """A line that the user should see in any case."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End."""


def display(log_format: str, quiet: bool, stream: TextIO) -> Display:
    """The display that fits: live on a terminal, plain lines or JSON lines elsewhere, only messages where quiet."""
    if log_format == "json":
        return Lines(stream, quiet, json_line)
    if log_format == "auto" and not quiet and stream.isatty():
        return Live(stream)
    return Lines(stream, quiet, _plain_line)


def _plain_line(kind: str, fields: dict[str, Any]) -> str:
    if kind == "message":
        return printable(str(fields["message"]))
    if kind == "activity":
        amount = f" {human_size(fields['done'])}" if fields.get("done") else ""
        return f"         {fields['step']}: {_clipped(printable(fields['activity']))}{amount}"
    seconds = f" {fields['seconds']:.1f} s" if fields["seconds"] >= 0.05 else ""
    note = f" ({fields['note']})" if fields["note"] else ""
    return f"{_WORDS[fields['state']]:>7}  {fields['step']}{seconds}{note}"


def _clipped(text: str) -> str:
    """The engine's name of a step on one line of a log: a RUN can be very long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


class Lines:
    """One line an event. Activities are thinned out: a line when a step's activity gets another name."""

    def __init__(self, stream: TextIO, quiet: bool, form: Any) -> None:
        self._stream = stream
        self._quiet = quiet
        self._form = form
        self._lock = threading.Lock()
        self._last: dict[str, str] = {}

    def step(self, event: StepChanged) -> None:
        if not self._quiet:
            self._write("step", vars_of(event))

    def activity(self, event: StepActivity) -> None:
        if not self._quiet and self._last.get(event.step) != event.activity:
            self._last[event.step] = event.activity
            self._write("activity", vars_of(event))

    def say(self, message: str) -> None:
        self._write("message", {"message": message})

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        with self._lock:
            self._stream.write(self._form(kind, fields) + "\n")
            self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def vars_of(event: StepChanged | StepActivity) -> dict[str, Any]:
    """An event's fields."""
    return {name: getattr(event, name) for name in event.__dataclass_fields__}


class Live:
    """Running steps at the bottom with elapsed time and what the engine is at; finished ones scroll by above."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(file=stream, highlight=False)
        self._running: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()
        self._live = RichLive(console=self._console, get_renderable=self._render, refresh_per_second=8, transient=True)

    def _render(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        with self._lock:
            rows = sorted(self._running.items())
        now = time.monotonic()
        for step, (since, activity) in rows:
            table.add_row(Text(f"  ● {step}", style="cyan"), f"{now - since:.1f} s", Text(activity, style="dim"))
        return table

    def step(self, event: StepChanged) -> None:
        with self._lock:
            if event.state == "started":
                self._running[event.step] = (time.monotonic(), "")
                return
            self._running.pop(event.step, None)
        mark, style = {"done": ("✓", "green"), "cached": ("=", "dim"), "failed": ("✗", "red")}[event.state]
        from rich.text import Text

        seconds = f"  {event.seconds:.1f} s" if event.seconds >= 0.05 else ""
        note = f"  {event.note}" if event.note else ""
        self._console.print(Text(f"  {mark} {event.step}{seconds}{note}", style=style))

    def activity(self, event: StepActivity) -> None:
        amount = ""
        if event.done:
            amount = f"  {human_size(event.done)}" + (f" of {human_size(event.total)}" if event.total else "")
        with self._lock:
            if event.step in self._running:
                self._running[event.step] = (self._running[event.step][0], printable(event.activity) + amount)

    def say(self, message: str) -> None:
        from rich.text import Text

        self._console.print(Text(printable(message)))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
