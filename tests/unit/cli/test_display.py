"""Progress: lines for people, JSON for machines, nothing where nothing is wanted."""

from __future__ import annotations

import io
import json

import pytest

from nexus_oci.cli.display import Live, display
from nexus_oci.pipeline.progress import StepActivity, StepChanged

EVENTS = [
    StepChanged(step="image", state="started"), StepActivity(step="image", activity="RUN make", done=1), StepActivity(step="image", activity="RUN make", done=2),
    StepActivity(step="image", activity="COPY\nx\x1b[2J"), StepChanged(step="image", state="done", seconds=1.25, note="2 files"),
    StepChanged(step="deb", state="failed", note="cancelled"), StepChanged(step="tar", state="cached"),
]  # fmt: skip


def shown(log_format: str, quiet: bool = False) -> list[str]:
    stream = io.StringIO()
    with display(log_format, quiet, stream) as found:
        for event in EVENTS:
            found.step(event) if isinstance(event, StepChanged) else found.activity(event)
        found.say("WARNING: the lock is refreshed")
    return stream.getvalue().splitlines()


def test_each_event_is_a_line_and_an_activity_is_told_once() -> None:
    assert shown("plain") == [
        "  start  image", "         image: RUN make 1 B", "         image: COPY x�[2J", "   done  image 1.2 s (2 files)",
        " FAILED  deb (cancelled)", " cached  tar", "WARNING: the lock is refreshed",
    ]  # fmt: skip
    assert shown("auto") == shown("plain")


def test_a_json_log_has_one_object_a_line() -> None:
    found = [json.loads(line) for line in shown("json")]
    assert [event["event"] for event in found] == ["step", "activity", "activity", "step", "step", "step", "message"]
    assert found[3] | {"time": 0} == {
        "event": "step",
        "time": 0,
        "step": "image",
        "state": "done",
        "seconds": 1.25,
        "note": "2 files",
    }


@pytest.mark.parametrize("log_format", ["plain", "json", "auto"])
def test_quiet_still_shows_what_must_be_seen(log_format: str) -> None:
    (line,) = shown(log_format, quiet=True)
    assert "WARNING: the lock is refreshed" in line


def test_a_terminal_gets_finished_steps_and_no_escape_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    found = display("auto", False, stream)
    assert isinstance(found, Live)
    with found:
        for event in EVENTS:
            found.step(event) if isinstance(event, StepChanged) else found.activity(event)
        found.say("all\x1b]0;evil\x07 good")
    text = stream.getvalue()
    assert "✓ image" in text
    assert "✗ deb" in text
    assert "\x1b]0" not in text
    assert "\x1b[2J" not in text
