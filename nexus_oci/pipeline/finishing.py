"""What is done to files after they were extracted, since no key may enter a build stage: signatures, and package repositories."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nexus_oci.docker_engine import Engine
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.base_images import Bases
from nexus_oci.pipeline.progress import Progress
from nexus_oci.pipeline.project import Project, about_repository
from nexus_oci.pipeline.records import Record
from nexus_oci.pipeline.repositories import make_repository
from nexus_oci.pipeline.signing import sign_rpms
from nexus_oci.pipeline.toolbox import Toolbox
from nexus_oci.plan.steps import Step


@dataclass(frozen=True, kw_only=True)
class Finishing:
    """The finishing of one run of a plan."""

    project: Project
    store: Store
    engine: Callable[[], Engine]
    bases: Bases
    progress: Progress
    cancel: threading.Event

    def run(self, step: Step, results: Mapping[str, Record]) -> Record:
        """Sign the files of a format, or make a repository, and verify it; `results` has the records of what the step needs."""
        for need in step.needs:
            if need not in results:
                self.bases.ensure(need)
        packages = [
            (str(title), blob)
            for need in step.needs
            if need in results
            for title, blob in zip(results[need].facts["titles"], results[need].blobs, strict=True)
        ]
        files = self._signed(packages) if step.kind == "sign" else self._repository(step, packages)
        titles = [title for title, _ in files]
        blobs = tuple(blob for _, blob in files)
        return Record(key=step.key, step=step.id, inputs=step.inputs, blobs=blobs, facts={"titles": titles})

    def _signed(self, packages: Sequence[tuple[str, Descriptor]]) -> list[tuple[str, Descriptor]]:
        key = self.project.settings.key
        assert key is not None  # noqa: S101  the plan has no such step without a key
        return sign_rpms(self._toolbox(), key, packages, self.project.stamp.epoch)

    def _repository(self, step: Step, packages: Sequence[tuple[str, Descriptor]]) -> list[tuple[str, Descriptor]]:
        kind = str(step.detail["format"])
        distribution = self.project.distribution(str(step.detail["distribution"]))
        key = self.project.settings.key
        if key is None:
            self.progress.say(
                f"WARNING: {step.id}: there is no OpenPGP key (--openpgp-key), so the repository is not signed: {kind} "
                "clients refuse it unless they are told to trust it."
            )
        return make_repository(
            "apt" if kind == "apt" else "yum",
            self._toolbox(),
            key,
            packages,
            epoch=self.project.stamp.epoch,
            about=about_repository(self.project.definition, distribution, kind),
        )

    def _toolbox(self) -> Toolbox:
        return Toolbox(engine=self.engine(), image=self.project.toolbox, store=self.store, cancel=self.cancel)
