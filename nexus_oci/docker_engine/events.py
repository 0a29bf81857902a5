"""What a build reports while it runs: steps, bytes and log lines, in the engine's own words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["started", "completed", "cached", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class StepEvent:
    """A step changed its state.

    `step` identifies it within its build, `name` is the engine's own name for it (`[build 2/5] RUN make`), and
    `seconds` is how long the engine worked on it, known once it ended. `cancelled` says that another step failed.
    """

    step: str
    name: str
    state: State
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class ByteEvent:
    """Part of a step moved on: `current` of `total` bytes (0 where the engine does not know the total)."""

    step: str
    item: str
    current: int
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class LogEvent:
    """A step printed one line."""

    step: str
    stream: Literal["stdout", "stderr"]
    text: str


Event = StepEvent | ByteEvent | LogEvent
Progress = Callable[[Event], None]
"""Called from the thread that builds, once per event; an exception that it raises cancels the build."""


def silent(_: Event) -> None:
    """A progress callback that drops everything."""
