"""The verb `build`, as a function: definition in, release in the store out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from nexus_oci.bases.fetch import LockedPackageGone
from nexus_oci.bases.lock import write_lock
from nexus_oci.bases.resolve import debian_architecture, resolve
from nexus_oci.bases.values import DebianBase, LockedDebian
from nexus_oci.docker_engine import Engine
from nexus_oci.errors import NexusError
from nexus_oci.oci.store import Store
from nexus_oci.pipeline.building import Builder, Built
from nexus_oci.pipeline.describe import check_libraries
from nexus_oci.pipeline.local_images import base_specs
from nexus_oci.pipeline.progress import Progress
from nexus_oci.pipeline.project import LOCK_FILE, Project, Settings, assemble, load_project
from nexus_oci.pipeline.releasing import Release, assemble_release, build_metadata
from nexus_oci.pipeline.signing_release import NO_PREFIX, sign_store
from nexus_oci.pipeline.signing_texts import TextSigner
from nexus_oci.pipeline.toolbox import Toolbox
from nexus_oci.trust.keys import Signer
from nexus_oci.trust.openpgp import SigningKey
from nexus_oci.trust.openpgp_secret import open_secret


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build: `jobs` steps at once; `locked` refuses to replace what the lock names; `no_cache` asks the engine afresh.

    `signer` then signs the release; its signatures name `identity`, HOST/NAMESPACE, or else the definition's registry.
    With `sbom` the files of the release have an SBOM in both forms for every image and artifact.
    """

    output: Path
    jobs: int = 4
    locked: bool = False
    no_cache: bool = False
    signer: Signer | None = None
    identity: str | None = None
    sbom: bool = False


@dataclass(kw_only=True)
class LazyEngine:
    """The container engine, reached when the first step needs it, and cleaned up after."""

    connect: Callable[[], Engine]
    _engine: Engine | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> Engine:
        """The engine; raises `EngineError` where none answers."""
        with self._lock:
            if self._engine is None:
                self._engine = self.connect()
                self._engine.prune_temporary()
            return self._engine

    @property
    def described(self) -> str | None:
        """Name and version, where the engine was needed."""
        return f"{self._engine.name} {self._engine.version}" if self._engine else None

    def clean_up(self) -> None:
        """Take away every container and image that the session does not keep."""
        if self._engine is not None:
            self._engine.clean_up()


def build_release(settings: Settings, options: BuildOptions, engine: LazyEngine, progress: Progress) -> Release:
    """Build everything that is wanted and not there yet.

    Where a locked package is gone from the mirrors, the lock is refreshed, loudly, and the build goes on with it; with
    `options.locked` the error is raised instead.
    """
    started = time.monotonic()
    if options.sbom:
        check_libraries()
    if settings.key is not None and settings.key.token is None:
        open_secret(settings.key)  # it signs at the end: what hinders it is told now
    project = load_project(settings)
    store = Store.create(options.output / "oci")
    refreshed: list[str] = []
    while True:
        builder = _builder(project, store, options, engine, progress)
        if not builder.is_complete():
            project = _for_engine(project, engine())
            builder = _builder(project, store, options, engine, progress)
        try:
            built = _run(builder, engine)
            break
        except LockedPackageGone as gone:
            if options.locked or refreshed:
                raise
            progress.say(f"WARNING: {gone.what}. The lock is refreshed; the build goes on with newer packages.")
            refreshed = [str(package) for package in gone.packages]
            project = _with_fresh_lock(project, builder, progress)
    metadata = build_metadata(project, engine=engine.described, refreshed=refreshed, seconds=time.monotonic() - started)
    release = assemble_release(project, store, built, metadata, sbom=options.sbom, texts=_texts(builder))
    if options.signer is not None:
        prefix = options.identity or project.definition.registry or ""
        if not prefix:
            progress.say(NO_PREFIX)
        signed = sign_store(store, release.descriptor, options.signer, prefix=prefix)
        progress.say(f"{signed.manifests} manifests are signed; {signed.added} signatures were added")
    return release


def _texts(builder: Builder) -> TextSigner | None:
    """What signs texts with the project's OpenPGP key; nothing where it has none."""
    project = builder.project
    key = project.settings.key
    return TextSigner(key=key, epoch=project.stamp.epoch, toolbox=builder.toolbox) if key else None


def text_signer(
    settings: Settings, key: SigningKey, store: Store, epoch: int, engine: LazyEngine, progress: Progress
) -> TextSigner:
    """What signs the texts of a release in `store` with a key on a token: in the toolbox of the project of `settings`."""
    return TextSigner(key=key, epoch=epoch, toolbox=toolbox_of(settings, store, engine, progress))


def toolbox_of(settings: Settings, store: Store, engine: LazyEngine, progress: Progress) -> Callable[[], Toolbox]:
    """What makes the toolbox of a project ready, where it is needed at all; it works in `store`."""

    def make() -> Toolbox:
        return Builder(project=load_project(settings), store=store, engine=engine, progress=progress).toolbox()

    return cache(make)


def _builder(project: Project, store: Store, options: BuildOptions, engine: LazyEngine, progress: Progress) -> Builder:
    return Builder(project=project, store=store, engine=engine, progress=progress, jobs=options.jobs, no_cache=options.no_cache)


def _for_engine(project: Project, engine: Engine) -> Project:
    """The project planned for the engine that will build it, where that is not what this machine looked like."""
    settings = project.settings
    if (settings.build_platform, settings.buildkit) == (engine.platform, engine.buildkit):
        return project
    settings = replace(settings, build_platform=engine.platform, buildkit=engine.buildkit)
    return assemble(settings, project.definition, project.checkout, project.lock)


def _run(builder: Builder, engine: LazyEngine) -> Built:
    try:
        return builder.run()
    except BaseException:
        try:
            engine.clean_up()
        except NexusError as error:
            builder.progress.say(f"the engine could not be cleaned up: {error.what}")
        raise


def _with_fresh_lock(project: Project, builder: Builder, progress: Progress) -> Project:
    """The same project under a lock made now, which is also written to the project."""
    names = {local.image.name for local in project.bases.values()}
    lock = project.lock.with_bases(refresh(project, builder, tuple(sorted(names))))
    path = project.settings.root / LOCK_FILE
    write_lock(path, lock)
    progress.say(f"WARNING: {LOCK_FILE} was written anew; commit it.")
    return assemble(project.settings, project.definition, project.checkout, lock)


def refresh(project: Project, builder: Builder, names: tuple[str, ...]) -> dict[str, LockedDebian]:
    """New answers of the archive for some of the project's Debian bases, for the architectures that they are locked for."""
    specs = {name: spec for name, spec in base_specs(project.definition).items() if isinstance(spec, DebianBase)}
    wanted = {name: specs[name] for name in names if name in specs}
    architectures = sorted({local.architecture for local in project.bases.values() if local.architecture})
    platforms = {debian_architecture(p.architecture, p.variant) for p in project.definition.platforms}
    return resolve(wanted, sorted({*architectures, *platforms}), builder.bases.host("lock"), project.lock)
