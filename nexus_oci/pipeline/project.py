"""From a folder to everything that a plan is made of: definition, version, time, source, lock, Dockerfiles, contexts.

Nothing here builds; files are read and hashed, git is asked, templates are rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.bases.values import BaseLock
from nexus_oci.errors import DefinitionError
from nexus_oci.oci import media_types
from nexus_oci.oci.gzip import ENCODER
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.checker import BASE, checker_of
from nexus_oci.pipeline.contexts import Stamp, StartingPoints, build_context, template_values
from nexus_oci.pipeline.file_sizes import size_guard
from nexus_oci.pipeline.local_images import LocalBase, LocalImages
from nexus_oci.pipeline.package_values import interpreter_version
from nexus_oci.pipeline.packagers import Nfpm, find_nfpm
from nexus_oci.pipeline.packaging import Packaging, Variant, packagers
from nexus_oci.pipeline.policy_cache import policy_files
from nexus_oci.pipeline.repositories import KINDS, URL, About, repository_inputs
from nexus_oci.pipeline.signing import signing_inputs
from nexus_oci.pipeline.signing_texts import chart_inputs
from nexus_oci.pipeline.sources import Checkout, check_out, source_files
from nexus_oci.plan.expand import Build, Request, expand
from nexus_oci.plan.steps import Plan
from nexus_oci.release.image import timestamp
from nexus_oci.render.context import Context, ContextFile, from_tree
from nexus_oci.render.dockerfile import Dockerfile
from nexus_oci.render.templates import render

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.definition.nexus_model import Chart
    from nexus_oci.trust.openpgp import SigningKey

LOCK_FILE = "images/bases.lock"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the caller decides: folders, the platform that builds, what to leave out, and the OpenPGP key that signs packages.

    With a `variant` the packages are others than the release's: see `Variant`. `address` is where the release shall say that its
    source is, whatever the repository was cloned from.
    """

    root: Path
    defaults: Path
    cache: Path
    build_platform: Platform
    buildkit: bool
    environment: Mapping[str, str]
    distributions: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    formats: tuple[str, ...] = ()
    key: SigningKey | None = None
    variant: Variant | None = None
    address: str | None = None
    say: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True, kw_only=True)
class Project:
    """A definition, made ready to be planned and built."""

    settings: Settings
    definition: Definition
    checkout: Checkout
    stamp: Stamp
    lock: BaseLock
    bases: Mapping[str, LocalBase]
    toolboxes: Mapping[str, tuple[str, Context]]
    toolbox: str
    """The local name of the image that packs, signs and checks; nothing where there is nothing to do in it."""
    builds: tuple[Build, ...]
    chart_files: Mapping[str, ContextFile]
    nfpm: Nfpm | None
    plan: Plan

    def build(self, step: str) -> Build:
        """The build that an image or format step belongs to."""
        return next(b for b in self.builds if step == b.image_step or step in {b.format_step(f) for f in b.extracted})

    def distribution(self, name: str) -> Distribution:
        """The definition of a distribution that is being built."""
        found = self.definition.distribution(name)
        assert found is not None  # noqa: S101  builds are made from the definition
        return found


def default_folder() -> Path:
    """The folder of the shipped images/, dockerfiles/ and helm/: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "defaults"
    return inside if inside.is_dir() else package.parent


def load_project(settings: Settings) -> Project:
    """Read everything under `settings.root`; raises `DefinitionError` and `LockError` with all that is wrong."""
    from nexus_oci.definition import check_sources, load

    definition = load(settings.root, defaults=settings.defaults)
    checkout = check_out(definition, settings.cache, settings.environment, settings.say)
    if settings.address is not None:
        checkout = replace(checkout, address=settings.address)
    problems = check_sources(definition, settings.root, source=checkout.source)
    if problems:
        raise DefinitionError("the definition names files that are not there", problems=problems)
    lock = read_locks(settings)
    return assemble(settings, definition, checkout, lock)


def assemble(settings: Settings, definition: Definition, checkout: Checkout, lock: BaseLock) -> Project:
    """The project under a given lock; a build that had to refresh the lock calls it again."""
    wanted = _wanted(settings, definition)
    packs = any(len(distribution.formats) > 1 for distribution, _ in wanted)
    named = tuple(dict.fromkeys(name for distribution, _ in wanted for name in packagers(definition, distribution)))
    nfpm = find_nfpm(settings.build_platform, named) if packs and named else None
    images = LocalImages(
        definition=definition, lock=lock, build_platform=settings.build_platform, folders=template_folders(settings), nfpm=nfpm
    )
    source = source_files(definition, checkout, size_guard(definition, wanted))
    labels = release_labels(definition, checkout)
    builds = tuple(
        _build(settings, definition, distribution, platform, images, source, checkout.stamp, labels, packs=packs)
        for distribution, platform in wanted
    )
    chart_files = _chart_files(settings, definition)
    in_toolbox = packs or (settings.key is not None and settings.key.token is not None)
    toolbox = images.toolbox() if in_toolbox else ""
    plan = expand(
        Request(
            name=definition.engine.name,
            version=checkout.stamp.version,
            epoch=checkout.stamp.epoch,
            builds=builds,
            images=images.used(),
            annotations=labels,
            chart=_chart_inputs(definition, chart_files, checkout.stamp, settings.key),
            encoder=ENCODER,
            signing=signing_inputs(settings.key, checkout.stamp.epoch) if settings.key else {},
            repositories=_repositories(settings, definition, wanted, checkout.stamp.epoch),
            toolbox=toolbox,
        )
    )
    return Project(
        settings=settings,
        definition=definition,
        checkout=checkout,
        stamp=checkout.stamp,
        lock=lock,
        bases=images.bases,
        toolboxes=images.toolboxes,
        toolbox=toolbox,
        builds=builds,
        chart_files=chart_files,
        nfpm=nfpm,
        plan=plan,
    )


def about_repository(definition: Definition, distribution: Distribution, kind: str) -> About:
    """What a distribution's repository of one kind says of itself."""
    package = distribution.package
    wanted = distribution.package_repositories
    return About(
        name=package.name,
        description=distribution.description or definition.engine.title,
        suite=wanted.suite,
        url=f"{wanted.url.rstrip('/')}/{kind}" if wanted.url else URL,
    )


def _repositories(
    settings: Settings, definition: Definition, wanted: Sequence[tuple[Distribution, Platform]], epoch: int
) -> dict[str, Mapping[str, str]]:
    found: dict[str, Mapping[str, str]] = {}
    for distribution, _ in wanted:
        for kind in KINDS:
            if kind in distribution.formats:
                about = about_repository(definition, distribution, kind)
                key = f"{distribution.distribution}/{kind}"
                found[key] = repository_inputs(kind, settings.key, epoch, about)
    return found


def _build(
    settings: Settings,
    definition: Definition,
    distribution: Distribution,
    platform: Platform,
    images: LocalImages,
    source: Mapping[str, ContextFile],
    stamp: Stamp,
    labels: Mapping[str, str],
    *,
    packs: bool,
) -> Build:
    """One distribution on one platform: its Dockerfile rendered, its context gathered."""
    engine = definition.engine
    base = images.base(distribution.base, platform)
    is_sdk = distribution.distribution == "sdk"
    has_compiler = engine.runtime != "binary" and not is_sdk
    start = StartingPoints(
        base=base.image.local_name,
        build_base=images.base(f"{engine.runtime}-build", settings.build_platform).image.local_name if has_compiler else None,
        toolbox=images.toolbox() if packs else None,
        build_platform=settings.build_platform,
        buildkit=settings.buildkit,
        checker_base=images.base(BASE, settings.build_platform).image.local_name
        if checker_of(definition, distribution)
        else None,
    )
    template = f"{'sdk' if is_sdk else engine.runtime}.Dockerfile.j2"
    folders = template_folders(settings)
    packaging = Packaging(
        definition=definition,
        distribution=distribution,
        platform=platform,
        source=source,
        stamp=stamp,
        interpreter=interpreter_version(engine.runtime, base.packages),
        variant=settings.variant,
        added=policy_files(settings.root, settings.defaults, distribution.policies, distribution.package.name or engine.name),
        nfpm=images.nfpm.file.path if images.nfpm else None,
    )
    text = render(folders, template, template_values(definition, distribution, platform, source, stamp, start, packaging))
    return Build(
        distribution=distribution.distribution,
        platform=platform,
        dockerfile=Dockerfile.parse(text, f"dockerfiles/{template}"),
        context=build_context(definition, distribution, platform, source, stamp, folders, packaging),
        formats=tuple(name for name in distribution.formats if name != "image"),
        base=base.image,
        labels={**labels, **distribution.image.labels, **_described(distribution)},
    )


def template_folders(settings: Settings) -> list[Path]:
    """Where templates and their scripts are looked for: the project's own folder, then the shipped one."""
    return [settings.root / "dockerfiles", settings.defaults / "dockerfiles"]


def read_locks(settings: Settings) -> BaseLock:
    """The project's own lock over the shipped one."""
    from nexus_oci.bases.lock import read_lock

    own = settings.root / LOCK_FILE
    shipped = settings.defaults / LOCK_FILE
    lock = read_lock(shipped) if shipped.is_file() else BaseLock()
    if own.is_file() and own.resolve() != shipped.resolve():
        lock = read_lock(own).over(lock)
    return lock


def release_labels(definition: Definition, checkout: Checkout) -> dict[str, str]:
    """The OCI annotations that every image, artifact and index of the release carries (image-spec, annotations.md)."""
    engine = definition.engine
    labels = {
        media_types.TITLE: engine.title or engine.name,
        media_types.DESCRIPTION: engine.description,
        media_types.VERSION: checkout.stamp.version,
        media_types.REVISION: checkout.stamp.commit,
        media_types.CREATED: timestamp(checkout.stamp.epoch),
        media_types.URL: engine.url,
        media_types.SOURCE: checkout.address,
        media_types.VENDOR: engine.vendor,
        media_types.LICENSES: engine.licenses,
        media_types.AUTHORS: engine.maintainer,
        "org.opencontainers.image.documentation": engine.documentation,
        "dev.nexus-oci.components": ",".join(engine.components),
        "dev.nexus-oci.features": ",".join(engine.features),
    }
    return {key: value for key, value in labels.items() if value}


def _described(distribution: Distribution) -> dict[str, str]:
    found: dict[str, str] = {media_types.DISTRIBUTION: distribution.distribution}
    return found | {media_types.DESCRIPTION: distribution.description} if distribution.description else found


def _wanted(settings: Settings, definition: Definition) -> list[tuple[Distribution, Platform]]:
    """The distributions and platforms to build, those that were asked for or all; raises `DefinitionError` for unknown ones."""
    from nexus_oci.definition.distribution_model import FORMATS

    names = {distribution.distribution for distribution in definition.distributions}
    for name in settings.distributions:
        if name not in names:
            raise DefinitionError(f"there is no distribution {name!r}", why="the definition has " + ", ".join(sorted(names)))
    known = {name for formats in FORMATS.values() for name in formats}
    for name in settings.formats:
        if name not in known and name != "all":
            raise DefinitionError(f"{name!r} is no format", why="known are all, " + ", ".join(sorted(known)))
    found = []
    for distribution in definition.distributions:
        if settings.distributions and distribution.distribution not in settings.distributions:
            continue
        platforms = distribution.platforms or definition.platforms
        for platform in settings.platforms:
            if platform not in platforms:
                raise DefinitionError(
                    f"{distribution.distribution} is not built for {platform}",
                    why="the definition has " + ", ".join(str(known) for known in platforms),
                )
        kept = _with_formats(settings, distribution)
        _require_description(definition, kept)
        found += [(kept, platform) for platform in settings.platforms or platforms]
    return found


def _require_description(definition: Definition, distribution: Distribution) -> None:
    """Raise `DefinitionError` where packages are asked for that could not say who answers for them, or under which licence."""
    from nexus_oci.definition.package_model import ARCHIVES

    packages = [name for name in distribution.formats if name not in ("image", *ARCHIVES)]
    for field_, example in (("maintainer", "Name <mail@example.com>"), ("licenses", "Apache-2.0")):
        if packages and not getattr(definition.engine, field_):
            raise DefinitionError(
                f"{definition.where('nexus', 'engine')}: the engine has no {field_}, and {packages[0]} needs it",
                why="package managers show who answers for a package, and under which licence it is given",
                hint=f"write engine.{field_}: {example} in images/nexus.yaml",
            )


def _with_formats(settings: Settings, distribution: Distribution) -> Distribution:
    """The distribution with the formats that were asked for, whether or not the definition lists them."""
    if not settings.formats:
        return distribution
    from nexus_oci.definition.completion import complete_formats

    return distribution.model_copy(update={"formats": complete_formats(distribution.distribution, settings.formats)})


def _chart_files(settings: Settings, definition: Definition) -> dict[str, ContextFile]:
    if definition.chart is None or (settings.distributions and definition.chart.distribution not in settings.distributions):
        return {}
    return from_tree(chart_folder(settings, definition.chart), "chart")


def chart_folder(settings: Settings, chart: Chart) -> Path:
    """The project's own chart, or the shipped one of that path."""
    own = settings.root / chart.path
    return own if own.is_dir() else settings.defaults / chart.path


def _chart_inputs(
    definition: Definition, files: Mapping[str, ContextFile], stamp: Stamp, key: SigningKey | None
) -> dict[str, str] | None:
    if not files or definition.chart is None:
        return None
    digest = Context(files=files).digest("chart")
    return {"chart": str(digest), "version": stamp.version, "epoch": str(stamp.epoch), **chart_inputs(key, stamp.epoch)}
