"""The verb `test`, as a function: each artifact is installed, started, checked, upgraded and removed on a machine of its own."""

from __future__ import annotations

import hashlib
import json
import platform as host
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from nexus_oci.acceptance import machine
from nexus_oci.acceptance.guest.subject import Subject
from nexus_oci.acceptance.results import Check, Row, read_checks
from nexus_oci.bases.resolve import debian_architecture
from nexus_oci.docker_engine import ContainerRequest, Engine
from nexus_oci.errors import NotFoundError, UsageError
from nexus_oci.formats.package import ARCHITECTURES
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.build import LazyEngine
from nexus_oci.pipeline.progress import Progress, StepChanged
from nexus_oci.pipeline.project import Settings
from nexus_oci.pipeline.testbed import ensure_testbed

TESTED: Final = ("deb",)
"""The formats that there are checks for."""
_ENDINGS: Final[Mapping[str, str]] = {".deb": "deb"}


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file to be tested. `digest` is what manifest.json says of it; empty where it is in none."""

    path: Path
    format: str
    platform: Platform
    distribution: str = ""
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class TestOptions:
    """What to test: `files`, or what a build left in `dist`; of it only some formats and distributions, where given.

    `former` is a former release's folder or file, to upgrade from.
    """

    __test__ = False  # no test of pytest's

    dist: Path
    files: tuple[Path, ...] = ()
    formats: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    former: Path | None = None
    jobs: int = 2


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What the definition says of a package, beside what the package itself says. Empty where there is no definition."""

    version: str = ""
    health: tuple[str, ...] = ()
    service: str = ""
    socket: str = ""
    user: str = ""
    paths: tuple[str, ...] = ()


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
        return [
            Artifact(
                path=dist / item["path"],
                format=item["format"],
                platform=Platform.parse(item["platform"]),
                distribution=item["distribution"] or "",
                digest=item["digest"],
            )
            for item in outputs
            if item["format"] in TESTED and item["platform"]
        ]
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no manifest.json in {dist}", hint="run `nexus-oci build` first, or name a file") from error
    except (ValueError, LookupError, TypeError) as error:
        raise NotFoundError(f"{dist / 'manifest.json'} cannot be read", why=str(error), hint="build again") from error


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
    return Platform.parse(f"linux/{host.machine()}")


@dataclass(kw_only=True)
class Testing:
    """One run of the verb."""

    __test__ = False  # no test of pytest's

    settings: Settings
    options: TestOptions
    engine: Engine
    progress: Progress
    promises: Callable[[Artifact], Promise]
    following: Callable[[Artifact], Path | str]
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
        promise = self.promises(artifact)
        files = {artifact.path.name: artifact.path}
        foreign = artifact.platform.architecture != self.engine.platform.architecture
        subject = Subject(
            format=artifact.format,
            file=f"{machine.FOLDER}/{artifact.path.name}",
            version=promise.version,
            health=promise.health,
            service=promise.service,
            socket=promise.socket,
            user=promise.user,
            expected=promise.paths,
            foreign=debian_architecture(artifact.platform.architecture, artifact.platform.variant) if foreign else "",
        )
        other = self.following(artifact)
        if isinstance(other, str):
            return replace(subject, no_following=other), files
        files[f"other/{other.name}"] = other
        place = f"{machine.FOLDER}/other/{other.name}"
        return replace(subject, preceding=place) if self.options.former else replace(subject, following=place), files


def _digest_checks(artifact: Artifact) -> tuple[Check, ...]:
    """Whether the file is the one that manifest.json lists."""
    if not artifact.digest:
        return ()
    started = time.monotonic()
    name = "the file is the one that manifest.json lists"
    try:
        with artifact.path.open("rb") as file:
            found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        why = f"it cannot be read: {error.strerror}"
    else:
        why = "" if found == artifact.digest else f"its digest is {found}, and manifest.json has {artifact.digest}"
    seconds = time.monotonic() - started
    return (Check(group="digest", name=name, status="failed" if why else "passed", why=why, seconds=seconds),)


def run_tests(settings: Settings, options: TestOptions, engine: LazyEngine, progress: Progress) -> list[Row]:
    """Test what was asked for; raises where it cannot be begun. What fails is in the rows."""
    artifacts = find_artifacts(options)
    try:
        testing = Testing(
            settings=settings,
            options=options,
            engine=engine(),
            progress=progress,
            promises=lambda _: Promise(),
            following=lambda _: "there is no other version",
        )
        return testing.run(artifacts)
    finally:
        engine.clean_up()
