"""The verb `test`, as a function: each artifact is installed, started, checked, upgraded and removed on a machine of its own."""

from __future__ import annotations

import hashlib
import json
import platform as host
import re
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from nexus_oci.acceptance import machine
from nexus_oci.acceptance.guest.subject import Subject
from nexus_oci.acceptance.results import Check, Row, Status, read_checks
from nexus_oci.bases.resolve import debian_architecture
from nexus_oci.docker_engine import ContainerRequest, Engine
from nexus_oci.errors import NotFoundError, UsageError
from nexus_oci.formats.package import ARCHITECTURES
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.build import LazyEngine
from nexus_oci.pipeline.entitlements import token_place
from nexus_oci.pipeline.following import Definitions, Promise
from nexus_oci.pipeline.progress import Progress, StepChanged
from nexus_oci.pipeline.project import Settings
from nexus_oci.pipeline.testbed import ensure_testbed
from nexus_oci.plan.expand import REPOSITORIES

TESTED: Final = ("tar.gz", "tar.zst", "deb", "rpm", "srpm", "apk", "archlinux", "ipk", "apt", "yum")
"""The formats that there are checks for."""
_OWN: Final = Platform.parse(f"linux/{host.machine()}")
_UNENTITLED: Final = "the engine starts with an entitlement only, and --entitlement names none"
_ENDINGS: Final[Mapping[str, str]] = {
    ".deb": "deb",
    ".src.rpm": "srpm",
    ".rpm": "rpm",
    ".apk": "apk",
    ".pkg.tar.zst": "archlinux",
    ".ipk": "ipk",
    ".tar.gz": "tar.gz",
    ".tar.zst": "tar.zst",
}


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file to be tested, or a folder with a repository. `digests` are what manifest.json says of its files, by their paths."""

    path: Path
    format: str
    platform: Platform
    distribution: str = ""
    digests: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """What to test: `files`, or what a build left in `dist`; of it only some formats and distributions, where given.

    `former` is a former release's folder or file, to upgrade from. `entitlement` is the file of a token that the engine asks for.
    """

    __test__ = False  # no test of pytest's

    dist: Path
    files: tuple[Path, ...] = ()
    formats: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    former: Path | None = None
    entitlement: Path | None = None
    jobs: int = 2


def find_artifacts(options: TestOptions) -> list[Artifact]:
    """The files to be tested; raises `NotFoundError` where there is none, `UsageError` for one of a kind that is not known."""
    if options.files:
        return [_named(path) for path in options.files]
    found = [
        artifact
        for artifact in listed_artifacts(options.dist)
        if (not options.formats or artifact.format in options.formats)
        and (not options.distributions or artifact.distribution in options.distributions)
        and (not options.platforms or artifact.platform in options.platforms)
    ]
    if not found:
        raise NotFoundError(
            f"there is nothing to test in {options.dist}",
            why="its manifest.json lists no package of the formats, platforms and distributions that were asked for",
            hint="build with `nexus-oci build --distribution runtime --format all`",
        )
    return found


def listed_artifacts(dist: Path) -> list[Artifact]:
    """The packages that dist/manifest.json lists."""
    try:
        outputs: list[dict[str, Any]] = json.loads((dist / "manifest.json").read_bytes())["outputs"]
        items = [item for item in outputs if item["format"] in TESTED]
        found = [_file(dist, item) for item in items if item["format"] not in REPOSITORIES]
        folders: dict[tuple[str, str], dict[Path, str]] = {}
        for item in items:
            if item["format"] in REPOSITORIES:
                files = folders.setdefault((item["distribution"], item["format"]), {})
                files[dist / item["path"]] = item["digest"]
        return found + [_folder(dist, *key, files) for key, files in folders.items()]
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no manifest.json in {dist}", hint="run `nexus-oci build` first, or name a file") from error
    except (ValueError, LookupError, TypeError) as error:
        raise NotFoundError(f"{dist / 'manifest.json'} cannot be read", why=str(error), hint="build again") from error


def _file(dist: Path, item: Mapping[str, Any]) -> Artifact:
    path = dist / item["path"]
    return Artifact(
        path=path,
        format=item["format"],
        platform=Platform.parse(item["platform"]),
        distribution=item["distribution"],
        digests={path: item["digest"]},
    )


def _folder(dist: Path, distribution: str, package_format: str, files: Mapping[Path, str]) -> Artifact:
    """A repository, which has packages of every platform; this machine installs those of its own."""
    return Artifact(
        path=dist / "artifacts" / distribution / package_format,
        format=package_format,
        platform=_OWN,
        distribution=distribution,
        digests=files,
    )


def _named(path: Path) -> Artifact:
    """A file of the command line: what it is, and what it is for, shows in its name."""
    if not path.exists():
        raise NotFoundError(f"there is no file {path}")
    for ending, name in _ENDINGS.items():
        if path.name.endswith(ending):
            return Artifact(path=path, format=name, platform=_platform_of(path.name, name))
    raise UsageError(f"{path} is no package that can be tested", why="known are " + ", ".join(_ENDINGS))


def _platform_of(name: str, package_format: str) -> Platform:
    """The platform in a file's name, in the format's own word for it or in OCI's; this machine's where there is none."""
    words = {own: oci for oci, own in ARCHITECTURES.get(package_format, {}).items()} | {oci: oci for oci in ARCHITECTURES["deb"]}
    for word in sorted(words, key=len, reverse=True):
        if re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", name):
            return Platform(os="linux", architecture=words[word])
    return _OWN


@dataclass(kw_only=True)
class Testing:
    """One run of the verb."""

    __test__ = False  # no test of pytest's

    settings: Settings
    options: TestOptions
    engine: Engine
    progress: Progress
    others: _Others
    cancel: threading.Event = field(default_factory=threading.Event)

    def run(self, artifacts: Sequence[Artifact]) -> list[Row]:
        """Test each artifact, `jobs` at once; the rows are in the artifacts' order."""
        image = ensure_testbed(self.settings, self.engine, self.progress, self.cancel)
        try:
            with ThreadPoolExecutor(max_workers=self.options.jobs) as pool:
                return list(pool.map(lambda artifact: self._row(image, artifact), artifacts))
        except BaseException:
            self.cancel.set()
            raise

    def _row(self, image: str, artifact: Artifact) -> Row:
        step = f"test {artifact.path.name}"
        started = time.monotonic()
        self.progress.step(StepChanged(step=step, state="started"))
        checks = (*_digest_checks(artifact), *self._checks(image, artifact))
        row = Row(
            file=artifact.path.name,
            format=artifact.format,
            platform=str(artifact.platform),
            checks=checks,
            seconds=time.monotonic() - started,
        )
        self.progress.step(StepChanged(step=step, state="failed" if row.status == "failed" else "done", seconds=row.seconds))
        return row

    def _checks(self, image: str, artifact: Artifact) -> tuple[Check, ...]:
        subject, files = self._subject(artifact)
        request = ContainerRequest(
            image=image,
            command=machine.INIT,
            platform=self.engine.platform,
            tmpfs=machine.TMPFS,
            capabilities=machine.CAPABILITIES,
            unconfined=True,
        )
        with self.engine.start(request) as container:
            container.put(machine.load(subject, files))
            done = container.execute(machine.command())
            if done.exit_code:
                out, err = container.logs()
                why = (done.stderr or err or out).decode(errors="replace").strip()[-1500:]
                broken = Check(group="testbed", name="the testbed works", status="failed", why=why)
                return (*read_checks(done.stdout.decode(errors="replace"), artifact.path.name), broken)
        return read_checks(done.stdout.decode(errors="replace"), artifact.path.name)

    def _subject(self, artifact: Artifact) -> tuple[Subject, dict[str, Path]]:
        """What the guest is told, and the files that it is given."""
        promise = self.others.promises.get(artifact.path, Promise())
        foreign = artifact.platform.architecture != self.engine.platform.architecture
        subject = Subject(
            format=artifact.format,
            file=_place(artifact.path),
            foreign=debian_architecture(artifact.platform.architecture, artifact.platform.variant) if foreign else "",
            allowed=promise.allowed,
            name=promise.name,
            meta=promise.meta,
        )
        files = [artifact.path]
        if self.options.entitlement:
            files.append(self.options.entitlement)
            own = _place(self.options.entitlement)
            subject = replace(subject, entitlement=own, entitlement_place=token_place(self.options.entitlement))
        elif promise.needs_entitlement:
            subject = replace(subject, unentitled=_UNENTITLED)
        main = self.others.main(artifact)
        if main is None:
            subject = replace(
                subject,
                version=promise.version,
                health=promise.health,
                service=promise.service,
                socket=promise.socket,
                user=promise.user,
                expected=promise.paths,
            )
        else:
            files.append(main.path)
            subject = replace(subject, beside={subject.file: _place(main.path)})
        other = self._other(artifact)
        if other is None:
            return replace(subject, no_following=self.others.none or "nothing packs a later version of it"), _places(files)
        files.append(other)
        other_main = self._other(main) if main else None
        if other_main:
            files.append(other_main)
            subject = replace(subject, beside={**subject.beside, _place(other): _place(other_main)})
        former = _place(other) if self.options.former else ""
        return replace(subject, preceding=former, following="" if former else _place(other)), _places(files)

    def _other(self, artifact: Artifact) -> Path | None:
        """The same package in another version: of several the one whose name goes on like this one's."""
        found = self.others.packages.get(artifact.path, [])
        return max(found, key=lambda path: _common(path.name, artifact.path.name), default=None)


def _place(path: Path) -> str:
    """Where a file is in the testbed."""
    return f"{machine.FOLDER}/{_folder_of(path)}/{path.name}"


def _places(paths: Sequence[Path]) -> dict[str, Path]:
    return {f"{_folder_of(path)}/{path.name}": path for path in paths}


def _folder_of(path: Path) -> str:
    """A folder of its own for each folder that files come from, since two versions may have one name."""
    return f"from-{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}"


def _common(one: str, other: str) -> int:
    """How many letters two names have in common before they differ."""
    return next(
        (index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def _digest_checks(artifact: Artifact) -> tuple[Check, ...]:
    """Whether each file is the one that manifest.json lists, and no other lies beside it."""
    if not artifact.digests:
        return ()
    started = time.monotonic()
    wrong = []
    for path, digest in artifact.digests.items():
        try:
            with path.open("rb") as file:
                found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            wrong.append(f"{path.name} cannot be read: {error.strerror}")
        else:
            if found != digest:
                wrong.append(f"the digest of {path.name} is {found}, and manifest.json has {digest}")
    there = (path for path in artifact.path.rglob("*") if path.is_file()) if artifact.path.is_dir() else ()
    wrong += [f"{path.relative_to(artifact.path)} is not listed" for path in there if path not in artifact.digests]
    name = "what is on disk is what manifest.json lists"
    status: Status = "failed" if wrong else "passed"
    seconds = time.monotonic() - started
    return (Check(group="digest", name=name, status=status, why="; ".join(wrong[:5]), seconds=seconds),)


def run_tests(settings: Settings, options: TestOptions, engine: LazyEngine, progress: Progress) -> list[Row]:
    """Test what was asked for; raises where it cannot be begun. What fails is in the rows."""
    artifacts = find_artifacts(options)
    try:
        with tempfile.TemporaryDirectory(prefix="nexus-oci-test-") as folder:
            others = _Others(settings=settings, options=options, engine=engine, progress=progress, folder=Path(folder))
            others.find(artifacts)
            testing = Testing(settings=settings, options=options, engine=engine(), progress=progress, others=others)
            return testing.run(artifacts)
    finally:
        engine.clean_up()


@dataclass(kw_only=True)
class _Others:
    """What an artifact is held against, and what it is upgraded to or from."""

    settings: Settings
    options: TestOptions
    engine: LazyEngine
    progress: Progress
    folder: Path
    promises: dict[Path, Promise] = field(default_factory=dict)
    packages: dict[Path, list[Path]] = field(default_factory=dict)
    mains: dict[Path, Artifact] = field(default_factory=dict)
    none: str = ""

    def find(self, artifacts: Sequence[Artifact]) -> None:
        """Ask the definition, where there is one, and pack what comes after the artifacts, where no former release was named."""
        listed = [artifact for artifact in artifacts if artifact.distribution]
        if self.options.former:
            self._find_former(artifacts, self.options.former)
        if not listed or not (self.settings.root / "images" / "nexus.yaml").is_file():
            self.none = "the definition that it was built from is not here, and --from names no former release"
            return
        wanted = [(artifact.distribution, artifact.format, artifact.platform) for artifact in listed]
        settings = replace(
            self.settings,
            distributions=tuple(sorted({name for name, _, _ in wanted})),
            platforms=tuple(sorted({platform for _, _, platform in wanted}, key=str)),
            formats=tuple(sorted({name for _, name, _ in wanted})),
        )
        definitions = Definitions(
            settings=settings, version=_version(self.options.dist), engine=self.engine, progress=self.progress
        )
        for artifact in listed:
            self.promises[artifact.path] = definitions.promise(artifact.distribution, artifact.format, artifact.platform)
        self._pair(listed)
        if self.options.former:
            return
        packed = definitions.pack(wanted, self.folder)
        for artifact in listed:
            found = packed.get((artifact.distribution, artifact.format, artifact.platform), [])
            for one in (artifact, self.main(artifact)):
                if one:
                    self.packages[one.path] = found

    def _pair(self, artifacts: Sequence[Artifact]) -> None:
        """Find the packages without files, and for each the one that it draws in."""
        for artifact in artifacts:
            if self._is_meta(artifact):
                alike = (
                    one
                    for one in listed_artifacts(self.options.dist)
                    if (one.distribution, one.format, one.platform) == (artifact.distribution, artifact.format, artifact.platform)
                )
                self.mains[artifact.path] = next(one for one in alike if one.path != artifact.path)

    def _is_meta(self, artifact: Artifact) -> bool:
        meta = self.promises[artifact.path].meta
        return bool(meta and re.match(rf"{re.escape(meta)}[_-][0-9]", artifact.path.name))

    def main(self, artifact: Artifact) -> Artifact | None:
        """The package that one without files draws in; nothing for any other."""
        return self.mains.get(artifact.path)

    def _find_former(self, artifacts: Sequence[Artifact], former: Path) -> None:
        self.none = f"{former} has no package of this format for this platform"
        found = [_named(former)] if former.is_file() else listed_artifacts(former)
        for artifact in artifacts:
            same = [one for one in found if (one.format, one.platform) == (artifact.format, artifact.platform)]
            if artifact.distribution:
                same = [one for one in same if one.distribution in ("", artifact.distribution)]
            self.packages[artifact.path] = [one.path for one in same]


def _version(dist: Path) -> str:
    """The version that metadata.json says was built."""
    try:
        return str(json.loads((dist / "metadata.json").read_bytes())["version"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise NotFoundError(f"{dist / 'metadata.json'} cannot be read", why=str(error), hint="build again") from error
