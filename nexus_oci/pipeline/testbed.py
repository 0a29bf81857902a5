"""The image of the machine that packages are tested on: a whole Debian of the locked packages, installed by its own dpkg."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from nexus_oci.bases.fetch import cached, fetch
from nexus_oci.bases.host import Host
from nexus_oci.bases.resolve import debian_architecture
from nexus_oci.bases.rootfs import make_rootfs, rootfs_key
from nexus_oci.bases.values import DebianBase, LockedPackage
from nexus_oci.docker_engine import BuildRequest, Engine
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import canonical_json, digest_of
from nexus_oci.pipeline.container_tools import container_runner
from nexus_oci.pipeline.local_images import LOCAL, TOOLBOX, base_specs
from nexus_oci.pipeline.progress import Progress, StepActivity, StepChanged
from nexus_oci.pipeline.project import Settings, default_folder, read_locks, template_folders
from nexus_oci.render.context import Context, ContextFile
from nexus_oci.render.templates import render

TESTBED = "testbed"
"""The base that lists the packages, and the step that the display shows."""
_TEMPLATE = "testbed.Dockerfile.j2"


@dataclass(frozen=True, kw_only=True)
class _Locked:
    """A base as the lock has it for the engine's own processor."""

    name: str
    spec: DebianBase
    packages: tuple[LockedPackage, ...]
    epoch: int


def ensure_testbed(settings: Settings, engine: Engine, progress: Progress, cancel: threading.Event) -> str:
    """The local name of the testbed's image, which is made where the engine has not got it.

    Raises `LockError` where the lock does not have it, and what `fetch` raises.
    """
    architecture = debian_architecture(engine.platform.architecture, engine.platform.variant)
    testbed, toolbox = _locked(settings, architecture)
    rootfs = rootfs_key(architecture, toolbox.packages, toolbox.epoch)
    base = f"{LOCAL}/{TOOLBOX}:{rootfs.short}-{engine.platform.slug}"
    text = render(template_folders(settings), _TEMPLATE, {"toolbox_base": base})
    key = digest_of(canonical_json([text, sorted(package.sha256 for package in testbed.packages)]))
    name = f"{LOCAL}/{TESTBED}:{key.short}-{engine.platform.slug}"
    if engine.image(name) is not None:
        return name
    progress.step(StepChanged(step=TESTBED, state="started"))
    host = Host(
        cache=settings.cache / "bases",
        containers=container_runner(lambda: engine, cancel),
        progress=lambda activity: progress.activity(StepActivity(step=TESTBED, activity=activity)),
    )
    if engine.image(base) is None:
        made = make_rootfs(TOOLBOX, toolbox.spec, toolbox.packages, architecture=architecture, epoch=toolbox.epoch, host=host)
        engine.load_base(made.path, tag=base, platform=engine.platform, diff_id=made.digest, cancel=cancel)
    fetch(testbed.spec, testbed.packages, host)
    progress.activity(StepActivity(step=TESTBED, activity=f"installing {len(testbed.packages)} packages"))
    context = _context(testbed, host)
    engine.build(
        BuildRequest(
            dockerfile=text,
            platform=engine.platform,
            tag=name,
            temporary=False,
            network="none",
            context=lambda: context.tar(testbed.epoch),
            title="the testbed",
        ),
        cancel=cancel,
    )
    progress.step(StepChanged(step=TESTBED, state="done"))
    return name


def _locked(settings: Settings, architecture: str) -> list[_Locked]:
    """The testbed's packages and the toolbox's, which installs them."""
    from nexus_oci.definition import load

    own = (settings.root / "images" / "nexus.yaml").is_file()
    specs = base_specs(load(settings.root if own else default_folder(), defaults=settings.defaults))
    lock = read_locks(settings)
    found = []
    for name in (TESTBED, TOOLBOX):
        spec = specs.get(name)
        if not isinstance(spec, DebianBase):
            raise DefinitionError(
                f"the base {name!r} is not made of Debian's packages",
                why="packages are tested on a Debian system",
                hint=f"leave {name!r} out of `bases:` in images/nexus.yaml, or give it a `debian:` block",
            )
        entry, packages = lock.debian(name, spec, architecture)
        found.append(_Locked(name=name, spec=spec, packages=packages, epoch=entry.epoch))
    return found


def _context(testbed: _Locked, host: Host) -> Context:
    files = {}
    for package in testbed.packages:
        path = cached(package, host.cache)
        files[f"debs/{package.name}.deb"] = ContextFile(mode=0o644, digest=package.sha256, size=package.size, path=path)
    return Context(files=files)
