"""What the archives and packages of a distribution consist of: one block per concern, for every format.

`overrides.<format>` says what differs in one format, and `nfpm` reaches what only the packager knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StrictBool

from nexus_oci.definition.model import Model, Written
from nexus_oci.definition.scalars import (
    Apart,
    Dependency,
    EnvironmentValue,
    FileMode,
    InsidePath,
    Line,
    Listen,
    Mode,
    Name,
    PackageName,
    PlacePath,
    Revision,
    Unique,
    UserName,
    Variable,
    Words,
)

Format = Literal["all", "image", "tar.gz", "tar.zst", "deb", "rpm", "srpm", "apk", "archlinux", "ipk", "apt", "yum"]
ARCHIVES: Final = ("tar.gz", "tar.zst")
"""Archives that are unpacked anywhere."""
PACKAGES: Final = ("deb", "rpm", "apk", "archlinux", "ipk")
"""What a package manager installs."""
REPOSITORIES: Final[Mapping[str, str]] = {"apt": "deb", "yum": "rpm"}
"""Package repositories, and the format of the packages in each."""


def _short_file(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


class PackagedFile(Model):
    """A file, or something else that has a path, in a package."""

    source: InsidePath | Literal[""] = ""
    """Where it is in the engine's source; a folder brings everything in it. Directories, links and ghosts have none."""
    kind: Literal["file", "directory", "link", "ghost", "doc", "licence"] = "file"
    """What it is. `directory`: an empty one. `ghost`: made at run time, removed with the package (rpm). `doc` and `licence`:
    files that rpm lists as such."""
    config: StrictBool | Literal["replace", "missing-ok"] = False
    """Whether it is configuration, so that an upgrade keeps what the administrator wrote; with `replace` rpm puts the new file
    in place and the old one beside it, with `missing-ok` it may be absent."""
    target: Annotated[str, Field(min_length=1)] | Literal[""] = ""
    """Where a link points."""
    mode: FileMode = ""
    """Its mode, in quotes, as in "0640", or "4755" with the setuid bit. Default: 0755 for directories and what can be run,
    otherwise 0644."""
    owner: UserName = "root"
    """The user that owns it."""
    group: UserName = "root"
    """The group that owns it."""
    formats: Annotated[tuple[Format, ...], Unique] = ()
    """The formats that have it. Default: all."""
    language: Line = ""
    """The language of its text (rpm's %lang)."""


class Service(Model):
    """A systemd service, confined as far as a network server can be."""

    name: Name = ""
    """The unit's name. Default: the package's."""
    description: Line = ""
    """What `systemctl` says about it. Default: the engine's title."""
    command: Words = ()
    """Program, as an absolute path, and arguments. Default: the distribution's command and arguments."""
    environment: Mapping[Variable, EnvironmentValue] = {}
    """Environment variables. No secrets: everyone on the machine can read them."""
    notify: StrictBool = False
    """Whether the program tells systemd when it is ready (sd_notify)."""
    restart: Literal["no", "on-failure", "always"] = "on-failure"
    """When systemd starts it again."""
    state_directory: Name = ""
    """A folder under /var/lib that the service owns. Default: none."""
    runtime_directory: Name = ""
    """A folder under /run that the service owns. Default: none."""
    unit: InsidePath | Literal[""] = ""
    """A unit file of the engine's source, in place of the generated one."""


class Socket(Model):
    """Sockets that systemd opens and hands to the service (sd_listen_fds)."""

    listen: Annotated[tuple[Listen, ...], Field(min_length=1), Unique]
    """Paths, ports or addresses: /run/engine/engine.sock, 8080, 127.0.0.1:8080."""
    mode: Mode = "0660"
    """The mode of the sockets that have a path."""
    group: UserName = ""
    """The group whose members may connect. Default: the service's user's own."""
    unit: InsidePath | Literal[""] = ""
    """A unit file of the engine's source, in place of the generated one."""


class Relations(Model):
    """Other packages. A version stands in brackets: `libc6 (>= 2.36)`; each format gets its own spelling."""

    depends: Annotated[tuple[Dependency, ...], Unique] = ()
    """Packages that it needs."""
    recommends: Annotated[tuple[Dependency, ...], Unique] = ()
    """Packages that usually go with it."""
    suggests: Annotated[tuple[Dependency, ...], Unique] = ()
    """Packages that may be useful with it."""
    conflicts: Annotated[tuple[Dependency, ...], Unique] = ()
    """Packages that cannot be installed beside it."""
    replaces: Annotated[tuple[Dependency, ...], Unique] = ()
    """Packages whose files it takes over."""
    provides: Annotated[tuple[Dependency, ...], Unique] = ()
    """Names that it answers to."""
    breaks: Annotated[tuple[Dependency, ...], Unique] = ()
    """Packages that it breaks (deb)."""
    predepends: Annotated[tuple[Dependency, ...], Unique] = ()
    """Packages that have to be configured before it is unpacked (deb, ipk)."""


class OwnRelations(Model):
    """Other packages, in one format's own spelling; a list that is given takes the general one's place."""

    depends: Annotated[tuple[Line, ...] | None, Written] = None
    """Packages that it needs."""
    recommends: Annotated[tuple[Line, ...] | None, Written] = None
    """Packages that usually go with it."""
    suggests: Annotated[tuple[Line, ...] | None, Written] = None
    """Packages that may be useful with it."""
    conflicts: Annotated[tuple[Line, ...] | None, Written] = None
    """Packages that cannot be installed beside it."""
    replaces: Annotated[tuple[Line, ...] | None, Written] = None
    """Packages whose files it takes over."""
    provides: Annotated[tuple[Line, ...] | None, Written] = None
    """Names that it answers to."""
    breaks: Annotated[tuple[Line, ...] | None, Written] = None
    """Packages that it breaks (deb)."""
    predepends: Annotated[tuple[Line, ...] | None, Written] = None
    """Packages that have to be configured before it is unpacked (deb, ipk)."""


class Scripts(Model):
    """Shell scripts of the engine's source, run beside the generated ones, with the arguments of the package manager."""

    before_install: InsidePath | Literal[""] = ""
    """Before files are unpacked."""
    after_install: InsidePath | Literal[""] = ""
    """After files are unpacked."""
    before_remove: InsidePath | Literal[""] = ""
    """Before files are removed."""
    after_remove: InsidePath | Literal[""] = ""
    """After files are removed."""


class Completions(Model):
    """Completions of the command line, as files of the engine's source."""

    bash: InsidePath | Literal[""] = ""
    """For bash."""
    zsh: InsidePath | Literal[""] = ""
    """For zsh."""
    fish: InsidePath | Literal[""] = ""
    """For fish."""


class MetaPackage(Model):
    """A package without files that installs this one and what goes with it (deb and rpm)."""

    name: PackageName
    """Its name."""
    description: Line = ""
    """What it is for. Default: the distribution's description."""
    depends: Annotated[tuple[Dependency, ...], Unique] = ()
    """Packages that it brings beside this one."""


class Override(Model):
    """What differs in one format. What is given here takes the general setting's place; files are added by their path."""

    section: Line = ""
    """The part of the archive that it belongs to."""
    priority: Literal["", "required", "important", "standard", "optional"] = ""
    """How needed it is."""
    relations: OwnRelations = OwnRelations()
    """Other packages."""
    scripts: Scripts = Scripts()
    """Scripts."""
    files: Annotated[Mapping[PlacePath, Annotated[PackagedFile, BeforeValidator(_short_file)]], Apart] = {}
    """Files."""


class Package(Model):
    """What archives and packages consist of and say about themselves."""

    name: PackageName = ""
    """The package's name. Default: the engine's."""
    release: Revision = "1"
    """The revision of the packaging of one version, for rpm, apk and archlinux."""
    section: Line = "misc"
    """The part of the archive that it belongs to."""
    priority: Literal["required", "important", "standard", "optional"] = "optional"
    """How needed it is."""
    files: Annotated[Mapping[PlacePath, Annotated[PackagedFile, BeforeValidator(_short_file)]], Apart] = {}
    """Files beside the engine itself: where they go, and where they are in the engine's source."""
    user: UserName = ""
    """The system user that the service runs as; made when the package is installed. Default: the package's name, where
    there is a service."""
    service: Annotated[Service | None, Written] = None
    """The systemd service, where the engine is one."""
    socket: Annotated[Socket | None, Written] = None
    """The sockets that systemd opens for the service."""
    scripts: Scripts = Scripts()
    """Scripts that are run when the package is installed and removed."""
    relations: Relations = Relations()
    """Other packages. What the generated scripts and the engine's runtime need is added."""
    completions: Completions = Completions()
    """Completions of the command line."""
    manual: Annotated[tuple[InsidePath, ...], Unique] = ()
    """Manual pages of the engine's source, as in doc/engine.8."""
    licences: Annotated[tuple[InsidePath, ...] | None, Written, Unique] = None
    """Licence texts of the engine's source. Default: LICENSE, LICENCE, COPYING and NOTICE at its root, with any ending."""
    changelog: InsidePath | Literal[""] = ""
    """A Markdown changelog of the engine's source (keepachangelog.com). Default: one entry that names the version."""
    meta: Annotated[MetaPackage | None, Written] = None
    """A package without files that installs this one."""
    lintian: Mapping[Line, Line] = {}
    """Tags of lintian that do not apply, each with the reason."""
    overrides: Mapping[Literal["deb", "rpm", "srpm", "apk", "archlinux", "ipk", "tar"], Override] = {}
    """What differs in one format."""
    nfpm: Mapping[str, Any] = {}
    """Fields of nfpm's configuration, laid over the generated one; its own documentation says what there is. Paths are of the
    engine's source."""
