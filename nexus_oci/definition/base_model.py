"""Bases: the images that an engine is put onto (`for: target`) or built with (`for: build`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictBool, Tag

from nexus_oci.definition.model import Model, shape_of
from nexus_oci.definition.scalars import ImageReference, Name, PackageName, Suite, Unique

Purpose = Literal["target", "build"]


class Debian(Model):
    """A root file system made from Debian's signed packages."""

    suite: Suite
    """The release, as in trixie."""
    components: Annotated[tuple[Name, ...], Unique] = ("main",)
    """The archive areas to take packages from."""
    packages: Annotated[tuple[PackageName, ...], Field(min_length=1), Unique]
    """The packages that are wanted."""
    dependencies: StrictBool = True
    """Whether what the packages depend on comes too; without it, exactly the listed packages."""
    exclude: Annotated[tuple[PackageName, ...], Unique] = ()
    """Packages to leave out although something depends on them."""


class DebianBase(Model):
    """A base made from Debian's packages; needs no image registry."""

    debian: Debian
    """What it is made of."""
    for_: Purpose = "target"
    """`target`: what the engine runs on. `build`: compilers and packagers, for the build platform only."""


class ImageBase(Model):
    """A base that is pulled from a registry, and pinned by digest in images/bases.lock."""

    image: ImageReference
    """HOST/REPOSITORY:TAG."""
    for_: Purpose = "target"
    """`target`: what the engine runs on. `build`: compilers and packagers, for the build platform only."""


def _base_shape(value: Any) -> str | None:
    shape = shape_of(value, "debian", "image")
    return f"<{shape}>" if shape else None


Base = Annotated[
    Annotated[DebianBase, Tag("<debian>")] | Annotated[ImageBase, Tag("<image>")],
    Discriminator(
        _base_shape,
        custom_error_type="shape",
        custom_error_message="{debian: {suite: NAME, packages: [NAMES]}} or {image: HOST/REPOSITORY:TAG}",
    ),
]
Bases = Mapping[Name, Base]


class BasesFile(Model):
    """images/bases.yaml: the bases, by name. A project's own file stands in for the shipped ones, name by name."""

    bases: Bases
    """The bases, by name."""
