"""When and how long to wait before a request is made again: jittered backoff, Retry-After, and one total budget."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from nexus_oci.errors import RegistryError


class TransientError(RegistryError):
    """A failure that may pass: the connection broke, or the registry is busy. Raised when trying again was in vain.

    `retry_after` is the wait in seconds that the registry asked for; `tries` limits how often this failure is tried.
    """

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
        tries: int | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.retry_after = retry_after
        self.tries = tries


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Time as the client sees it; tests put their own in its place. All in seconds."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How patient to be: `tries` in all; waits in seconds, from `first` doubling up to `longest`, `budget` in all."""

    tries: int = 6
    first: float = 0.5
    longest: float = 20.0
    budget: float = 120.0


class Backoff:
    """The patience left for one piece of work."""

    def __init__(self, policy: RetryPolicy, pace: Pace) -> None:
        self._policy = policy
        self._pace = pace
        self._tried = 0
        self._waited = 0.0

    def progressed(self) -> None:
        """Start anew: the work came forward since the last failure."""
        self._tried = 0
        self._waited = 0.0

    def pause(self, error: TransientError) -> None:
        """Wait before the next try, or raise `error` when patience is at its end."""
        self._tried += 1
        if self._tried >= min(self._policy.tries, error.tries or self._policy.tries):
            raise _exhausted(error, f"tried {self._tried} times")
        delay = error.retry_after
        if delay is None:
            delay = min(self._policy.longest, self._policy.first * 2 ** (self._tried - 1))
            delay *= 0.5 + self._pace.jitter() / 2
        if self._waited + delay > self._policy.budget:
            raise _exhausted(error, f"it asks for a wait of {delay:.0f} s, over the {self._policy.budget:.0f} s allowed")
        self._waited += delay
        self._pace.sleep(delay)


class Pulse:
    """Watches that an answer comes in at all: fewer than `least` bytes in `window` seconds are a `TransientError`."""

    def __init__(self, clock: Callable[[], float], window: float, least: int, what: str) -> None:
        self._clock = clock
        self._window = window
        self._least = least
        self._what = what
        self._since = clock()
        self._count = 0

    def heard(self, count: int) -> None:
        """Some bytes came in."""
        self._count += count
        now = self._clock()
        if now - self._since < self._window:
            return
        if self._count < self._least:
            raise TransientError(
                f"next to nothing comes from {self._what}",
                why=f"{self._count} bytes in {now - self._since:.0f} s",
                hint="try again later; what is already there will not be sent twice",
            )
        self._since, self._count = now, 0


def _exhausted(error: TransientError, remark: str) -> TransientError:
    error.why = f"{error.why}; {remark}" if error.why else remark
    return error


def retry_after(header: str | None, pace: Pace) -> float | None:
    """Seconds to wait from a Retry-After header (RFC 9110, 10.2.3), a number or a date; None where it says nothing."""
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - pace.wall())
    except (TypeError, ValueError):
        return None
