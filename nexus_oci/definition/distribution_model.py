"""One distribution of the engine: `images/runtime.yaml`, `images/container.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from nexus_oci.definition.model import Model, Written
from nexus_oci.definition.nexus_model import Platforms, Tiers
from nexus_oci.definition.package_model import ARCHIVES, PACKAGES, REPOSITORIES, Format, Package
from nexus_oci.definition.scalars import (
    AbsolutePath,
    Apart,
    Duration,
    EnvironmentValue,
    InsidePath,
    Line,
    Name,
    PlacePath,
    Port,
    Repository,
    Signal,
    Suite,
    Unique,
    Url,
    Variable,
    Words,
)

DistributionName = Literal["runtime", "library", "container", "api", "sdk"]
ALL_DISTRIBUTIONS: Final[tuple[DistributionName, ...]] = ("runtime", "library", "container", "api", "sdk")
"""The distributions that there are."""
FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "runtime": ("image", *ARCHIVES, *PACKAGES, "srpm", *REPOSITORIES),
    "library": ("image", *ARCHIVES),
    "container": ("image",),
    "api": ("image", *ARCHIVES),
    "sdk": ("image",),
}
"""The formats of each distribution, in the order in which they are listed everywhere. What is behind `api` is hosted: files of it
can be made, for whoever hosts it, and a gate keeps them from customers."""

_SECRET = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|PRIVATE_?KEY|API_?KEY|CREDENTIALS?)(?:_|$)", re.IGNORECASE
)
_ABOUT_A_SECRET = re.compile(r"_(?:FILE|PATH|DIR|DIRECTORY|URL|TTL|SECONDS|NAME|HEADER|LENGTH)$", re.IGNORECASE)
_ID = Annotated[StrictInt, Field(ge=0, le=4_294_967_294)]


def is_secret(variable: str) -> bool:
    """Whether a variable of this name holds a secret, and not merely where one is or how long it lasts."""
    return bool(_SECRET.search(variable)) and not _ABOUT_A_SECRET.search(variable)


def _healthcheck(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value != "none"):
        raise ValueError("expected a health check with a command, or none")
    return None if value == "none" else value


def _every(value: Any) -> Any:
    return ("all",) if value == "all" else value


class Healthcheck(Model):
    """A command that tells whether the engine in a container is well. Kubernetes has probes instead."""

    command: Words
    """Program and arguments; 0 means healthy."""
    interval: Duration = "30s"
    """How often it runs."""
    timeout: Duration = "5s"
    """After how long a run counts as failed."""
    retries: Annotated[StrictInt, Field(ge=1, le=100)] = 3
    """How many failures in a row make the container unhealthy."""
    start_period: Duration = "5s"
    """How long after the start failures do not count."""


class Image(Model):
    """What the image says about how it runs."""

    command: Words = ()
    """Program and arguments. Default: the engine's command; for `sdk`, which has no engine in it, none."""
    arguments: tuple[str, ...] = ()
    """Arguments that whoever runs the image may replace."""
    user: _ID = 65532
    """The numeric user that the engine runs as; 0 needs `allow-root`."""
    group: Annotated[_ID | None, Written] = None
    """The numeric group. Default: the same number as the user."""
    allow_root: StrictBool = False
    """Whether the user may be root. Most clusters refuse such an image."""
    working_directory: AbsolutePath = ""
    """The folder that the engine starts in. Default: its own, by the runtime's template."""
    environment: Mapping[Variable, EnvironmentValue] = {}
    """Environment variables. No secrets: everyone who can pull the image can read them."""
    ports: Annotated[tuple[Port, ...], Unique] = ()
    """The ports that the engine listens on, as in 8080 or 8080/udp."""
    volumes: Annotated[tuple[PlacePath, ...], Unique] = ()
    """Folders that the engine writes to."""
    labels: Mapping[Line, str] = {}
    """Labels beside the ones that the build writes (org.opencontainers.image.*)."""
    files: Annotated[Mapping[PlacePath, InsidePath], Apart] = {}
    """Files and folders to add: where they go in the image, and where they are in the engine's source. An `sdk` is made of them
    alone."""
    healthcheck: Annotated[Healthcheck | None, BeforeValidator(_healthcheck)] = None
    """How Docker asks whether the engine is well; `none` for no such check. Default: the images of Python and Node
    engines try their first TCP port, others have no check."""
    stop_signal: Signal = "SIGTERM"
    """What tells the engine to stop."""


class Policies(Model):
    """Policy files of the project that the engine is shipped with. Beside each FILE.json stands its signature, FILE.json.sig."""

    path: InsidePath
    """The folder of the files, relative to the project."""
    keys: Annotated[tuple[InsidePath, ...], Field(min_length=1), Unique]
    """Public keys (PEM), relative to the project; each file has to be signed with one of them."""
    destination: PlacePath | Literal[""] = ""
    """Where they are installed. Default: /usr/share/NAME/policies."""


class Secrets(Model):
    """Findings of the search for secrets that are none."""

    allow: Mapping[Line, Line] = {}
    """Patterns of installed paths, as in .gitignore, each with the reason why what looks like a secret there is none."""


class PackageRepositories(Model):
    """The apt and yum repositories of the distribution's packages."""

    suite: Suite = "stable"
    """The suite of the apt repository."""
    url: Url | Literal[""] = ""
    """The address of the folder that will hold `apt` and `yum`, for the clients' configuration that lies beside them."""


class Distribution(Model):
    """images/<distribution>.yaml: one way in which the engine is delivered."""

    distribution: DistributionName
    """Which one it is."""
    description: str = ""
    """What it is for. Default: the engine's description."""
    repository: Repository = ""
    """Its repository under the namespace. Default: the distribution's name."""
    base: Name = ""
    """What the image stands on. Default: by the engine's runtime: static, python or node; for `sdk` static."""
    platforms: Platforms = ()
    """What it is built for. Default: the definition's platforms."""
    formats: Annotated[tuple[Format, ...], Field(min_length=1), Unique, BeforeValidator(_every)] = ("image",)
    """What it is delivered as, or `all`; the image is always made, packages for `runtime` only."""
    tiers: Tiers = ()
    """The tiers that it is offered in. Default: the definition's tiers."""
    image: Image = Image()
    """How the image runs."""
    policies: Annotated[Policies | None, Written] = None
    """The policy cache that goes into the bundle once its signatures are verified. Default: none."""
    secrets: Secrets = Secrets()
    """What the search for secrets in the bundle does not refuse."""
    package_repositories: PackageRepositories = PackageRepositories()
    """What the apt and yum repositories say of themselves."""
    package: Package = Package()
    """What archives and packages consist of and say about themselves; for `runtime` only."""
