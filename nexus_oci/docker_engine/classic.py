"""Following a version-1 build, for engines without BuildKit and for Podman's Docker-compatible socket.

The classic builder answers with what it would print. It knows neither `$BUILDPLATFORM` nor cache mounts, so both are
taken out of the Dockerfile first; Podman knows them and gets the text as it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from nexus_oci.docker_engine.events import ByteEvent, LogEvent, Progress, State, StepEvent
from nexus_oci.docker_engine.failure import LogTail, StageError, stage_error
from nexus_oci.oci.values import Platform

_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP (\d+)/\d+ ?: (.*)", re.IGNORECASE | re.DOTALL)
_LAYER = re.compile(r" ?-+> ([0-9a-f]{12,64})\s*\Z")
_BUILT = re.compile(r"Successfully built ([0-9a-f]{12,64})")
_CACHE_MOUNT = re.compile(r"--mount=type=cache\S*\s*")
_FROM_PLATFORM = re.compile(r"(?im)^(\s*FROM\s+)--platform=\S+\s+")


def rewrite(dockerfile: str) -> str:
    """The Dockerfile without platforms in FROM, and without cache mounts; lines keep their numbers.

    The classic builder refuses to COPY between stages of different platforms, but looks at no platform where none is
    named: each stage then has its base's. A scratch stage has the engine's own, which matters to nothing that is read
    out as a folder.
    """
    return _CACHE_MOUNT.sub("", _FROM_PLATFORM.sub(r"\1", dockerfile))


def platform_arguments(*, build: Platform, target: Platform) -> dict[str, str]:
    """The build arguments that BuildKit defines by itself."""
    found: dict[str, str] = {}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        found |= {
            f"{prefix}PLATFORM": str(platform),
            f"{prefix}OS": platform.os,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant or "",
        }
    return found


class ClassicReader:
    """Takes the JSON objects of the answer one by one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._ordinal: int | None = None
        self._name = ""
        self._started = 0.0
        self._cached = False
        self._tail = LogTail()
        self._layers: list[str] = []
        self._newest = ""
        self._built: str | None = None
        self.error: str | None = None

    @property
    def image_id(self) -> str | None:
        """The image's id, once the engine says that it built it; ids that come before may be of other stages."""
        if self._built and self._newest.removeprefix("sha256:").startswith(self._built):
            return self._newest
        return self._built

    @property
    def layers(self) -> tuple[str, ...]:
        """Images that this build made on its way, oldest first: what a failed build leaves behind."""
        return tuple(self._layers)

    def feed(self, data: Mapping[str, Any]) -> None:
        """Take one object."""
        if data.get("error") or data.get("errorDetail"):
            detail = data.get("errorDetail") or {}
            self.error = str(detail.get("message") or data.get("error"))
            self._end("failed")
        elif isinstance(data.get("aux"), dict) and data["aux"].get("ID"):
            self._newest = str(data["aux"]["ID"])
        elif isinstance(data.get("stream"), str):
            self._text(data["stream"])
        elif isinstance(data.get("progressDetail"), dict) and data["progressDetail"]:
            detail = data["progressDetail"]
            self._progress(
                ByteEvent(
                    step=str(self._ordinal or 0),
                    item=str(data.get("id") or ""),
                    current=int(detail.get("current") or 0),
                    total=int(detail.get("total") or 0),
                )
            )

    def finish(self) -> None:
        """The answer has ended well: so has the last step."""
        self._end("cached" if self._cached else "completed")

    def failure(self, dockerfile: str, title: str) -> StageError:
        """The error, once `error` is set."""
        return stage_error(
            dockerfile,
            title=title,
            message=self.error or "the engine gave no reason",
            step=self._name,
            ordinal=self._ordinal,
            log=self._tail.lines(),
        )

    def _text(self, text: str) -> None:
        step, layer, built = _STEP.match(text), _LAYER.match(text), _BUILT.match(text)
        if step:
            self._end("cached" if self._cached else "completed")
            self._ordinal, self._name = int(step[1]), text.strip()
            self._started, self._cached, self._tail = time.monotonic(), False, LogTail()
            self._report("started", None)
        elif "Using cache" in text and text.lstrip().startswith("--"):
            self._cached = True
        elif layer:
            if not self._cached and " FROM " not in f" {self._name.upper()} ":
                self._layers.append(layer[1])
        elif built:
            self._built = built[1]
        elif text.strip() and not text.startswith((" ---> ", "Removing intermediate container")):
            for line in self._tail.feed(1, text.encode()):
                self._progress(LogEvent(step=str(self._ordinal or 0), stream="stdout", text=line))

    def _end(self, state: State) -> None:
        if self._name and self._started:
            self._report(state, time.monotonic() - self._started)
            self._started = 0.0

    def _report(self, state: State, seconds: float | None) -> None:
        self._progress(StepEvent(step=str(self._ordinal or 0), name=self._name, state=state, seconds=seconds))
