"""The verb `lock`: asks the archives and registries what is current, and pins it."""

from __future__ import annotations

from nexus_oci.bases.host import Host
from nexus_oci.bases.lock import write_lock
from nexus_oci.bases.resolve import debian_architecture, resolve
from nexus_oci.bases.values import (
    BaseLock,
    DebianBase,
    LockedBase,
    LockedDebian,
    LockedImage,
    RegistryBase,
    definition_checksum,
)
from nexus_oci.errors import DefinitionError, LockError
from nexus_oci.oci.reference import Reference, is_loopback
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.build import LazyEngine
from nexus_oci.pipeline.container_tools import container_runner
from nexus_oci.pipeline.local_images import base_specs
from nexus_oci.pipeline.progress import Progress, StepActivity
from nexus_oci.pipeline.project import LOCK_FILE, Settings, read_locks
from nexus_oci.pipeline.registries import registry_end

BOTH = (Platform(os="linux", architecture="amd64"), Platform(os="linux", architecture="arm64"))
"""Every base is locked for these at least: a build base serves whichever machine builds."""


def refresh_lock(settings: Settings, names: tuple[str, ...], engine: LazyEngine, progress: Progress) -> dict[str, str]:
    """Write images/bases.lock anew for the named bases, or all; returns what changed, by base."""
    from nexus_oci.definition import load

    definition = load(settings.root, defaults=settings.defaults)
    specs = base_specs(definition)
    for name in names:
        if name not in specs:
            raise DefinitionError(f"there is no base {name!r}", why="the definition has " + ", ".join(sorted(specs)))
    wanted = {name: spec for name, spec in specs.items() if not names or name in names}
    old = _previous(settings)
    platforms = {*BOTH, *definition.platforms}
    architectures = sorted({debian_architecture(p.architecture, p.variant) for p in platforms})
    host = Host(
        cache=settings.cache / "bases",
        containers=container_runner(engine, None),
        progress=lambda text: progress.activity(StepActivity(step="lock", activity=text)),
    )
    debian = {name: spec for name, spec in wanted.items() if isinstance(spec, DebianBase)}
    fresh: dict[str, LockedBase] = dict(resolve(debian, architectures, host, old)) if debian else {}
    for name, spec in wanted.items():
        if isinstance(spec, RegistryBase):
            fresh[name] = _locked_image(spec, settings)
    kept = {name: entry for name, entry in old.bases.items() if name in specs}
    write_lock(settings.root / LOCK_FILE, BaseLock(bases={**kept, **fresh}))
    return {name: _change(old.bases.get(name), entry) for name, entry in sorted(fresh.items())}


def _previous(settings: Settings) -> BaseLock:
    """The lock so far; a damaged or missing one is simply replaced."""
    try:
        return read_locks(settings)
    except LockError:
        return BaseLock()


def _locked_image(spec: RegistryBase, settings: Settings) -> LockedImage:
    reference = Reference.parse(spec.image)
    end = registry_end(reference, settings.environment, plain_http=is_loopback(reference.host))
    return LockedImage(definition=definition_checksum(spec), image=spec.image, digest=end.resolve(reference.target).digest)


def _change(before: LockedBase | None, after: LockedBase) -> str:
    if before is None:
        return "new"
    if before == after:
        return "unchanged"
    if not isinstance(before, LockedDebian) or not isinstance(after, LockedDebian):
        return "changed"
    old = {(p.name, p.architecture): p.version for packages in before.packages.values() for p in packages}
    new = {(p.name, p.architecture): p.version for packages in after.packages.values() for p in packages}
    changed = sorted({key[0] for key in {*old, *new} if old.get(key) != new.get(key)})
    return f"changed: {', '.join(changed)}" if changed else "changed in its definition only"
