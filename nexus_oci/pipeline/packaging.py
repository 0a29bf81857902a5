"""What the package stages of a build are given: from a definition and a platform to files of the context, and template values.

`package/` of the context has `stage.json` (what `nexus_oci.staging.stage` is to do), `tree/` (files of every format),
`trees/FORMAT/` (files of one), and for each packager of nfpm a folder with its configuration and scripts. Only `tree/`, `trees/`
and `stage.json` reach the `staged` stage, so that a changed script packs one format anew.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nexus_oci.errors import DefinitionError
from nexus_oci.formats import documents, nfpm, versions
from nexus_oci.formats.archive import archive_files
from nexus_oci.formats.package import ARCHIVE, LinuxPackage
from nexus_oci.formats.scripts import maintainer_scripts
from nexus_oci.pipeline.package_checks import path_problems, refuse, secret_problems
from nexus_oci.pipeline.package_values import content, declared_files, linux_package
from nexus_oci.pipeline.raw_contents import RawFile, raw_files
from nexus_oci.pipeline.surroundings import placed
from nexus_oci.render.context import ContextFile, folder, in_memory
from nexus_oci.staging import program_files
from nexus_oci.staging.contents import document

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.definition.package_model import PackagedFile
    from nexus_oci.oci.values import Platform
    from nexus_oci.pipeline.contexts import Stamp

_COMPRESSORS: Final[Mapping[str, str]] = {"tar.gz": "gzip -6n", "tar.zst": "zstd -12 --threads=1 --no-progress"}
"""Archive → what compresses it: one thread, no name and no time, so that the toolbox alone decides the bytes.

gzip's and zstd's last levels save 1 % and 9 % more, and take 3 and 7 times as long.
"""
_TYPES: Final[Mapping[str, str]] = {"noreplace": "config|noreplace", "replace": "config", "missing-ok": "config|missingok"}
"""What nfpm calls the ways in which an upgrade treats a configuration file."""
_STAGED: Final = ("type", "mode", "owner", "group")
"""What the staging program wants to know of a path."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Packages that differ from the release's, to test an upgrade with: the same payload in a later version, in which every
    configuration file has something more at its end.
    """

    version: str
    config_suffix: bytes = b"\n"


@dataclass(frozen=True, kw_only=True)
class Packaging:
    """The packages of one distribution on one platform, in every format that its stages make."""

    definition: Definition
    distribution: Distribution
    platform: Platform
    source: Mapping[str, ContextFile]
    stamp: Stamp
    interpreter: str = ""
    variant: Variant | None = None
    added: Mapping[str, ContextFile] = field(default_factory=dict)
    """Files from elsewhere than the engine's source, by installed path: the verified policies."""
    nfpm: Path | None = None
    """The packager, which is asked for its schema where the definition has fields of its own for it."""

    def values(self) -> dict[str, Any]:
        """What templates know as `package`."""
        archives = [
            {"format": name, "file": f"{self.top}.{name}", "compressor": compressor} for name, compressor in _COMPRESSORS.items()
        ]
        found: dict[str, Any] = {"top": self.top, "archive": f"/staged/{ARCHIVE}", "archives": archives, "packers": []}
        for packager in self.packagers:
            package = self.package(packager)
            entry = {"packager": packager, "file": versions.file_name(package, packager), "meta": ""}
            if package.meta and packager in ("deb", "rpm"):
                entry["meta"] = versions.file_name(replace(package, name=package.meta.name), packager)
            found["packers"].append(entry)
        return found

    def files(self) -> dict[str, ContextFile]:
        """`package/` and the staging program of a build's context."""
        trees = {name: self._tree(name) for name in self.layouts}
        shared = _shared(trees)
        found: dict[str, ContextFile] = {"package/tree": folder(), "package/trees": folder()}
        found |= {f"package/tree{path}": entry for path, entry in shared.items()}
        for name, tree in trees.items():
            found |= {f"package/trees/{name}{path}": entry for path, entry in tree.items() if path not in shared}
        if ARCHIVE in trees:
            found["package/archive"] = folder()
            programs = archive_files(self.package(ARCHIVE))
            found |= {f"package/archive/{name}": in_memory(data, mode) for name, (data, mode) in programs.items()}
        for packager in self.packagers:
            found |= self._packager_files(packager)
        self._check(trees, {f"/{name}": entry for name, entry in found.items() if not name.startswith("package/tree")})
        found["package/stage.json"] = in_memory(_json(self._stage()))
        return found | {f"nexus/{name}": in_memory(data) for name, data in program_files().items()}

    @property
    def top(self) -> str:
        """The one folder of an archive, and what its file is called."""
        return f"{self.definition.engine.name}-{self._version}-{self.platform.slug}"

    @property
    def packagers(self) -> tuple[str, ...]:
        """The packagers to be run."""
        return packagers(self.definition, self.distribution)

    @property
    def layouts(self) -> tuple[str, ...]:
        """The trees to be staged: one for each packager, and one for the archives."""
        return (*self.packagers, ARCHIVE)

    def package(self, layout: str) -> LinuxPackage:
        """What the package says about itself in one format (of nfpm's packagers, or `tar`)."""
        stamp = replace(self.stamp, version=self._version)
        return linux_package(
            self.definition, self.distribution, self.platform, self.source, stamp, layout, interpreter=self.interpreter
        )

    @property
    def _version(self) -> str:
        return self.variant.version if self.variant else self.stamp.version

    def _tree(self, layout: str) -> dict[str, ContextFile]:
        """Files beside what the compile stage left, by their installed path; the definition's go before the generated."""
        package = self.package(layout)
        words = nfpm.PACKAGERS.get(layout, layout)
        found = {path: in_memory(data, mode) for path, (data, mode) in documents.staged_files(package, words).items()}
        found |= self.added
        for _, files in self._parts(layout):
            found |= files
        return found | {path: raw.file for path, raw in self._raw(layout).items() if raw.file is not None}

    def _parts(self, layout: str) -> list[tuple[str, dict[str, ContextFile]]]:
        """The files that the definition brings to a layout, by where it says so."""
        found = []
        for target, (file, where) in declared_files(self.distribution, layout).items():
            if file.kind == "directory":
                files = {target: folder(int(file.mode, 8) if file.mode else 0o755)}
            elif file.kind == "link":
                files = {target: ContextFile(mode=0o777, digest="", link=file.target)}
            else:
                files = {} if file.kind == "ghost" else self._brought(file, target, where)
            found.append((".".join(map(str, where[:-1])) + f" {where[-1]}", files))
        return found

    def _check(self, trees: Mapping[str, Mapping[str, ContextFile]], others: Mapping[str, ContextFile]) -> None:
        """Raise `DefinitionError` with everything that keeps the trees from being packaged; `others` are scripts and the like."""
        problems = [
            problem
            for layout in trees
            for problem in path_problems(self._parts(layout), self.added, _COMPRESSORS if layout == ARCHIVE else (layout,))
        ]
        refuse([*problems, *secret_problems([*trees.values(), others], self.distribution.secrets.allow)])

    def _brought(self, file: PackagedFile, target: str, where: tuple[str, ...]) -> dict[str, ContextFile]:
        found = placed(self.source, file.source, target, self._where(*where))
        if file.mode:
            found = {path: entry if entry.link else replace(entry, mode=int(file.mode, 8)) for path, entry in found.items()}
        if file.config and self.variant:
            suffix = self.variant.config_suffix
            found = {path: in_memory(content(entry, path) + suffix, entry.mode) for path, entry in found.items()}
        return found

    def _special(self, layout: str) -> dict[str, dict[str, Any]]:
        """What is said of single paths, as nfpm's contents need it."""
        languages = {path: file.language for path, (file, _) in declared_files(self.distribution, layout).items()}
        found = {}
        for file in self.package(layout).files:
            kind = _TYPES[file.config] if file.config else file.kind if file.kind in ("ghost", "doc", "licence") else ""
            entry = {"type": kind, "owner": file.owner, "group": file.group, "language": languages.get(file.path, "")}
            if file.mode is not None:
                entry["mode"] = f"{file.mode:04o}"
            found[file.path] = {key: value for key, value in entry.items() if value}
        return found | {path: raw.entry for path, raw in self._raw(layout).items()}

    def _raw(self, layout: str) -> dict[str, RawFile]:
        """The `contents` of the definition's own fields of nfpm, by path."""
        fields = self.distribution.package.nfpm
        found: dict[str, RawFile] = {}
        if fields and layout != ARCHIVE:
            self._check_fields(fields)
            for entry in nfpm.raw_contents(fields, layout):
                found |= raw_files(entry, self.source, self._where("package", "nfpm", "contents"))
        return found

    def _packager_files(self, packager: str) -> dict[str, ContextFile]:
        package, at = self.package(packager), f"package/{packager}"
        words = nfpm.PACKAGERS[packager]
        found: dict[str, ContextFile] = {}
        scripts = {}
        for key, data in maintainer_scripts(package, words).items():
            field = f"{words}.scripts.{key}" if key.endswith("upgrade") else f"scripts.{key}"
            scripts[field] = f"/{at}/scripts/{key}"
            found[f"{at}/scripts/{key}"] = in_memory(data, 0o755)
        changelog = documents.nfpm_changelog(package) if words == "rpm" else b""
        if changelog:
            found[f"{at}/changelog.yaml"] = in_memory(changelog)
        fields = self._fields(package, at, found)
        written = nfpm.configuration(package, packager, scripts, f"/{at}/changelog.yaml" if changelog else "", fields)
        found[f"{at}/nfpm.head"] = in_memory(_head(written))
        if package.meta and packager in ("deb", "rpm"):
            found |= self._meta_files(package, packager)
        return found

    def _meta_files(self, package: LinuxPackage, packager: str) -> dict[str, ContextFile]:
        """A second package without files but its own documents, which draws in the first one of the same version."""
        at = f"package/{packager}/meta"
        meta = documents.meta_package(package, packager)
        texts = documents.staged_files(meta, packager)
        found = {f"package/trees/{packager}.meta{path}": in_memory(data, mode) for path, (data, mode) in texts.items()}
        found[f"package/trees/{packager}.meta"] = folder()
        changelog = f"/{at}/changelog.yaml" if packager == "rpm" else ""
        if changelog:
            found[f"{at}/changelog.yaml"] = in_memory(documents.nfpm_changelog(meta))
        found[f"{at}/nfpm.head"] = in_memory(_head(nfpm.configuration(meta, packager, {}, changelog, meta.nfpm)))
        return found

    def _fields(self, package: LinuxPackage, at: str, found: dict[str, ContextFile]) -> dict[str, Any]:
        """The definition's own fields of nfpm, with the files that they name added to `found`."""

        def place(origin: str) -> str:
            found.update(placed(self.source, origin, f"{at}/source/{origin}", self._where("package", "nfpm")))
            return f"/{at}/source/{origin}"

        return nfpm.with_files_at(package.nfpm, place)

    def _check_fields(self, fields: Mapping[str, Any]) -> None:
        faults = nfpm.field_faults(fields, nfpm_schema(self.nfpm) if self.nfpm else {})
        if faults:
            raise DefinitionError(
                "package.nfpm is not what nfpm takes",
                problems=tuple(f"{self._where('package', 'nfpm', *fault.path)}: {fault.what}" for fault in faults),
            )

    def _stage(self) -> dict[str, Any]:
        """The task of the `staged` stage."""
        name = self.package(ARCHIVE).name
        return {
            "name": name,
            "version": self._version,
            "platform": str(self.platform),
            "distribution": self.distribution.distribution,
            "commit": self.stamp.commit,
            "epoch": self.stamp.epoch,
            "secrets": {"allow": dict(self.distribution.secrets.allow)},
            "texts": "/licences",
            "layouts": [self._layout(layout, name) for layout in self.layouts],
            "contents": [entry for packager in self.packagers for entry in self._contents(packager)],
        }

    def _contents(self, packager: str) -> list[dict[str, Any]]:
        """What nfpm's list of contents is made of, for the package and the meta-package."""
        own = {"tree": f"/staged/{packager}", "output": f"/staged/{packager}.contents", "entries": self._special(packager)}
        meta = {"tree": f"/package/trees/{packager}.meta", "output": f"/staged/{packager}.meta", "entries": {}}
        both = [own, meta] if self.package(packager).meta and packager in ("deb", "rpm") else [own]
        return [{"packager": packager, **entry} for entry in both]

    def _layout(self, layout: str, name: str) -> dict[str, Any]:
        special = {path: entry for path, entry in self._special(layout).items() if entry.get("type") != "ghost"}
        moves = {"/usr": "/"} if layout == ARCHIVE else {}
        files = {
            _moved(path, moves): {key: value for key, value in entry.items() if key in _STAGED} for path, entry in special.items()
        }
        sources: list[dict[str, Any]] = [
            {"from": "/payload", "name": "the engine", "moves": moves},
            {"from": "/package/tree", "name": "the package", "moves": moves},
            {"from": f"/package/trees/{layout}", "name": f"the package's {layout}", "moves": moves},
        ]
        if layout == ARCHIVE:
            sources.append({"from": "/package/archive", "name": "the archive's programs"})
            tree, place, formats = f"/staged/{ARCHIVE}/{self.top}", "", list(_COMPRESSORS)
        else:
            tree, place, formats = f"/staged/{layout}", f"/usr/share/{name}", [layout]
        texts = f"/usr/share/doc/{name}/licenses"
        return {
            "tree": tree,
            "sources": sources,
            "formats": formats,
            "files": files,
            "licences": _moved(texts, moves),
            "manifest": f"{place}/manifest.json",
            "sums": f"{place}/SHA256SUMS",
            "edited": layout != ARCHIVE,
        }

    def _where(self, *path: str | int) -> str:
        return self.definition.where(self.distribution.distribution, *path)


def packagers(definition: Definition, distribution: Distribution) -> tuple[str, ...]:
    """nfpm's packagers of the formats that are asked for or that the definition has.

    All of them, so that the stages of a format stay the same whichever others are asked for with it.
    """
    own = definition.distribution(distribution.distribution)
    wanted = {*distribution.formats, *(own.formats if own else ())}
    return tuple(name for name in nfpm.PACKAGERS if name in wanted)


def packs(distribution: Distribution) -> bool:
    """Whether anything but images is asked for."""
    return any(name != "image" for name in distribution.formats)


@cache
def nfpm_schema(program: Path) -> Mapping[str, Any]:
    """The JSON schema of nfpm's configuration, from nfpm itself."""
    done = subprocess.run([program, "jsonschema"], capture_output=True, check=True)  # noqa: S603  the packager that was found
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def _shared(trees: Mapping[str, Mapping[str, ContextFile]]) -> dict[str, ContextFile]:
    """What is the same in every tree."""
    first, *others = trees.values()
    return {path: entry for path, entry in first.items() if all(other.get(path) == entry for other in others)}


def _moved(path: str, moves: Mapping[str, str]) -> str:
    return path.removeprefix("/usr") if moves and path.startswith("/usr/") else path


def _head(data: Mapping[str, Any]) -> bytes:
    """A configuration of nfpm without its end, which is the list of contents."""
    return document(data).rstrip().removesuffix("}").rstrip().encode() + b',\n"contents":\n'


def _json(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"
