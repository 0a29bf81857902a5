"""Fills in what a definition leaves out, so that nothing downstream has a default of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nexus_oci.definition.distribution_model import FORMATS, Distribution
from nexus_oci.definition.engine_model import Engine, Runtime
from nexus_oci.definition.nexus_model import Chart, NexusFile
from nexus_oci.definition.package_model import REPOSITORIES, Package

TARGET_BASES: Final[dict[Runtime, str]] = {"go": "static", "binary": "static", "python": "python", "node": "node"}
"""The base that an engine of each runtime stands on."""


def default_base(distribution: str, runtime: Runtime) -> str:
    """The base of a distribution that names none; an SDK runs nothing of the engine's."""
    return "static" if distribution == "sdk" else TARGET_BASES[runtime]


def complete_engine(engine: Engine) -> Engine:
    """The engine with title, command and its runtime's block filled in."""
    go = engine.go.model_copy(update={"binary": engine.go.binary or engine.name})
    requirements = engine.python.requirements or ("none" if engine.python.project else "requirements.txt")
    python = engine.python.model_copy(update={"requirements": requirements})
    command = engine.command
    if not command and engine.runtime == "go":
        command = (go.binary,)
    elif not command and engine.runtime == "node":
        command = ("node", engine.node.entry)
    return engine.model_copy(update={"title": engine.title or engine.name, "command": command, "go": go, "python": python})


def complete_distribution(distribution: Distribution, engine: Engine, nexus: NexusFile) -> Distribution:
    """A distribution with everything filled in that follows from the completed engine and the definition."""
    image = distribution.image
    image = image.model_copy(
        update={
            "command": image.command or (() if distribution.distribution == "sdk" else engine.command),
            "group": image.user if image.group is None else image.group,
        }
    )
    completed = distribution.model_copy(
        update={
            "description": distribution.description or engine.description,
            "repository": distribution.repository or distribution.distribution,
            "base": distribution.base or default_base(distribution.distribution, engine.runtime),
            "platforms": distribution.platforms or nexus.platforms,
            "formats": complete_formats(distribution.distribution, distribution.formats),
            "tiers": distribution.tiers or nexus.tiers,
            "image": image,
        }
    )
    return completed.model_copy(update={"package": _complete_package(completed, engine)})


def complete_formats(distribution: str, wanted: Iterable[str]) -> tuple[str, ...]:
    """The formats to build where `wanted` are asked for: the image always, and with a repository the packages in it."""
    names = {"image", *wanted}
    names |= {REPOSITORIES[name] for name in names if name in REPOSITORIES}
    return tuple(name for name in FORMATS[distribution] if name in names or "all" in names)


def complete_chart(chart: Chart | None, distributions: tuple[Distribution, ...]) -> Chart | None:
    """The chart with a distribution that exists: `container` where there is one, otherwise the first."""
    names = [item.distribution for item in distributions]
    if chart is None or chart.distribution in names:
        return chart
    return chart.model_copy(update={"distribution": names[0]})


def _complete_package(distribution: Distribution, engine: Engine) -> Package:
    package = distribution.package
    name = package.name or engine.name
    service = package.service
    if service is not None:
        command = service.command or (*distribution.image.command, *distribution.image.arguments)
        service = service.model_copy(
            update={
                "name": service.name or name,
                "description": service.description or engine.title,
                "command": command,
            }
        )
    user = package.user or (name if service else "")
    return package.model_copy(update={"name": name, "user": user, "service": service})
