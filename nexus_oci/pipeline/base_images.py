"""Bases where they are needed: as local images of the engine, for builds to start from, and as layers of the store, to ship."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nexus_oci.bases.host import Host
from nexus_oci.bases.rootfs import RootFs, make_rootfs
from nexus_oci.bases.values import DebianBase, RegistryBase
from nexus_oci.docker_engine import BuildRequest, Engine
from nexus_oci.errors import BuildError
from nexus_oci.oci.gzip import ENCODER
from nexus_oci.oci.layer import Layer, Rewriting, store_layer_from_file
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, digest_of
from nexus_oci.pipeline.container_tools import container_runner
from nexus_oci.pipeline.local_images import LocalBase
from nexus_oci.pipeline.progress import Progress, StepActivity, StepChanged
from nexus_oci.pipeline.project import Project
from nexus_oci.pipeline.records import Record, Records
from nexus_oci.pipeline.registry_bases import platform_manifest, pull_base_layers
from nexus_oci.plan.expand import BaseImage
from nexus_oci.release.image import ImageLayer, store_image


@dataclass(frozen=True, kw_only=True)
class BaseLayers:
    """A base as an image ships it: its layers, the digest of its own manifest, and what the engine calls the same layers.

    `engine_ids` are the engine's diff_ids in order, `known` the layers by them, `links` its links to folders.
    """

    layers: tuple[ImageLayer, ...]
    digest: Digest
    engine_ids: tuple[str, ...]
    known: Mapping[str, Layer]
    links: Mapping[str, str]


@dataclass(kw_only=True)
class Bases:
    """The bases of one project; each is made once, whoever asks first."""

    project: Project
    store: Store
    records: Records
    engine: Callable[[], Engine]
    progress: Progress
    cancel: threading.Event
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _ready: set[str] = field(default_factory=set)

    def ensure(self, step: str) -> None:
        """Make sure that the engine has the local image of a base step.

        Raises `LockedPackageGone` where the lock names what no mirror has any more.
        """
        with self._lock(step):
            if step in self._ready:
                return
            planned = self.project.plan.step(step)
            for need in planned.needs:
                self.ensure(need)
            name = str(planned.detail["image"])
            if name in self.project.toolboxes:
                self._build_toolbox(step, name)
            else:
                self._load(step, self._local(name))
            self._ready.add(step)

    def layers(self, base: BaseImage) -> BaseLayers:
        """The base's layers in the store, made from the same root filesystem that the engine was given."""
        local = self._local(base.local_name)
        with self._lock(f"layers {base.step}"):
            if isinstance(local.spec, RegistryBase):
                return self._registry_layers(local)
            return self._debian_layers(local)

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())

    def _local(self, name: str) -> LocalBase:
        return next(local for local in self.project.bases.values() if local.image.local_name == name)

    def _load(self, step: str, local: LocalBase) -> None:
        if self.engine().image(local.image.local_name) is not None:
            self.progress.step(StepChanged(step=step, state="cached"))
            return
        self.progress.step(StepChanged(step=step, state="started"))
        if isinstance(local.spec, RegistryBase):
            self._pull(local, local.spec)
        else:
            rootfs = self._rootfs(local, step)
            self.engine().load_base(
                rootfs.path, tag=local.image.local_name, platform=local.image.platform, diff_id=rootfs.digest, cancel=self.cancel
            )
        self.progress.step(StepChanged(step=step, state="done"))

    def _pull(self, local: LocalBase, spec: RegistryBase) -> None:
        assert local.digest is not None  # noqa: S101  a registry base is locked by digest
        index = Reference.parse(spec.image).at(local.digest)
        image = platform_manifest(index, local.image.platform, self.project.settings.environment)
        identity = self.engine().pull(index.at(image.digest), platform=local.image.platform, cancel=self.cancel)
        self.engine().tag(identity, local.image.local_name)

    def _rootfs(self, local: LocalBase, step: str) -> RootFs:
        assert isinstance(local.spec, DebianBase)  # noqa: S101  registry bases have no root filesystem of ours
        return make_rootfs(
            local.image.name,
            local.spec,
            local.packages,
            architecture=local.architecture,
            epoch=local.epoch,
            host=self.host(step),
        )

    def host(self, step: str = "base") -> Host:
        """The machine that makes root filesystems, with our engine for where it lacks mmdebstrap."""
        return Host(
            cache=self.project.settings.cache / "bases",
            containers=container_runner(self.engine, self.cancel),
            progress=lambda text: self.progress.activity(StepActivity(step=step, activity=text)),
        )

    def _build_toolbox(self, step: str, name: str) -> None:
        if self.engine().image(name) is not None:
            self.progress.step(StepChanged(step=step, state="cached"))
            return
        self.progress.step(StepChanged(step=step, state="started"))
        text, context = self.project.toolboxes[name]
        self.engine().build(
            BuildRequest(
                dockerfile=text,
                platform=self.project.settings.build_platform,
                tag=name,
                temporary=False,
                context=lambda: context.tar(0),
                title="the toolbox",
            ),
            cancel=self.cancel,
        )
        self.progress.step(StepChanged(step=step, state="done"))

    def _debian_layers(self, local: LocalBase) -> BaseLayers:
        key = digest_of(f"base layer {ENCODER} {local.image.local_name}".encode())

        def work() -> Record:
            rootfs = self._rootfs(local, local.image.step)
            layer = store_layer_from_file(
                self.store, rootfs.path, Rewriting(epoch=local.epoch), origin=f"base {local.image.name}"
            )
            facts = {"layer": layer.to_json(), "engine": str(rootfs.digest)}
            return Record(key=key, step=f"layer {local.image.step}", inputs={}, blobs=(layer.descriptor,), facts=facts)

        record, _ = self.records.run(key, work)
        layer = Layer.from_json(record.facts["layer"])
        shipped = ImageLayer(
            descriptor=layer.descriptor, diff_id=layer.diff_id, created_by=f"base {local.image.name} {local.image.local_name}"
        )
        return BaseLayers(
            layers=(shipped,),
            digest=self._own_manifest(local, (shipped,)),
            engine_ids=(record.facts["engine"],),
            known={record.facts["engine"]: layer},
            links=layer.links,
        )

    def _registry_layers(self, local: LocalBase) -> BaseLayers:
        assert isinstance(local.spec, RegistryBase)  # noqa: S101  the caller looked
        assert local.digest is not None  # noqa: S101  a registry base is locked by digest
        reference = Reference.parse(local.spec.image).at(local.digest)
        manifest, layers = pull_base_layers(self.store, reference, local.image.platform, self.project.settings.environment)
        engine = self.engine().image(local.image.local_name)
        if engine is None or len(engine.diff_ids) != len(layers):
            raise BuildError(f"the engine's copy of base {local.image.name} differs from the registry's")
        known: dict[str, Layer] = dict(zip(engine.diff_ids, layers, strict=True))
        shipped = tuple(
            ImageLayer(descriptor=layer.descriptor, diff_id=layer.diff_id, created_by=f"base {reference}") for layer in layers
        )
        links = {name: target for layer in layers for name, target in layer.links.items()}
        return BaseLayers(layers=shipped, digest=manifest.digest, engine_ids=engine.diff_ids, known=known, links=links)

    def _own_manifest(self, local: LocalBase, layers: tuple[ImageLayer, ...]) -> Digest:
        """The digest of the base as an image of its own: what `org.opencontainers.image.base.digest` names."""
        found: Descriptor = store_image(
            self.store, platform=local.image.platform, config={}, layers=layers, labels={}, epoch=local.epoch
        )
        return found.digest
