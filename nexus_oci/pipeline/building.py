"""Runs a plan: what is known is taken, what is not is built, side by side, and everything ends in the store.

Only what a missing step needs is made: bases are loaded into the engine when the first build that starts from them runs.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from nexus_oci.docker_engine import LABEL_PREFIX, BuildRequest, ByteEvent, Engine, Event, LogEvent, StepEvent
from nexus_oci.docker_engine.images import EngineImage
from nexus_oci.errors import BuildError, CancelledError, NexusError
from nexus_oci.oci import media_types
from nexus_oci.oci.docker_archive import layers_from_docker_archive
from nexus_oci.oci.layer import Layer, LinkCovered, Rewriting, store_layer
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.base_images import BaseLayers, Bases
from nexus_oci.pipeline.host import trust_files
from nexus_oci.pipeline.local_images import LOCAL
from nexus_oci.pipeline.payload import single_file
from nexus_oci.pipeline.programs import ProgramCheck
from nexus_oci.pipeline.progress import Progress, StepActivity, StepChanged
from nexus_oci.pipeline.project import Project
from nexus_oci.pipeline.records import Record, Records
from nexus_oci.plan.expand import IMAGE, ROOTFS, Build, context_paths, layer_key
from nexus_oci.plan.steps import Step
from nexus_oci.release.image import ImageLayer, store_image
from nexus_oci.render.dockerfile import Dockerfile

FRESH = "NEXUS_FRESH"
"""A build argument that no command reads. A value of its own lets the engine run every command below it anew."""
_NOTICE = "nexus-oci: "
"""What a line of a stage's output begins with that the user should see though the stage succeeds."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What the steps of a plan came to: each step's record, and whether it had to run."""

    records: Mapping[str, Record]
    ran: tuple[str, ...]

    def image(self, build: Build) -> Descriptor:
        """The manifest of a build's image."""
        return self.records[build.image_step].blobs[0]


@dataclass(kw_only=True)
class Builder:
    """One run of a plan. `engine` is called only when something has to be built."""

    project: Project
    store: Store
    engine: Callable[[], Engine]
    progress: Progress
    jobs: int = 4
    no_cache: bool = False
    cancel: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Derive what is shared by the steps."""
        self.records = Records(self.store, self.progress.say)
        self.bases = Bases(
            project=self.project,
            store=self.store,
            records=self.records,
            engine=self.engine,
            progress=self.progress,
            cancel=self.cancel,
        )
        self._ran: list[str] = []
        self._trust: dict[str, bytes] | None = None
        self._trust_lock = threading.Lock()
        self._fresh = secrets.token_hex(8)

    def is_complete(self) -> bool:
        """Whether every step of the plan is known, so that the engine is not needed at all."""
        return all(
            self.records.find(step.key) is not None for step in self.project.plan.steps if step.kind in ("image", "format")
        )

    def run(self) -> Built:
        """Every image and format of the plan; raises the first error, with all other work stopped and taken away."""
        steps = [step for step in self.project.plan.steps if step.kind in ("image", "format")]
        results: dict[str, Record] = {}
        pool = ThreadPoolExecutor(max_workers=max(1, self.jobs), thread_name_prefix="build")
        try:
            futures: dict[Future[Record], Step] = {pool.submit(self._step, step): step for step in steps}
            pending = set(futures)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    results[futures[future].id] = future.result()
        except BaseException:
            self.cancel.set()
            for future in futures:
                future.cancel()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return Built(records=results, ran=tuple(sorted(self._ran)))

    def _step(self, step: Step) -> Record:
        if self.cancel.is_set():
            raise CancelledError("the build was cancelled")
        started = time.monotonic()

        def work() -> Record:
            self.progress.step(StepChanged(step=step.id, state="started"))
            record = self._image(step) if step.kind == "image" else self._format(step)
            self._ran.append(step.id)
            return record

        try:
            record, known = self.records.run(step.key, work)
        except BaseException as error:
            state_note = "cancelled" if isinstance(error, CancelledError) else ""
            self.progress.step(StepChanged(step=step.id, state="failed", seconds=time.monotonic() - started, note=state_note))
            raise
        if known:
            self.records.remember(record)
        self.progress.step(StepChanged(step=step.id, state="cached" if known else "done", seconds=time.monotonic() - started))
        return record

    def _image(self, step: Step) -> Record:
        build = self.project.build(step.id)
        with self._target(step, build, IMAGE) as tag:
            image = self.engine().image(tag)
            if image is None:
                raise BuildError(f"the engine does not list the image that it built for {step.id}")
            with self.engine().files(tag, platform=build.platform) as files:
                ProgramCheck(files=files, config=image.config, platform=build.platform, title=step.id).run()
            base = self.bases.layers(build.base)
            stands_on_it = image.diff_ids[: len(base.engine_ids)] == base.engine_ids
            layers = self._layers(step, build, tag, image, base if stands_on_it else None)
            origin = {media_types.BASE_NAME: build.base.local_name, media_types.BASE_DIGEST: base.digest}
            labels = {**build.labels, **(origin if stands_on_it else {})}
            manifest = store_image(
                self.store,
                platform=build.platform,
                config=_shipped(image.config),
                layers=layers,
                labels=labels,
                epoch=self.project.stamp.epoch,
            )
        document = self.store.manifest(manifest)
        return self._record(step, build, IMAGE, (manifest, *document.blobs), {})

    def _layers(self, step: Step, build: Build, tag: str, image: EngineImage, base: BaseLayers | None) -> list[ImageLayer]:
        """The image's layers: the base's from the store, and what the image adds; all of them where it stands on another.

        Where the last stage is one copy of the `rootfs` stage, that stage is read out alone, which is twice as fast as saving the
        image and independent of the base's size. Otherwise, and where the copy passes through a link of the base (`bin` →
        `usr/bin`), which only the engine resolves, the image is saved and the layers it shares with the base are skipped unread.
        """
        if base and build.dockerfile.is_copy_of(IMAGE, ROOTFS):
            try:
                layer = self._rootfs_layer(step, build, base.links)
                return [*base.layers, ImageLayer(descriptor=layer.descriptor, diff_id=layer.diff_id, created_by="COPY rootfs")]
            except LinkCovered as covered:
                self.progress.say(f"{step.id}: {covered.what}; the whole image is read instead")
        with closing(self.engine().save_image(tag, cancel=self.cancel)) as stream:
            found = layers_from_docker_archive(
                stream,
                known=base.known if base else {},
                diff_ids=image.diff_ids,
                store=self.store,
                epoch=self.project.stamp.epoch,
            )
        own = found[len(base.engine_ids) :] if base else found
        added = [ImageLayer(descriptor=layer.descriptor, diff_id=layer.diff_id, created_by="RUN") for layer in own]
        return [*(base.layers if base else ()), *added]

    def _rootfs_layer(self, step: Step, build: Build, links: Mapping[str, str]) -> Layer:
        epoch = self.project.stamp.epoch

        def work() -> Record:
            with (
                self._target(step, build, ROOTFS) as tag,
                self.engine().export_folder(tag, f"/{ROOTFS}", cancel=self.cancel) as stream,
            ):
                layer = store_layer(
                    self.store,
                    self._counted(step, "reading rootfs", stream),
                    Rewriting(epoch=epoch),
                    origin=f"the rootfs stage of {build.distribution}",
                    prefix=ROOTFS,
                    base_links=links,
                )
            return Record(
                key=key, step=f"layer {step.id}", inputs={}, blobs=(layer.descriptor,), facts={"layer": layer.to_json()}
            )

        key = layer_key(build, epoch, self.project.plan.step(step.id).inputs["encoder"])
        record, _ = self.records.run(key, work)
        return Layer.from_json(record.facts["layer"])

    def _format(self, step: Step) -> Record:
        build = self.project.build(step.id)
        name = str(step.detail["format"])
        with (
            self._target(step, build, name) as tag,
            self.engine().export_folder(tag, f"/{name}", cancel=self.cancel) as stream,
        ):
            _, media_type = media_types.ARTIFACTS[name]
            title, blob = single_file(
                self.store, self._counted(step, f"reading {name}", stream), folder=name, media_type=media_type, step=step.id
            )
        return self._record(step, build, name, (blob,), {"title": title})

    def _record(self, step: Step, build: Build, target: str, blobs: tuple[Descriptor, ...], facts: Mapping[str, Any]) -> Record:
        listing = build.context.listing(context_paths(build, target))
        return Record(key=step.key, step=step.id, inputs=step.inputs, blobs=blobs, facts=facts, listing=listing)

    @contextmanager
    def _target(self, step: Step, build: Build, target: str) -> Iterator[str]:
        """Build a stage under a name of its own, which is taken away at the end."""
        for need in self.project.plan.step(step.id).needs:
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
            title=step.id,
            # Of an image that was built anew a moment ago this stage is a part.
            no_cache=self.no_cache and not refreshed and target != ROOTFS,
        )
        try:
            engine.build(request, progress=self._watch(step), cancel=self.cancel)
            yield tag
        finally:
            if not self.cancel.is_set():
                try:
                    engine.remove_image(tag, quiet=True)
                except NexusError as error:
                    self.progress.say(f"{step.id}: {tag} could not be removed: {error.what}")

    def _host_files(self) -> Mapping[str, bytes]:
        with self._trust_lock:
            if self._trust is None:
                self._trust = trust_files(self.project.settings.environment, self.progress.say)
            return self._trust

    def _watch(self, step: Step) -> Callable[[Event], None]:
        names: dict[str, str] = {}

        def show(event: Event) -> None:
            if isinstance(event, StepEvent):
                names[event.step] = event.name
                if event.state in ("started", "cached"):
                    self.progress.activity(StepActivity(step=step.id, activity=event.name))
            elif isinstance(event, ByteEvent):
                activity = names.get(event.step, event.item)
                self.progress.activity(
                    StepActivity(step=step.id, activity=activity, done=event.current, total=event.total or None)
                )
            elif isinstance(event, LogEvent) and event.text.startswith(_NOTICE):
                self.progress.say(f"{step.id}: {event.text.removeprefix(_NOTICE)}")

        return show

    def _counted(self, step: Step, activity: str, stream: Iterator[bytes]) -> Iterator[bytes]:
        done = 0
        for block in stream:
            done += len(block)
            self.progress.activity(StepActivity(step=step.id, activity=activity, done=done))
            yield block


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


def _shipped(config: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's view of an image's config without the labels that this program sets for itself in the engine."""
    labels = {k: v for k, v in (config.get("Labels") or {}).items() if not k.startswith(LABEL_PREFIX)}
    return {**config, "Labels": labels}
