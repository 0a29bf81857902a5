"""What a test knows of packages from the definition: what they promise to have, and a later version of each to upgrade to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from nexus_oci.docker_engine import Engine
from nexus_oci.formats.package import ARCHIVE, LinuxPackage
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Digest, Platform
from nexus_oci.pipeline.base_images import Bases
from nexus_oci.pipeline.checker import checker_of
from nexus_oci.pipeline.package_values import linux_package
from nexus_oci.pipeline.packaging import Variant
from nexus_oci.pipeline.payload import stage_files
from nexus_oci.pipeline.progress import Progress
from nexus_oci.pipeline.project import Project, Settings, load_project
from nexus_oci.pipeline.records import Records
from nexus_oci.pipeline.sources import source_files
from nexus_oci.pipeline.stages import FORMATS, Stages, with_formats
from nexus_oci.plan.expand import REPOSITORIES

_LAYOUTS: Mapping[str, str] = {"tar.gz": ARCHIVE, "tar.zst": ARCHIVE, "srpm": "rpm", **REPOSITORIES}


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What the definition says of a package, to be held against what is in it. `paths` are absolute, as installed.

    `allowed` are tags of linters that it gives reasons against, `meta` is the package without files that draws this one in.
    """

    name: str = ""
    version: str = ""
    health: tuple[str, ...] = ()
    service: str = ""
    socket: str = ""
    user: str = ""
    paths: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    meta: str = ""
    needs_entitlement: bool = False
    """Whether the engine starts with an entitlement only."""


@dataclass(kw_only=True)
class Definitions:
    """The project that packages were built from. `version` is that of the packages to be tested."""

    settings: Settings
    version: str
    engine: Callable[[], Engine]
    progress: Progress
    cancel: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def project(self) -> Project:
        """The project, with packages of the next version."""
        return load_project(replace(self.settings, variant=Variant(version=next_version(self.version)), key=None))

    def promise(self, distribution: str, package_format: str, platform: Platform) -> Promise:
        """What the package of a distribution should have in one format."""
        found = self.project.definition.distribution(distribution)
        if found is None:
            return Promise()
        checkout = self.project.checkout
        source = source_files(self.project.definition, checkout)
        layout = _LAYOUTS.get(package_format, package_format)
        package = linux_package(self.project.definition, found, platform, source, checkout.stamp, layout)
        check, checker = found.image.healthcheck, checker_of(self.project.definition, found)
        return Promise(
            needs_entitlement=checker is not None and checker.required,
            name=package.name,
            version=self.version,
            health=tuple(check.command) if check else (),
            service=f"{package.service.name}.service" if package.service else "",
            socket=f"{package.socket.name}.socket" if package.socket else "",
            user=package.user,
            paths=_paths(package, layout),
            meta=package.meta.name if package.meta and layout in ("deb", "rpm") else "",
            allowed=tuple(sorted({tag.split()[0] for tag in package.lintian})),
        )

    def pack(self, wanted: Sequence[tuple[str, str, Platform]], folder: Path) -> dict[tuple[str, str, Platform], list[Path]]:
        """Pack the later version of what is wanted (distribution, format, platform) into `folder`.

        What stages do not make (repositories) is left out.
        """
        project = self.project
        store = Store.create(folder)
        records = Records(store, self.progress.say)
        bases = Bases(
            project=project, store=store, records=records, engine=self.engine, progress=self.progress, cancel=self.cancel
        )
        stages = Stages(project=project, bases=bases, engine=self.engine, progress=self.progress, cancel=self.cancel)
        packed = {}
        for build in project.builds:
            names = [name for name in build.extracted if (build.distribution, name, build.platform) in wanted]
            if not names:
                continue
            steps = [build.format_step(name) for name in names]
            with (
                stages.built(steps, with_formats(build, names), FORMATS) as tag,
                self.engine().export_folder(tag, f"/{FORMATS}", cancel=self.cancel) as stream,
            ):
                types = {name: media_types.ARTIFACTS[name][1] for name in names}
                found = stage_files(store, stream, folder=FORMATS, formats=types, step=steps[0])
            for name, files in found.items():
                paths = [_named(store, folder, title, blob.digest) for title, blob in files]
                packed[build.distribution, name, build.platform] = paths
        return packed


def next_version(version: str) -> str:
    """The version of the release after this one: `1.0.1` after `1.0.0`, and after `1.0.1-rc.1`."""
    from semver import Version

    found = Version.parse(version)
    return str(found.finalize_version() if found.prerelease else found.bump_patch())


def _named(store: Store, folder: Path, title: str, digest: Digest) -> Path:
    """A blob of the store under the name that its file has."""
    target = folder / "named" / title
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    target.hardlink_to(store.path(digest))
    return target


def _paths(package: LinuxPackage, layout: str) -> tuple[str, ...]:
    wanted = (file for file in package.files if file.kind != "ghost" and (not file.formats or layout in file.formats))
    return tuple(sorted(file.path for file in wanted))
