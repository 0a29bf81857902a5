"""Following a version-2 build: BuildKit's progress becomes events, and its end an image id or an error."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from nexus_oci.docker_engine import trace
from nexus_oci.docker_engine.events import ByteEvent, LogEvent, Progress, State, StepEvent
from nexus_oci.docker_engine.failure import LogTail, StageError, stage_error

_CANCELLED = "context canceled"


class BuildKitReader:
    """Takes the JSON objects of the answer one by one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._names: dict[str, str] = {}
        self._states: dict[str, State] = {}
        self._tails: dict[str, LogTail] = {}
        self._bytes: dict[tuple[str, str], int] = {}
        self._failed: dict[str, str] = {}
        self.image_id: str | None = None
        self.error: str | None = None

    def feed(self, data: Mapping[str, Any]) -> None:
        """Take one object; raises `ValueError` where a trace cannot be decoded."""
        if data.get("error") or data.get("errorDetail"):
            detail = data.get("errorDetail") or {}
            self.error = str(detail.get("message") or data.get("error"))
        elif data.get("id") == "moby.buildkit.trace":
            try:
                raw = base64.b64decode(data["aux"], validate=True)
            except (KeyError, TypeError, binascii.Error) as error:
                raise ValueError(f"a progress message is not base64: {error}") from error
            self._follow(trace.decode(raw))
        elif data.get("id") == "moby.image.id":
            self.image_id = str((data.get("aux") or {}).get("ID") or "") or None

    def failure(self, dockerfile: str, title: str) -> StageError:
        """The error, once `error` is set: the step whose own message the engine repeats, else the first that failed."""
        message = self.error or "the engine gave no reason"
        named = [digest for digest, said in self._failed.items() if said and said in message]
        digest = next(iter([*named, *self._failed]), "")
        tail = self._tails.get(digest)
        return stage_error(
            dockerfile,
            title=title,
            message=message,
            step=self._names.get(digest, ""),
            log=tail.lines() if tail else (),
        )

    def _follow(self, message: trace.Trace) -> None:
        for vertex in message.vertexes:
            self._names[vertex.digest] = vertex.name
            self._step(vertex)
        for status in message.statuses:
            self._status(status)
        for log in message.logs:
            tail = self._tails.setdefault(log.vertex, LogTail())
            for line in tail.feed(log.stream, log.message):
                self._progress(LogEvent(step=log.vertex, stream="stderr" if log.stream == 2 else "stdout", text=line))

    def _step(self, vertex: trace.Vertex) -> None:
        """Report a change of state, once: the engine repeats itself."""
        state: State
        if vertex.error:
            state = "cancelled" if vertex.error.endswith(_CANCELLED) else "failed"
        elif vertex.cached:
            state = "cached"
        elif vertex.completed is not None:
            state = "completed"
        elif vertex.started is not None:
            state = "started"
        else:
            return
        known = self._states.get(vertex.digest)
        if known == state or (known and known != "started" and state != "failed"):
            return
        self._states[vertex.digest] = state
        if state == "failed":
            self._failed[vertex.digest] = vertex.error
        ended = vertex.completed is not None and vertex.started is not None
        seconds = max(0.0, (vertex.completed or 0) - (vertex.started or 0)) if ended else None
        self._progress(StepEvent(step=vertex.digest, name=vertex.name, state=state, seconds=seconds))

    def _status(self, status: trace.VertexStatus) -> None:
        key = (status.vertex, status.id)
        if self._bytes.get(key) != status.current and (status.current or status.total):
            self._bytes[key] = status.current
            self._progress(ByteEvent(step=status.vertex, item=status.id, current=status.current, total=status.total))
