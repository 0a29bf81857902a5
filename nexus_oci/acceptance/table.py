"""The results as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from nexus_oci.acceptance.results import Row, Status

_SIGNS: dict[Status, str] = {"passed": "", "failed": "!", "skipped": "-"}
_HEAD = ("format", "platform", "result", "seconds", "checks", "file")


def table(rows: Sequence[Row]) -> str:
    """A row an artifact, and below it what failed or was skipped. A group that failed has `!` before it, a skipped one `-`."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    shown = []
    for index, line in enumerate(lines):
        shown.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if index:
            shown += _remarks(rows[index - 1])
    return "\n".join(shown)


def _cells(row: Row) -> tuple[str, ...]:
    groups = " ".join(_SIGNS[status] + group for group, status in row.groups().items())
    return (row.format, row.platform, row.status, f"{row.seconds:.1f}", groups, row.file)


def _remarks(row: Row) -> list[str]:
    """Every check that failed, the reasons for which others were skipped (each once), and the note."""
    lines = []
    for check in row.checks:
        if check.status == "failed":
            first, *rest = check.why.splitlines() or [""]
            lines += [f"    failed: {check.group}: {check.name}: {first}", *(f"        {line}" for line in rest)]
    reasons: dict[str, list[str]] = {}
    for check in row.checks:
        if check.status == "skipped":
            reasons.setdefault(check.why, []).append(check.name)
    lines += [f"    skipped: {', '.join(dict.fromkeys(names))}: {why}" for why, names in reasons.items()]
    return [*lines, f"    note: {row.note}"] if row.note else lines
