"""Runs a plan: what is known is taken, what is not is built, side by side, and everything ends in the store.

Only what a missing step needs is made: bases are loaded into the engine when the first build that starts from them runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from nexus_oci.docker_engine import LABEL_PREFIX, Engine
from nexus_oci.docker_engine.images import EngineImage
from nexus_oci.errors import BuildError, CancelledError
from nexus_oci.oci import media_types
from nexus_oci.oci.docker_archive import layers_from_docker_archive
from nexus_oci.oci.layer import Layer, LinkCovered, Rewriting, store_layer
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.base_images import BaseLayers, Bases
from nexus_oci.pipeline.finishing import Finishing
from nexus_oci.pipeline.payload import stage_files
from nexus_oci.pipeline.programs import ProgramCheck
from nexus_oci.pipeline.progress import Progress, StepChanged
from nexus_oci.pipeline.project import Project
from nexus_oci.pipeline.records import Record, Records
from nexus_oci.pipeline.stages import FORMATS, Stages, with_formats
from nexus_oci.pipeline.toolbox import Toolbox
from nexus_oci.plan.expand import IMAGE, ROOTFS, Build, context_paths, layer_key
from nexus_oci.plan.steps import WORK, Step
from nexus_oci.release.image import ImageLayer, store_image


@dataclass(frozen=True, kw_only=True)
class Built:
    """What the steps of a plan came to: each step's record, and whether it had to run."""

    records: Mapping[str, Record]
    ran: tuple[str, ...]

    def image(self, build: Build) -> Descriptor:
        """The manifest of a build's image."""
        return self.records[build.image_step].blobs[0]

    def files(self, step: str) -> list[tuple[str, Descriptor]]:
        """The names and blobs of a format's or a repository's files."""
        record = self.records[step]
        return list(zip(map(str, record.facts["titles"]), record.blobs, strict=True))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Steps that are done together, once those in `needs` are done. `work` makes the records of those given to it."""

    steps: tuple[Step, ...]
    needs: frozenset[str]
    work: Callable[[Sequence[Step]], Sequence[Record]]


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
        self.stages = Stages(
            project=self.project,
            bases=self.bases,
            engine=self.engine,
            progress=self.progress,
            cancel=self.cancel,
            no_cache=self.no_cache,
        )
        self._ran: list[str] = []
        self._results: dict[str, Record] = {}

    def is_complete(self) -> bool:
        """Whether every step of the plan is known, so that the engine is not needed at all."""
        return all(self.records.find(step.key) is not None for step in self.project.plan.steps if step.kind in WORK)

    def run(self) -> Built:
        """Every image and file of the plan; raises the first error, with all other work stopped and taken away."""
        waiting = self._jobs()
        pool = ThreadPoolExecutor(max_workers=max(1, self.jobs), thread_name_prefix="build")
        futures: dict[Future[None], _Job] = {}
        try:
            pending: set[Future[None]] = set()
            while waiting or pending:
                ready = [job for job in waiting if job.needs <= self._results.keys()]
                waiting = [job for job in waiting if job not in ready]
                for job in ready:
                    future = pool.submit(self._do, job)
                    futures[future] = job
                    pending.add(future)
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        except BaseException:
            self.cancel.set()
            for future in futures:
                future.cancel()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return Built(records=self._results, ran=tuple(sorted(self._ran)))

    def toolbox(self) -> Toolbox:
        """The toolbox, ready in the engine."""
        image = self.project.toolbox
        step = next(step for step in self.project.plan.steps if step.kind == "base" and step.detail["image"] == image)
        self.bases.ensure(step.id)
        return Toolbox(engine=self.engine(), image=image, store=self.store, cancel=self.cancel)

    def _jobs(self) -> list[_Job]:
        """Each image by itself, all formats of one build together, and what is made of formats after those."""
        plan = self.project.plan
        finishing = Finishing(
            project=self.project,
            store=self.store,
            engine=self.engine,
            bases=self.bases,
            progress=self.progress,
            cancel=self.cancel,
        )
        found: list[_Job] = []
        for build in self.project.builds:
            found.append(_Job(steps=(plan.step(build.image_step),), needs=frozenset(), work=self._images))
            formats = tuple(plan.step(build.format_step(name)) for name in build.extracted)
            if formats:
                found.append(_Job(steps=formats, needs=frozenset(), work=self._formats))
        works = {step.id for step in plan.steps if step.kind in WORK}
        for step in plan.steps:
            if step.kind in ("sign", "repository"):
                needs = frozenset(step.needs) & works
                found.append(_Job(steps=(step,), needs=needs, work=lambda steps: [finishing.run(steps[0], self._results)]))
        return found

    def _do(self, job: _Job) -> None:
        """Take the records of what is known, and make those of what is not."""
        missing = []
        for step in job.steps:
            known = self.records.find(step.key)
            if known is None:
                missing.append(step)
                continue
            self.records.remember(known)
            self._results[step.id] = known
            self.progress.step(StepChanged(step=step.id, state="cached"))
        if not missing:
            return
        if self.cancel.is_set():
            raise CancelledError("the build was cancelled")
        started = time.monotonic()
        for step in missing:
            self.progress.step(StepChanged(step=step.id, state="started"))
        try:
            for record in job.work(missing):
                self.records.add(record)
                self._ran.append(record.step)
                self._results[record.step] = record
        except BaseException as error:
            note = "cancelled" if isinstance(error, CancelledError) else ""
            for step in missing:
                self.progress.step(StepChanged(step=step.id, state="failed", seconds=time.monotonic() - started, note=note))
            raise
        for step in missing:
            self.progress.step(StepChanged(step=step.id, state="done", seconds=time.monotonic() - started))

    def _images(self, steps: Sequence[Step]) -> list[Record]:
        return [self._image(step) for step in steps]

    def _image(self, step: Step) -> Record:
        build = self.project.build(step.id)
        with self.stages.built([step.id], build, IMAGE) as tag:
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
                self.stages.built([step.id], build, ROOTFS) as tag,
                self.engine().export_folder(tag, f"/{ROOTFS}", cancel=self.cancel) as stream,
            ):
                layer = store_layer(
                    self.store,
                    self.stages.counted(step.id, "reading rootfs", stream),
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

    def _formats(self, steps: Sequence[Step]) -> list[Record]:
        """The files of several formats of one build, all out of one stage."""
        names = [str(step.detail["format"]) for step in steps]
        build = with_formats(self.project.build(steps[0].id), names)
        with (
            self.stages.built([step.id for step in steps], build, FORMATS) as tag,
            self.engine().export_folder(tag, f"/{FORMATS}", cancel=self.cancel) as stream,
        ):
            found = stage_files(
                self.store,
                self.stages.counted(steps[0].id, "reading files", stream),
                folder=FORMATS,
                formats={name: media_types.ARTIFACTS[name][1] for name in names},
                step=steps[0].id,
            )
        records = []
        for step, name in zip(steps, names, strict=True):
            blobs = tuple(blob for _, blob in found[name])
            records.append(self._record(step, build, name, blobs, {"titles": [title for title, _ in found[name]]}))
        return records

    def _record(self, step: Step, build: Build, target: str, blobs: tuple[Descriptor, ...], facts: Mapping[str, Any]) -> Record:
        listing = build.context.listing(context_paths(build, target))
        return Record(key=step.key, step=step.id, inputs=step.inputs, blobs=blobs, facts=facts, listing=listing)


def _shipped(config: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's view of an image's config without the labels that this program sets for itself in the engine."""
    labels = {k: v for k, v in (config.get("Labels") or {}).items() if not k.startswith(LABEL_PREFIX)}
    return {**config, "Labels": labels}
