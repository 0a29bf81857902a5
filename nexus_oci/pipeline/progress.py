"""How the pipeline tells what it does: a small set of events, which the command line shows in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

State = Literal["started", "cached", "done", "failed"]


@dataclass(frozen=True, kw_only=True)
class StepChanged:
    """A step of the plan began, was found done, finished or failed. `seconds` is its duration so far."""

    step: str
    state: State
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class StepActivity:
    """What a running step is at: the engine's own name for it, or bytes moved of a total (None where unknown)."""

    step: str
    activity: str
    done: int | None = None
    total: int | None = None


class Progress(Protocol):
    """Takes events; must not block for long and must be safe to call from several threads."""

    def step(self, event: StepChanged) -> None:
        """A step changed its state."""

    def activity(self, event: StepActivity) -> None:
        """A running step did something."""

    def say(self, message: str) -> None:
        """One line that the user should see, whatever the display."""


class Silent:
    """Shows nothing."""

    def step(self, event: StepChanged) -> None:
        """Nothing."""

    def activity(self, event: StepActivity) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Nothing."""
