"""What the images are called that a build starts from: bases as the lock pins them, and the toolbox. Nothing is made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.bases.resolve import debian_architecture
from nexus_oci.bases.rootfs import rootfs_key
from nexus_oci.bases.values import BaseLock, DebianBase, LockedPackage, RegistryBase
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Digest, Platform, canonical_json, digest_of
from nexus_oci.pipeline.packagers import Nfpm
from nexus_oci.plan.expand import BaseImage
from nexus_oci.render.context import Context
from nexus_oci.render.templates import render

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition

LOCAL = "nexus-oci.local"
"""The registry part of local image names. No such host exists, so an engine that looks for one elsewhere finds nothing."""
TOOLBOX = "toolbox"


@dataclass(frozen=True, kw_only=True)
class LocalBase:
    """A base of the definition on one platform, with what the lock says of it."""

    image: BaseImage
    spec: DebianBase | RegistryBase
    packages: tuple[LockedPackage, ...] = ()
    architecture: str = ""
    epoch: int = 0
    digest: Digest | None = None


def base_specs(definition: Definition) -> dict[str, DebianBase | RegistryBase]:
    """The definition's bases as the lock knows them."""
    found: dict[str, DebianBase | RegistryBase] = {}
    for name, base in definition.bases.items():
        purpose = "build" if base.for_ == "build" else "runtime"
        debian = getattr(base, "debian", None)
        if debian is None:
            found[name] = RegistryBase(image=str(getattr(base, "image", "")), purpose=purpose)  # type: ignore[arg-type]
        else:
            found[name] = DebianBase(
                suite=debian.suite,
                packages=debian.packages,
                components=debian.components,
                exclude=debian.exclude,
                dependencies=debian.dependencies,
                purpose=purpose,  # type: ignore[arg-type]
            )
    return found


@dataclass(kw_only=True)
class LocalImages:
    """The local images of one project, each named once; `bases` and `toolboxes` are those that were asked for."""

    definition: Definition
    lock: BaseLock
    build_platform: Platform
    folders: Sequence[Path]
    nfpm: Nfpm | None
    bases: dict[str, LocalBase] = field(default_factory=dict)
    toolboxes: dict[str, tuple[str, Context]] = field(default_factory=dict)

    def base(self, name: str, platform: Platform) -> LocalBase:
        """Base `name` on `platform`; raises `LockError` where the lock does not answer, `DefinitionError` where there is none."""
        key = f"{name} {platform}"
        if key not in self.bases:
            specs = base_specs(self.definition)
            if name not in specs:
                raise DefinitionError(
                    f"there is no base {name!r}",
                    why="the definition has " + ", ".join(sorted(specs)),
                    hint="declare it under `bases:` in images/nexus.yaml",
                )
            spec = specs[name]
            make = self._registry if isinstance(spec, RegistryBase) else self._debian
            self.bases[key] = make(name, spec, platform)  # type: ignore[arg-type]  # the kind was looked at
        return self.bases[key]

    def toolbox(self) -> str:
        """The local name of the toolbox: its root filesystem and, where a package is made, nfpm."""
        base = self.base(TOOLBOX, self.build_platform).image
        if self.nfpm is None:
            return base.local_name
        text = render(self.folders, "toolbox.Dockerfile.j2", {"toolbox_base": base.local_name})
        context = Context(files={"nfpm": self.nfpm.file})
        key = digest_of(canonical_json([text, context.digest("nfpm")]))
        name = f"{LOCAL}/{TOOLBOX}:{key.short}-tools-{self.build_platform.slug}"
        self.toolboxes[name] = (text, context)
        return name

    def used(self) -> list[BaseImage]:
        """Every image that was asked for."""
        found = [local.image for local in self.bases.values()]
        for name in self.toolboxes:
            base = self.bases[f"{TOOLBOX} {self.build_platform}"].image
            found.append(
                BaseImage(
                    name="toolbox+nfpm",
                    platform=self.build_platform,
                    local_name=name,
                    pin={"image": name},
                    needs=(base.step,),
                )
            )
        return found

    def _registry(self, name: str, spec: RegistryBase, platform: Platform) -> LocalBase:
        locked = self.lock.image(name, spec)
        image = BaseImage(
            name=name,
            platform=platform,
            pin={"image": spec.image, "digest": str(locked.digest)},
            local_name=f"{LOCAL}/{name}:{locked.digest.short}-{platform.slug}",
        )
        return LocalBase(image=image, spec=spec, digest=locked.digest)

    def _debian(self, name: str, spec: DebianBase, platform: Platform) -> LocalBase:
        architecture = debian_architecture(platform.architecture, platform.variant)
        entry, packages = self.lock.debian(name, spec, architecture)
        rootfs = rootfs_key(architecture, packages, entry.epoch)
        image = BaseImage(
            name=name,
            platform=platform,
            pin={"rootfs": str(rootfs)},
            local_name=f"{LOCAL}/{name}:{rootfs.short}-{platform.slug}",
        )
        return LocalBase(image=image, spec=spec, packages=packages, architecture=architecture, epoch=entry.epoch)
