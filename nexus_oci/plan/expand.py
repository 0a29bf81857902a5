"""From what is to be built to the steps that build it. Pure: files were hashed and templates rendered before.

A build step reads the stages that its target needs, the part of the context that those stages copy, the bases they start from,
and the build arguments they declare. Nothing else decides its bytes, so nothing else is in its key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nexus_oci.errors import DefinitionError, LockError
from nexus_oci.oci.values import Digest, Platform, canonical_json, digest_of
from nexus_oci.plan.steps import Plan, PlanBuilder
from nexus_oci.render.context import Context
from nexus_oci.render.dockerfile import Dockerfile

FORMAT = "1"
"""Raised whenever the program makes other bytes from the same inputs."""
BUILD_FOLDERS = ("trust",)
"""Folders of the context that tell a build about its host. They decide nothing, so they are in no key."""
IMAGE = "image"
ROOTFS = "rootfs"
REPOSITORIES = {"apt": "deb", "yum": "rpm"}
"""Formats that are made of another one's packages, of all platforms together."""
SIGNED = ("rpm",)
"""Formats whose files carry a signature inside, put there after they were extracted."""


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """A base or toolbox that a build starts from: what it is called, for which platform, and what pins it."""

    name: str
    platform: Platform
    local_name: str
    pin: Mapping[str, str]
    needs: tuple[str, ...] = ()

    @property
    def step(self) -> str:
        """The id of the step that makes it."""
        return f"base {self.name} {self.platform}"


@dataclass(frozen=True, kw_only=True)
class Build:
    """One distribution on one platform: its Dockerfile, its context, and the formats wanted beside the image."""

    distribution: str
    platform: Platform
    dockerfile: Dockerfile
    context: Context
    formats: tuple[str, ...]
    base: BaseImage
    labels: Mapping[str, str]

    @property
    def image_step(self) -> str:
        """The id of the step that makes the image."""
        return f"image {self.distribution} {self.platform}"

    def format_step(self, name: str) -> str:
        """The id of the step that extracts a format."""
        return f"{name} {self.distribution} {self.platform}"

    @property
    def extracted(self) -> tuple[str, ...]:
        """The formats that stages of this build leave."""
        return tuple(name for name in self.formats if name not in REPOSITORIES)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that a plan is expanded from."""

    name: str
    version: str
    epoch: int
    builds: Sequence[Build]
    images: Sequence[BaseImage]
    annotations: Mapping[str, str]
    chart: Mapping[str, str] | None
    encoder: str
    signing: Mapping[str, str] = field(default_factory=dict)
    """What signatures depend on beside what is signed; nothing where there is no key."""
    repositories: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By `DISTRIBUTION/FORMAT`, what a package repository depends on beside its packages."""
    toolbox: str = ""
    """The local name of the image in which files are signed and repositories made."""


def sign_step(format_step: str) -> str:
    """The id of the step that signs what a format step extracted."""
    return f"sign {format_step}"


def repository_step(distribution: str, name: str) -> str:
    """The id of the step that makes a distribution's package repository."""
    return f"{name} {distribution}"


def stage_inputs(build: Build, target: str, epoch: int, encoder: str) -> dict[str, str]:
    """What decides the bytes of one stage, as name → digest or short text."""
    dockerfile = build.dockerfile
    stages = (stage.text for stage in dockerfile.closure(target) if stage.name not in BUILD_FOLDERS)
    text = "".join((dockerfile.preamble, *stages))
    inputs = {
        "format": FORMAT,
        "encoder": encoder,
        "platform": str(build.platform),
        "dockerfile": str(digest_of(text.encode())),
        "target": target,
    }
    for path in sorted(context_paths(build, target)):
        inputs[f"context {path}"] = str(build.context.digest(path))
    if "SOURCE_DATE_EPOCH" in dockerfile.arguments(target):
        inputs["argument SOURCE_DATE_EPOCH"] = str(epoch)
    return inputs


def context_paths(build: Build, target: str) -> frozenset[str]:
    """The paths of the context that a stage reads and that decide its bytes."""
    paths = build.dockerfile.context_paths(target)
    return frozenset(path for path in paths if path.split("/")[0] not in BUILD_FOLDERS)


def layer_key(build: Build, epoch: int, encoder: str) -> Digest:
    """The key of the layer that a build's `rootfs` stage becomes; distributions with the same files and base share it."""
    inputs = stage_inputs(build, ROOTFS, epoch, encoder)
    return digest_of(canonical_json({"layer": inputs, "epoch": epoch, "base": build.base.local_name}))


def expand(request: Request) -> Plan:
    """The plan; raises `DefinitionError` for a format whose stage is missing, or a FROM that is no base of the definition."""
    plan = PlanBuilder()
    bases = {image.local_name: image for image in request.images}
    for image in request.images:
        plan.add(image.step, "base", image.pin, image.needs, image=image.local_name, platform=str(image.platform))
    for build in request.builds:
        _add_build(plan, build, bases, request)
    distributions = sorted({build.distribution for build in request.builds})
    artifacts: list[str] = []
    for distribution in distributions:
        artifacts += _add_distribution(plan, [b for b in request.builds if b.distribution == distribution], bases, request)
    indexes = tuple(f"index {distribution}" for distribution in distributions)
    charts: tuple[str, ...] = ()
    if request.chart is not None:
        charts = (plan.add("chart", "chart", request.chart, indexes).id,)
    plan.add("release", "release", _annotations(request.annotations), (*indexes, *artifacts, *charts), version=request.version)
    return Plan(name=request.name, version=request.version, epoch=request.epoch, steps=plan.steps())


def _add_build(plan: PlanBuilder, build: Build, bases: Mapping[str, BaseImage], request: Request) -> None:
    image = stage_inputs(build, IMAGE, request.epoch, request.encoder)
    image |= {"epoch": str(request.epoch), "labels": str(digest_of(canonical_json(dict(build.labels))))}
    plan.add(
        build.image_step,
        "image",
        image,
        _needed(build, IMAGE, bases),
        distribution=build.distribution,
        platform=str(build.platform),
    )
    for name in build.extracted:
        if build.dockerfile.stage(name) is None:
            raise DefinitionError(
                f"format {name!r} of {build.distribution} has no stage in its Dockerfile",
                why="its stages are " + ", ".join(stage.name for stage in build.dockerfile.stages),
                hint=f"add a stage `FROM scratch AS {name}` with the file under /{name}/, or leave {name!r} out of formats",
            )
        plan.add(
            build.format_step(name),
            "format",
            stage_inputs(build, name, request.epoch, request.encoder),
            _needed(build, name, bases),
            distribution=build.distribution,
            platform=str(build.platform),
            format=name,
        )
        if name in SIGNED and request.signing:
            needs = (build.format_step(name), *_toolbox(bases, request))
            plan.add(sign_step(build.format_step(name)), "sign", request.signing, needs, format=name)


def _toolbox(bases: Mapping[str, BaseImage], request: Request) -> tuple[str, ...]:
    return (bases[request.toolbox].step,) if request.toolbox in bases else ()


def _needed(build: Build, target: str, bases: Mapping[str, BaseImage]) -> tuple[str, ...]:
    """The base steps that a stage needs; anything else in a FROM would have to come from a registry behind our back."""
    external = sorted(build.dockerfile.external(target))
    for reference in external:
        if reference not in bases:
            raise LockError(
                f"the Dockerfile of {build.distribution} starts from {reference!r}, which is no base of the definition",
                why="a build starts only from bases that images/bases.lock pins",
                hint="declare it under `bases:`, run `nexus-oci lock`, and let the template name it by {{ base }}",
            )
    return tuple(bases[reference].step for reference in external)


def _add_distribution(plan: PlanBuilder, builds: Sequence[Build], bases: Mapping[str, BaseImage], request: Request) -> list[str]:
    distribution = builds[0].distribution
    images = tuple(build.image_step for build in builds)
    index = plan.add(f"index {distribution}", "index", _annotations(request.annotations), images).id
    files = [finished(plan, build.format_step(name)) for build in builds for name in build.extracted]
    for name in builds[0].formats:
        if name in REPOSITORIES:
            packages = tuple(finished(plan, build.format_step(REPOSITORIES[name])) for build in builds)
            inputs = request.repositories[f"{distribution}/{name}"]
            step = repository_step(distribution, name)
            needs = (*packages, *_toolbox(bases, request))
            files.append(plan.add(step, "repository", inputs, needs, distribution=distribution, format=name).id)
    return [plan.add(f"artifact {step}", "artifact", _annotations(request.annotations), (index, step)).id for step in files]


def finished(plan: PlanBuilder | Plan, step: str) -> str:
    """The id of the step that leaves a format's files as they are delivered: the one that signs them, where there is one."""
    return sign_step(step) if plan.has(sign_step(step)) else step


def _annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    return {f"annotation {key}": value for key, value in annotations.items()}
