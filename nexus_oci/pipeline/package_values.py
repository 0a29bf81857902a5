"""What a package says about itself in one format: the definition's blocks, what the format overrides in them, and the engine."""

from __future__ import annotations

import posixpath
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.package import (
    ARCHIVE,
    PHASES,
    Interpreter,
    Launcher,
    LinuxPackage,
    MetaPackage,
    PackageFile,
    ServiceUnit,
    SocketUnit,
    UserScript,
)
from nexus_oci.formats.relations import needed, spelled
from nexus_oci.pipeline.checker import REFUSED, Checker, checker_of
from nexus_oci.pipeline.surroundings import engine_home, node_command, placed, surroundings

if TYPE_CHECKING:
    from nexus_oci.bases.values import LockedPackage
    from nexus_oci.definition.definition import Definition
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.definition.package_model import Override, Package, PackagedFile, Service
    from nexus_oci.formats.package import ConfigKind, Phase, Relations, Shell
    from nexus_oci.oci.values import Platform
    from nexus_oci.pipeline.contexts import Stamp
    from nexus_oci.render.context import ContextFile

_LICENCE = re.compile(r"(?:LICEN[CS]E|COPYING|NOTICE)(?:[.-].*)?", re.IGNORECASE)
_CONFIG: Final[Mapping[object, ConfigKind]] = {False: "", True: "noreplace", "replace": "replace", "missing-ok": "missing-ok"}
_INTERPRETERS: Final[Mapping[str, str]] = {"python": "python3", "node": "nodejs"}
"""The package of Debian that brings a runtime's interpreter, and so tells its version."""
_SYNOPSIS: Final = 80
"""Letters of a package's one-line description."""
_WIDTH: Final = 78
"""Letters of a line of the longer one."""
_C_LIBRARY: Final = "Compiled modules use the C library of their interpreter, which the package depends on."
_AS_PUBLISHED: Final = "Modules of npm are shipped as their makers published them."
_STATIC: Final = "Go links its programs statically, so that they run on every Linux of their architecture."
_LINTIAN: Final[Mapping[str, Mapping[str, str]]] = {
    "go": {"statically-linked-binary": _STATIC},
    "python": {"missing-dependency-on-libc": _C_LIBRARY},
    "node": {
        "missing-dependency-on-libc": _C_LIBRARY,
        "executable-not-elf-or-script": _AS_PUBLISHED,
        "package-contains-eslint-config-file": _AS_PUBLISHED,
        "package-contains-vcs-control-file": _AS_PUBLISHED,
        "privacy-breach-generic": _AS_PUBLISHED,
        "script-not-executable": _AS_PUBLISHED,
        "wrong-path-for-interpreter": _AS_PUBLISHED,
    },
}
"""What lintian finds in every engine of a runtime, and why it does not hold."""
_RPMLINT: Final[Mapping[str, Mapping[str, str]]] = {
    "go": {"statically-linked-binary": _STATIC},
    "node": {
        "env-script-interpreter": _AS_PUBLISHED,
        "files-duplicated-waste": _AS_PUBLISHED,
        "non-executable-script": _AS_PUBLISHED,
        "script-without-shebang": _AS_PUBLISHED,
        "zero-length": _AS_PUBLISHED,
    },
}
"""The same of rpmlint."""


def linux_package(
    definition: Definition,
    distribution: Distribution,
    platform: Platform,
    source: Mapping[str, ContextFile],
    stamp: Stamp,
    package_format: str,
    interpreter: str = "",
) -> LinuxPackage:
    """The package of a distribution in one format (of nfpm's, or `tar`), its defaults filled in from the engine.

    `interpreter` is the version of the one that an engine of Python or Node is installed for. Raises `DefinitionError` for files
    that the source does not have.
    """
    engine, package = definition.engine, distribution.package
    override = _override(package, package_format)
    name = package.name or engine.name
    user = package.user or (name if package.service else "")
    read = _Reader(definition, distribution, source)
    checker = checker_of(definition, distribution)
    launcher = _launcher(definition, interpreter, checker)
    words = "rpm" if package_format == "srpm" else package_format
    found = LinuxPackage(
        name=name,
        version=stamp.version,
        release=package.release,
        architecture=platform.architecture,
        platform=str(platform),
        maintainer=engine.maintainer,
        description=_description(name, engine.title, (engine.description, distribution.description)),
        vendor=engine.vendor,
        homepage=engine.url,
        licence=engine.licenses,
        section=(override.section if override else "") or package.section,
        priority=(override.priority if override else "") or package.priority,
        relations=_relations(package, override, words),
        files=tuple(_files(declared_files(distribution, package_format), read)),
        user=user,
        service=_service(definition, distribution, name, user, launcher, read, checker),
        socket=_socket(definition, distribution, name, user, read),
        scripts=_scripts(package, override, read),
        launcher=launcher,
        completions=_completions(package, read),
        manual={PurePosixPath(page).name: read.bytes(page, "package", "manual") for page in package.manual},
        licences=_licences(package, source, read),
        changelog=read.bytes(package.changelog, "package", "changelog").decode(errors="replace") if package.changelog else "",
        meta=_meta(distribution, name, package_format),
        lintian=_lintian(engine.runtime, package, words, checker),
        epoch=stamp.epoch,
        nfpm=dict(package.nfpm),
        program=engine.go.binary if engine.runtime == "go" else engine.name,
    )
    depends = found.relations.depends
    own = tuple(one for one in needed(found, words) if one not in depends)
    return replace(found, relations=replace(found.relations, depends=(*depends, *own)))


def _lintian(runtime: str, package: Package, package_format: str, checker: Checker | None) -> dict[str, str]:
    static = {"statically-linked-binary": _STATIC} if checker else {}
    if package_format == "rpm":
        return {**_RPMLINT.get(runtime, {}), **static, **package.lintian}
    found = {**_LINTIAN.get(runtime, {}), **static}
    if not package.manual:
        found["no-manual-page"] = "The engine's makers wrote no manual page."
    return {**found, **package.lintian}


def declared_files(distribution: Distribution, package_format: str) -> dict[str, tuple[PackagedFile, tuple[str, ...]]]:
    """The files that the definition adds to a format: each path with what is said of it, and where that is written."""
    found: dict[str, tuple[PackagedFile, tuple[str, ...]]] = {}
    found |= {path: (file, ("package", "files", path)) for path, file in distribution.package.files.items()}
    override = _override(distribution.package, package_format)
    for path, file in override.files.items() if override else ():
        found[path] = (file, ("package", "overrides", package_format, "files", path))
    names = {package_format, "tar.gz", "tar.zst"} if package_format == ARCHIVE else {package_format}
    return {path: entry for path, entry in found.items() if not entry[0].formats or names & {"all", *entry[0].formats}}


def interpreter_version(runtime: str, packages: Iterable[LockedPackage]) -> str:
    """The version of a runtime's interpreter in a base, as in `3.13.5`, or nothing where it is not known."""
    wanted = _INTERPRETERS.get(runtime)
    for package in packages:
        if package.name == wanted:
            found = re.match(r"(?:[0-9]+:)?([0-9]+(?:\.[0-9]+)*)", package.version)
            return found[1] if found else ""
    return ""


class _Reader:
    """Reads files of the engine's source that a definition names."""

    def __init__(self, definition: Definition, distribution: Distribution, source: Mapping[str, ContextFile]) -> None:
        self.definition, self.name, self.source = definition, distribution.distribution, source

    def where(self, *path: str | int) -> str:
        return self.definition.where(self.name, *path)

    def bytes(self, origin: str, *path: str | int) -> bytes:
        return content(placed(self.source, origin, origin, self.where(*path)).get(origin), f"{self.where(*path)}: {origin}")

    def names(self, origin: str, target: str, *path: str | int) -> list[str]:
        return sorted(placed(self.source, origin, target, self.where(*path)))


def content(entry: ContextFile | None, what: str) -> bytes:
    """What is in a file of the source; raises `DefinitionError` for a folder or a link."""
    if entry is not None and entry.data is not None:
        return entry.data
    if entry is None or entry.path is None:
        raise DefinitionError(f"{what} is no file", hint="name a file of the engine's source")
    return entry.path.read_bytes()


def _override(package: Package, package_format: str) -> Override | None:
    return package.overrides.get(package_format)  # type: ignore[call-overload, no-any-return]  # any format may be asked for


def _relations(package: Package, override: Override | None, package_format: str) -> Relations:
    found = spelled(package.relations.model_dump(), package_format)
    own = override.relations.model_dump(exclude_none=True) if override else {}
    return replace(found, **{name: tuple(value) for name, value in own.items()})


def _files(declared: Mapping[str, tuple[PackagedFile, tuple[str, ...]]], read: _Reader) -> Iterator[PackageFile]:
    for target, (file, where) in declared.items():
        for path in read.names(file.source, target, *where) if file.source else [target]:
            yield PackageFile(
                path=path,
                kind="config" if file.config and file.kind == "file" else file.kind,
                config=_CONFIG[file.config],
                mode=int(file.mode, 8) if file.mode else None,
                owner=file.owner,
                group=file.group,
                target=file.target,
            )


def _service(
    definition: Definition,
    distribution: Distribution,
    name: str,
    user: str,
    launcher: Launcher | None,
    read: _Reader,
    checker: Checker | None,
) -> ServiceUnit | None:
    engine, service = definition.engine, distribution.package.service
    if service is None:
        return None
    around = surroundings(engine)
    environment = {**around.environment, **service.environment}
    command = list(service.command or (*(distribution.image.command or engine.command), *distribution.image.arguments))
    own = tuple(engine.command)
    before = checker.before if checker else list
    if launcher is not None and tuple(command[: len(own)]) == own:
        # The launcher knows where the engine is and what it needs.
        command, environment, before = [f"/usr/bin/{launcher.name}", *command[len(own) :]], dict(service.environment), list
    elif engine.runtime == "node":
        command = node_command(command, engine_home(engine))
    if not command[0].startswith("/"):
        if engine.runtime == "go":
            command[0] = f"/usr/bin/{command[0]}"
        else:
            command.insert(0, "/usr/bin/env")
            environment["PATH"] = around.path
    return ServiceUnit(
        name=service.name or name,
        description=service.description or engine.title or engine.name,
        documentation=engine.documentation or engine.url,
        command=tuple(before(command)),
        user=user,
        restart=service.restart,
        state_directory=service.state_directory or (engine.name if checker else ""),
        runtime_directory=service.runtime_directory,
        kind="notify" if service.notify else "exec",
        working_directory=around.work,
        environment=environment,
        unit=_checked_unit(_unit(service, "service", read), checker, launcher, read),
        final_exits=(REFUSED,) if checker else (),
    )


def _checked_unit(unit: bytes | None, checker: Checker | None, launcher: Launcher | None, read: _Reader) -> bytes | None:
    """A unit of the definition's own; raises `DefinitionError` where it would start the engine past its checker."""
    if unit is None or checker is None:
        return unit
    ways = [checker.program, *filter(None, [checker.link, f"/usr/bin/{launcher.name}" if launcher else ""])]
    if not any(way.encode() in unit for way in ways):
        raise DefinitionError(
            f"{read.where('package', 'service', 'unit')}: the unit starts the engine without asking for an entitlement",
            why=f"it names none of {', '.join(ways)}",
            hint=f"write ExecStart={checker.program} -- PROGRAM ARGUMENTS…, and RestartPreventExitStatus={REFUSED}",
        )
    return unit


def _unit(block: Service, name: str, read: _Reader) -> bytes | None:
    return read.bytes(block.unit, "package", name, "unit") if block.unit else None


def _socket(definition: Definition, distribution: Distribution, name: str, user: str, read: _Reader) -> SocketUnit | None:
    package = distribution.package
    socket, service = package.socket, package.service
    if socket is None:
        return None
    title = (service.description if service else "") or definition.engine.title or definition.engine.name
    return SocketUnit(
        name=(service.name if service else "") or name,
        description=f"{title} (socket)",
        listen=tuple(socket.listen),
        mode=socket.mode,
        user=user or "root",
        group=socket.group or user or "root",
        unit=read.bytes(socket.unit, "package", "socket", "unit") if socket.unit else None,
    )


def _scripts(package: Package, override: Override | None, read: _Reader) -> dict[Phase, UserScript]:
    found: dict[Phase, UserScript] = {}
    for phase in PHASES:
        field = phase.replace("-", "_")
        origin = (getattr(override.scripts, field) if override else "") or getattr(package.scripts, field)
        if origin:
            found[phase] = UserScript(source=origin, data=read.bytes(origin, "package", "scripts", phase))
    return found


def _completions(package: Package, read: _Reader) -> dict[Shell, bytes]:
    shells: Sequence[Shell] = ("bash", "zsh", "fish")
    named = {shell: getattr(package.completions, shell) for shell in shells}
    return {shell: read.bytes(origin, "package", "completions", shell) for shell, origin in named.items() if origin}


def _licences(package: Package, source: Mapping[str, ContextFile], read: _Reader) -> dict[str, bytes]:
    if package.licences is not None:
        return {PurePosixPath(one).name: read.bytes(one, "package", "licences") for one in package.licences}
    names = [name.removeprefix("source/") for name in source]
    return {name: read.bytes(name, "package") for name in names if "/" not in name and _LICENCE.fullmatch(name)}


def _meta(distribution: Distribution, name: str, package_format: str) -> MetaPackage | None:
    meta = distribution.package.meta
    if meta is None or package_format not in ("deb", "rpm"):
        return None
    relations = spelled({"depends": meta.depends}, package_format)
    texts = (meta.description or f"Installs {name} and what goes with it", f"It has no files of its own, and depends on {name}.")
    return MetaPackage(name=meta.name, description=_description(meta.name, "", texts), relations=relations)


def _description(name: str, title: str, texts: Sequence[str]) -> str:
    """A line of at most 80 letters that does not begin with the package's name (Debian Policy 3.4.1), and all of the texts."""
    sentences = [" ".join(text.split()) for text in texts if text.strip()] or [title or name]
    synopsis = re.sub(
        rf"(?:{re.escape(name)}|{re.escape(title or name)})\b[:,\s]*", "", sentences[0], count=1, flags=re.IGNORECASE
    )
    synopsis = (synopsis or f"engine that is called {name}").rstrip(". ")
    if len(synopsis) > _SYNOPSIS:
        cut = synopsis[: _SYNOPSIS + 1]
        synopsis = max(cut.rpartition(", ")[0], cut.rpartition("; ")[0]) or cut.rpartition(" ")[0] or synopsis[:_SYNOPSIS]
    others = [text for text in sentences if text.rstrip(". ") != synopsis] or [
        f"This package brings {title or name} to Linux hosts."
    ]
    return "\n".join([synopsis, *"\n\n".join(textwrap.fill(text, _WIDTH) for text in others).splitlines()])


def _launcher(definition: Definition, interpreter: str, checker: Checker | None) -> Launcher | None:
    engine = definition.engine
    language = engine.runtime
    if language not in ("python", "node") or not engine.command:
        return None
    around = surroundings(engine)
    home = engine_home(engine)
    command = node_command(list(engine.command), home) if language == "node" else list(engine.command)
    return Launcher(
        name=engine.name,
        # Python's packages lie in a folder that is called by the interpreter's version.
        interpreter=Interpreter(
            language=language,
            version=interpreter,
            exact=bool(interpreter) and language == "python" and _has_packages(definition),
        ),
        command=tuple(command),
        home=home,
        work=posixpath.normpath(around.work) if around.work else "",
        path=around.path,
        environment=dict(around.environment),
        checker=checker.program if checker else "",
    )


def _has_packages(definition: Definition) -> bool:
    python = definition.engine.python
    return python.project or python.requirements != "none"
