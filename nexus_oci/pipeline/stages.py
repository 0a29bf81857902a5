"""Builds stages in the engine, under names of their own that are taken away when their result has been read."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from nexus_oci.docker_engine import BuildRequest, ByteEvent, Engine, Event, LogEvent, StepEvent
from nexus_oci.errors import NexusError
from nexus_oci.pipeline.base_images import Bases
from nexus_oci.pipeline.host import trust_files
from nexus_oci.pipeline.local_images import LOCAL
from nexus_oci.pipeline.progress import Progress, StepActivity
from nexus_oci.pipeline.project import Project
from nexus_oci.plan.expand import ROOTFS, Build
from nexus_oci.render.dockerfile import Dockerfile

FRESH = "NEXUS_FRESH"
"""A build argument that no command reads. A value of its own lets the engine run every command below it anew."""
FORMATS = "nexus-formats"
"""The stage that brings the files of several formats together, each in a folder that is called as the format."""
_NOTICE = "nexus-oci: "
"""What a line of a stage's output begins with that the user should see though the stage succeeds."""


@dataclass(kw_only=True)
class Stages:
    """The stages of one run of a plan."""

    project: Project
    bases: Bases
    engine: Callable[[], Engine]
    progress: Progress
    cancel: threading.Event
    no_cache: bool = False
    _trust: dict[str, bytes] | None = None
    _trust_lock: threading.Lock = field(default_factory=threading.Lock)
    _fresh: str = field(default_factory=lambda: secrets.token_hex(8))

    @contextmanager
    def built(self, steps: Sequence[str], build: Build, target: str) -> Iterator[str]:
        """The local name of a stage's image, while the body runs. `steps` are those whose bases it needs; the first names it."""
        title = steps[0]
        for step in steps:
            for need in self.project.plan.step(step).needs:
                self.bases.ensure(need)
        tag = f"{LOCAL}/temporary:{secrets.token_hex(8)}"
        engine = self.engine()
        arguments = {}
        if "SOURCE_DATE_EPOCH" in build.dockerfile.arguments(target):
            arguments["SOURCE_DATE_EPOCH"] = str(self.project.stamp.epoch)
        refreshed = self.no_cache and _can_be_refreshed(build.dockerfile, target)
        if refreshed:
            arguments[FRESH] = self._fresh
        request = BuildRequest(
            dockerfile=build.dockerfile.text,
            platform=build.platform,
            target=target,
            tag=tag,
            arguments=arguments,
            context=lambda: build.context.tar(self.project.stamp.epoch, self._host_files()),
            title=title,
            # Of an image that was built anew a moment ago this stage is a part.
            no_cache=self.no_cache and not refreshed and target != ROOTFS,
        )
        try:
            engine.build(request, progress=self._watch(title), cancel=self.cancel)
            yield tag
        finally:
            if not self.cancel.is_set():
                try:
                    engine.remove_image(tag, quiet=True)
                except NexusError as error:
                    self.progress.say(f"{title}: {tag} could not be removed: {error.what}")

    def counted(self, step: str, activity: str, stream: Iterator[bytes]) -> Iterator[bytes]:
        """The same blocks, shown as they pass."""
        done = 0
        for block in stream:
            done += len(block)
            self.progress.activity(StepActivity(step=step, activity=activity, done=done))
            yield block

    def _host_files(self) -> Mapping[str, bytes]:
        with self._trust_lock:
            if self._trust is None:
                self._trust = trust_files(self.project.settings.environment, self.progress.say)
            return self._trust

    def _watch(self, title: str) -> Callable[[Event], None]:
        names: dict[str, str] = {}

        def show(event: Event) -> None:
            if isinstance(event, StepEvent):
                names[event.step] = event.name
                if event.state in ("started", "cached"):
                    self.progress.activity(StepActivity(step=title, activity=event.name))
            elif isinstance(event, ByteEvent):
                activity = names.get(event.step, event.item)
                self.progress.activity(StepActivity(step=title, activity=activity, done=event.current, total=event.total or None))
            elif isinstance(event, LogEvent) and event.text.startswith(_NOTICE):
                self.progress.say(f"{title}: {event.text.removeprefix(_NOTICE)}")

        return show


def with_formats(build: Build, formats: Sequence[str]) -> Build:
    """The build with one more stage, which has the files of `formats`: the engine then makes them side by side, in one call."""
    copies = "".join(f"COPY --from={name} /{name}/ /{FORMATS}/{name}/\n" for name in formats)
    text = f"{build.dockerfile.text.rstrip()}\n\nFROM scratch AS {FORMATS}\n{copies}"
    return replace(build, dockerfile=Dockerfile.parse(text))


def _can_be_refreshed(dockerfile: Dockerfile, target: str) -> bool:
    """Whether every command that the stage needs comes after a declaration of `NEXUS_FRESH`.

    The engine's own way, no cache for one build, would compile once for each step of the plan, and with empty cache mounts.
    """
    refreshed: set[str] = set()
    for stage in dockerfile.closure(target):
        declared = any(i.keyword == "ARG" and i.value.split("=")[0] == FRESH for i in stage.instructions)
        if declared or stage.base in refreshed:
            refreshed.add(stage.name)
        elif any(i.keyword == "RUN" for i in stage.instructions):
            return False
    return bool(refreshed)
