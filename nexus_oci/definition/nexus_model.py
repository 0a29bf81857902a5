"""`images/nexus.yaml` as a whole."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from nexus_oci.definition.base_model import Bases
from nexus_oci.definition.engine_model import Engine
from nexus_oci.definition.entitlement_model import Entitlement
from nexus_oci.definition.model import Model, Written
from nexus_oci.definition.scalars import InsidePath, Name, PlatformValue, RegistryNamespace, Unique, ValuePath
from nexus_oci.oci.values import Platform

Tier = Literal["community", "developer", "professional", "enterprise", "regulated", "sovereign", "embedded"]
TIERS: Final[tuple[Tier, ...]] = (
    "community",
    "developer",
    "professional",
    "enterprise",
    "regulated",
    "sovereign",
    "embedded",
)
DEFAULT_PLATFORMS: Final = (
    Platform(os="linux", architecture="amd64"),
    Platform(os="linux", architecture="arm64"),
)
Platforms = Annotated[tuple[PlatformValue, ...], Field(min_length=1), Unique]
Tiers = Annotated[tuple[Tier, ...], Field(min_length=1), Unique]


def _short_chart(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class ChartValues(Model):
    """Where in the chart's values the release writes the image that it was built for."""

    repository: ValuePath = "image.repository"
    """The image's repository, with neither tag nor digest."""
    digest: ValuePath = "image.digest"
    """The digest of the multi-arch image."""


class Chart(Model):
    """The Helm chart that installs the engine."""

    path: InsidePath
    """The chart's folder, relative to the project."""
    distribution: Name = "container"
    """The distribution whose image the chart runs."""
    values: ChartValues = ChartValues()
    """Where the image is written in."""


class NexusFile(Model):
    """images/nexus.yaml: the engine, and what holds for all of its distributions."""

    engine: Engine
    """The product that is packaged."""
    platforms: Platforms = DEFAULT_PLATFORMS
    """What the images run on. Default: linux/amd64 and linux/arm64."""
    bases: Bases = {}  # noqa: RUF012  pydantic copies defaults
    """Bases of the project's own, by name; they stand in for shipped ones of the same name."""
    registry: RegistryNamespace | Literal[""] = ""
    """Where releases are published, HOST/NAMESPACE; the chart's values name the image there. Default: the chart's own values."""
    tiers: Tiers = TIERS
    """The tiers that the engine is offered in."""
    tier: Annotated[Tier | None, Written] = None
    """The tier whose policy a release has to meet before it is pushed (policies/tiers.yaml). Default: none; nothing is asked."""
    entitlement: Annotated[Entitlement | None, Written] = None
    """What the engine asks for before it starts (docs/licensing.md). Default: nothing."""
    chart: Annotated[Chart | None, Written, BeforeValidator(_short_chart)] = None
    """The Helm chart, or just its folder."""
