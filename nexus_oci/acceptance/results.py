"""What came of the checks: values, read from the lines that the guest prints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from nexus_oci.errors import BuildError

Status = Literal["passed", "failed", "skipped"]
_STATES: Final = ("passed", "failed", "skipped")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: the group it belongs to, what was looked at, and why it failed or was skipped. `seconds` is its duration."""

    group: str
    name: str
    status: Status
    why: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The check as plain data."""
        return {"group": self.group, "name": self.name, "status": self.status, "why": self.why, "seconds": self.seconds}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One artifact: where it is, its checks in the order in which they were made, and how long all of it took.

    `note` says what could not be looked at, and why, even where everything else is well.
    """

    file: str
    format: str
    platform: str
    checks: tuple[Check, ...]
    seconds: float
    note: str = ""

    @property
    def status(self) -> Status:
        """`failed` where a check failed, `skipped` where none was made, else `passed`."""
        states = {check.status for check in self.checks}
        return "failed" if "failed" in states else "passed" if "passed" in states else "skipped"

    @property
    def why(self) -> str:
        """The first thing that failed, or else what was not looked at and why."""
        for check in self.checks:
            if check.status == "failed":
                return f"{check.group}: {check.name}: {check.why}"
        if self.status == "skipped":
            return next((check.why for check in self.checks if check.why), self.note)
        return self.note

    def groups(self) -> dict[str, Status]:
        """Each group's result, in the order in which the groups came."""
        found: dict[str, list[Status]] = {}
        for check in self.checks:
            found.setdefault(check.group, []).append(check.status)
        return {
            group: "failed" if "failed" in states else "passed" if "passed" in states else "skipped"
            for group, states in found.items()
        }

    def to_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return {
            "file": self.file,
            "format": self.format,
            "platform": self.platform,
            "result": self.status,
            "why": self.why,
            "seconds": round(self.seconds, 2),
            "checks": [check.to_json() for check in self.checks],
        }


def read_checks(text: str, origin: str) -> tuple[Check, ...]:
    """The checks that a guest printed, one JSON object a line; raises `BuildError` for anything else."""
    try:
        return tuple(_read(line) for line in text.splitlines())
    except (ValueError, LookupError, TypeError) as error:
        raise BuildError(f"the testbed said something else than results about {origin}", why=text[-500:]) from error


def _read(line: str) -> Check:
    item = json.loads(line)
    if item["status"] not in _STATES:
        raise ValueError(item["status"])
    return Check(
        group=str(item["group"]),
        name=str(item["name"]),
        status=cast("Status", item["status"]),
        why=str(item["why"]),
        seconds=float(item["seconds"]),
    )
