"""What a Linux package is made of, whatever its format: the values that every other module here reads.

Nothing is rendered in this module. The formats are named as nfpm names its packagers (`deb`, `rpm`, `apk`, `archlinux`, `ipk`);
`tar` stands for the archives (tar.gz, tar.zst), which carry the same files under a prefix of the user's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nexus_oci.errors import DefinitionError

PACKAGE_FORMATS: Final = ("deb", "rpm", "apk", "archlinux", "ipk")
"""The formats that a package manager installs."""
ARCHIVE: Final = "tar"
"""The format of tar.gz and tar.zst: files under a prefix, with install.sh."""

ARCHITECTURES: Final[Mapping[str, Mapping[str, str]]] = {
    "deb": {
        "amd64": "amd64", "arm64": "arm64", "arm": "armhf", "386": "i386", "ppc64le": "ppc64el", "riscv64": "riscv64",
        "s390x": "s390x", "loong64": "loong64", "mips64le": "mips64el",
    },
    "rpm": {
        "amd64": "x86_64", "arm64": "aarch64", "arm": "armv7hl", "386": "i686", "ppc64le": "ppc64le", "riscv64": "riscv64",
        "s390x": "s390x", "loong64": "loongarch64", "mips64le": "mips64el",
    },
    "apk": {
        "amd64": "x86_64", "arm64": "aarch64", "arm": "armv7", "386": "x86", "ppc64le": "ppc64le", "riscv64": "riscv64",
        "s390x": "s390x", "loong64": "loongarch64",
    },
    "archlinux": {
        "amd64": "x86_64", "arm64": "aarch64", "arm": "armv7h", "386": "i686", "ppc64le": "powerpc64le", "riscv64": "riscv64",
        "loong64": "loong64",
    },
    "ipk": {
        "amd64": "x86_64", "arm64": "aarch64_generic", "arm": "arm_cortex-a7", "386": "i386_pentium4",
        "riscv64": "riscv64_generic", "loong64": "loongarch64_generic",
    },
}  # fmt: skip
"""Format → OCI's name of an architecture → the format's own name of it."""
INDEPENDENT: Final[Mapping[str, str]] = {"deb": "all", "rpm": "noarch", "apk": "noarch", "archlinux": "any", "ipk": "all"}
"""Format → what it calls a package that fits every architecture."""

FileKind = Literal["file", "config", "directory", "link", "ghost", "doc", "licence"]
ConfigKind = Literal["", "noreplace", "replace", "missing-ok"]
Phase = Literal["before-install", "after-install", "before-remove", "after-remove"]
Shell = Literal["bash", "zsh", "fish"]
PHASES: Final[tuple[Phase, ...]] = ("before-install", "after-install", "before-remove", "after-remove")


def architecture(package_format: str, name: str) -> str:
    """A format's own name of an OCI architecture. Raises `DefinitionError` for one that the format does not know."""
    table = ARCHITECTURES[package_format]
    if name not in table:
        raise DefinitionError(
            f"{package_format} has no packages for {name}",
            why=f"it knows {', '.join(sorted(table))}",
            hint=f"leave {package_format} out of `formats`, or that platform out of `platforms`",
        )
    return table[name]


@dataclass(frozen=True, kw_only=True)
class Relations:
    """What a package asks of others, each in the syntax of the format that it is rendered into."""

    depends: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    predepends: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PackageFile:
    """A path of which more is to be said than that it is there.

    `path` is absolute, as installed. `mode` is None for the staged file's own. `target` is a link's. `config` says what an
    upgrade does with an edited file: "noreplace" keeps it, "replace" takes the new one and saves the old, "missing-ok" keeps it
    and does not mind its absence; it is "" for what is no configuration. `formats` is empty for all of them.
    """

    path: str
    kind: FileKind = "file"
    config: ConfigKind = ""
    mode: int | None = None
    owner: str = "root"
    group: str = "root"
    target: str = ""
    formats: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServiceUnit:
    """A systemd service.

    `kind` is systemd's Type=: "exec", or "notify" for a program that says READY=1. `unit` replaces what would be generated.
    `state_directory` and `runtime_directory` are names under /var/lib and /run. After an exit with one of `final_exits` systemd
    does not start it again.
    """

    name: str
    description: str
    documentation: str
    command: tuple[str, ...]
    user: str
    restart: str
    state_directory: str
    runtime_directory: str
    kind: Literal["exec", "notify"] = "exec"
    working_directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    unit: bytes | None = None
    final_exits: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SocketUnit:
    """A systemd socket of the same name as the service that it starts.

    `listen` holds paths (`/run/x/x.sock`), ports (`8080`) and addresses (`127.0.0.1:8080`, `[::1]:8080`), as ListenStream= takes
    them. `mode`, `user` and `group` are those of the paths: the group is who may connect where the mode says so.
    """

    name: str
    description: str
    listen: tuple[str, ...]
    mode: str = "0660"
    user: str = "root"
    group: str = "root"
    unit: bytes | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Those of `listen` that are files."""
        return tuple(one for one in self.listen if one.startswith("/"))


@dataclass(frozen=True, kw_only=True)
class MetaPackage:
    """A package without files that draws in others (deb and rpm)."""

    name: str
    description: str
    relations: Relations = Relations()


@dataclass(frozen=True, kw_only=True)
class UserScript:
    """A script of the definition: where it is from (for messages) and its bytes."""

    source: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """The interpreter that an engine needs on the host, and the version that it was built with (`3.13.5`; empty: not known).

    `exact` is true where the payload fits that minor version of Python, or that major version of Node, and no later one.
    """

    language: Literal["python", "node"]
    version: str
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """The program that starts an engine of an interpreter: bin/NAME beside lib/NAME.

    `command` starts with a program of the engine, `python3` or `node`. `home` is the engine's folder, `work` the folder that it
    starts in ("" for the caller's); those two and the values of `environment` and `path` are written as installed under /usr,
    and follow the prefix at run time. `checker` is a program, as installed under /usr, that is called with `--` and the command
    and becomes it, or nothing.
    """

    name: str
    interpreter: Interpreter
    command: tuple[str, ...]
    home: str
    work: str
    path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    checker: str = ""


@dataclass(frozen=True, kw_only=True)
class LinuxPackage:
    """What a package says about itself.

    `version` is semantic; `architecture` is OCI's; `platform` is for messages (`linux/amd64`). `release` counts packagings of one
    version (rpm, apk, archlinux). `epoch` is SOURCE_DATE_EPOCH: seconds since 1970, of every date here. `relations` are in the
    spelling of the format that the package is rendered into. `manual` and `licences` are texts by the name of their file
    (`engine.8`, `LICENSE`), `changelog` is Markdown (keepachangelog.com). `lintian` maps a tag to the reason for which it does
    not hold, and `nfpm` holds fields to be laid over nfpm's configuration. `program` is what completions complete; empty for the
    package's name.
    """

    name: str
    version: str
    release: str = "1"
    architecture: str
    platform: str
    maintainer: str
    description: str
    vendor: str = ""
    homepage: str = ""
    licence: str = ""
    section: str = "misc"
    priority: str = "optional"
    relations: Relations = Relations()
    files: tuple[PackageFile, ...] = ()
    user: str = ""
    service: ServiceUnit | None = None
    socket: SocketUnit | None = None
    scripts: Mapping[Phase, UserScript] = field(default_factory=dict)
    launcher: Launcher | None = None
    completions: Mapping[Shell, bytes] = field(default_factory=dict)
    manual: Mapping[str, bytes] = field(default_factory=dict)
    licences: Mapping[str, bytes] = field(default_factory=dict)
    changelog: str = ""
    meta: MetaPackage | None = None
    lintian: Mapping[str, str] = field(default_factory=dict)
    epoch: int
    nfpm: Mapping[str, Any] = field(default_factory=dict)
    program: str = ""

    @property
    def config_files(self) -> tuple[str, ...]:
        """The installed paths that are configuration, sorted."""
        return tuple(sorted(file.path for file in self.files if file.config))
