"""Reproduces a release: builds it again, from its provenance, into a store of its own, and says what is not the same.

1. The provenance is read: of the release itself, signed or as the build left it. 2. The project is built with the parameters that
it gives, its time included. 3. What went into both builds is compared. 4. What came out is compared, from the release down to the
byte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nexus_oci.errors import DefinitionError, NexusError, NotFoundError
from nexus_oci.oci import media_types
from nexus_oci.oci.rpm import Unpack
from nexus_oci.oci.store import Store
from nexus_oci.oci.tar_header import Buffer
from nexus_oci.oci.values import Descriptor, Digest, Manifest, Platform
from nexus_oci.pipeline.build import BuildOptions, LazyEngine, build_release, toolbox_of
from nexus_oci.pipeline.describe import Describer
from nexus_oci.pipeline.progress import Progress
from nexus_oci.pipeline.project import Settings, load_project
from nexus_oci.pipeline.provenance import Kept, provenance_of
from nexus_oci.pipeline.releasing import Release
from nexus_oci.pipeline.subjects import RELEASES, Subject, is_release, subjects_of
from nexus_oci.pipeline.toolbox import Toolbox, run_script
from nexus_oci.plan.expand import REPOSITORIES, SIGNED
from nexus_oci.release.difference import PROVENANCE, Comparison, Difference, Side
from nexus_oci.transfer.ends import Source
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.provenance import Change, Provenance, changes

MOST: Final = 200
"""How many differences are told. A change that shows in more has a cause that these will tell."""
_CARRY_SIGNATURES: Final = frozenset({*REPOSITORIES, PROVENANCE})
_SIGNED_INSIDE: Final = tuple(f"signatures in {name} packages" for name in SIGNED)


@dataclass(frozen=True, kw_only=True)
class Original:
    """What is to be reproduced: where it is, and how it was made."""

    source: Source
    root: Descriptor
    kept: Kept


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of it. `inputs` is what went into the builds differently, `differences` what came out differently.

    `passed_over` is what carries signatures that nobody can make again who has not the key.
    """

    root: Descriptor
    rebuilt: Descriptor
    inputs: tuple[Change, ...]
    differences: tuple[Difference, ...]
    passed_over: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether all that was compared is the same."""
        return self.root.digest == self.rebuilt.digest or (bool(self.passed_over) and not self.differences)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "digest": self.root.digest,
            "rebuilt": self.rebuilt.digest,
            "reproduced": self.is_same,
            "inputs": [{"what": item.what, "then": item.then, "now": item.now} for item in self.inputs],
            "differences": [
                {"where": list(item.where), "field": item.field, "then": item.then, "now": item.now} for item in self.differences
            ],
            "passed_over": list(self.passed_over),
        }


def reproduce(
    original: Original, settings: Settings, engine: LazyEngine, progress: Progress, *, use_cache: bool, jobs: int = 4
) -> Reproduction:
    """Build the project of `settings` with the parameters of the original's provenance, and compare.

    Raises what a build raises, and `NotFoundError` for a manifest that no build makes by itself, such as an artifact.
    """
    provenance = original.kept.provenance
    top = original.source.manifest(original.root)
    settings = _as_then(settings, provenance, top)
    inputs = changes(provenance, provenance_of(load_project(settings)))
    no_key = bool(provenance.internal.get("signer")) and settings.key is None
    passed_over = (*sorted(_CARRY_SIGNATURES), *_SIGNED_INSIDE) if no_key else ()
    with tempfile.TemporaryDirectory(prefix="nexus-oci-reproduce-") as folder:
        options = BuildOptions(output=Path(folder) / "dist", jobs=jobs, locked=True, no_cache=not use_cache)
        release = build_release(settings, options, engine, progress)
        store = Store.open(options.output / "oci")
        rebuilt = _counterpart(release, top)
        comparison = Comparison(
            then=Side(source=original.source),
            now=Side(source=StoreEnd(store)),
            passed_over=_CARRY_SIGNATURES if no_key else frozenset(),
            signatures=not no_key,
            unzstd=_unzstd(toolbox_of(settings, store, engine, progress)),
        )
        found = tuple(islice(comparison.run(original.root, rebuilt, _name(top)), MOST))
        try:
            packages = tuple(_packages(original, StoreEnd(store), rebuilt)) if found else ()
        except NexusError as error:
            progress.say(f"packages were not compared, only files: {error}")
            packages = ()
    relevant = inputs if is_release(top) else tuple(item for item in inputs if item.what != "distributions")
    return Reproduction(
        root=original.root, rebuilt=rebuilt, inputs=relevant, differences=(*packages, *found), passed_over=passed_over
    )


def _unzstd(toolbox: Callable[[], Toolbox]) -> Unpack:
    """Unpacks with the toolbox, as Python does not; what was unpacked once is kept in the toolbox's store."""
    known: dict[Digest, Descriptor] = {}

    def unpack(chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        tools = toolbox()
        with tools.store.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            packed = writer.commit("application/zstd")
        if packed.digest not in known:
            outcome = run_script(tools, "unzstd.sh", files={"data.zst": packed})
            outcome.check("what is compressed with zstd could not be unpacked")
            known[packed.digest] = outcome.files["data"]
        with tools.store.open_blob(known[packed.digest]) as reader:
            yield from reader

    return unpack


def _as_then(settings: Settings, provenance: Provenance, top: Manifest) -> Settings:
    """The settings of the first build: its options, of which an image needs only its own distribution, its time and address."""
    given = provenance.parameters
    own = top.annotations.get(media_types.DISTRIBUTION)
    distributions = given.distributions if is_release(top) or own is None else (own,)
    environment: Mapping[str, str] = {**settings.environment, "SOURCE_DATE_EPOCH": str(given.epoch)}
    try:
        platforms = tuple(Platform.parse(text) for text in given.platforms)
    except ValueError as error:
        raise DefinitionError("the provenance names a platform that is none", why=str(error)) from error
    return replace(
        settings,
        distributions=distributions,
        platforms=platforms,
        formats=given.formats,
        environment=environment,
        address=str(provenance.source.get("uri", "")),
    )


def _packages(original: Original, now: Source, rebuilt: Descriptor) -> Iterator[Difference]:
    """What images of one distribution and platform have of packages in different versions, or only one of them has."""
    before, after = _images(original.source, original.root), _images(now, rebuilt)
    same = {found.subject.digest for found in before.values()} & {found.subject.digest for found in after.values()}
    for name in sorted(before.keys() & after.keys()):
        if before[name].subject.digest in same:
            continue
        old, new = before[name].versions(), after[name].versions()
        for package in sorted({*old, *new}):
            if old.get(package) != new.get(package):
                yield Difference(
                    where=("release", name, "packages"), field=package, then=old.get(package, ""), now=new.get(package, "")
                )


@dataclass(frozen=True, kw_only=True)
class _Image:
    """An image of one platform that can be described."""

    describer: Describer
    subject: Subject

    def versions(self) -> dict[str, str]:
        """Kind and name of each package in it, and the versions that are there."""
        found: dict[str, list[str]] = {}
        description = self.describer.describe(self.subject)
        for package in description.catalogue.packages if description else ():
            found.setdefault(f"{package.kind} {package.name}", []).append(package.version)
        return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _images(source: Source, root: Descriptor) -> dict[str, _Image]:
    """The images below a manifest, by distribution and place among its platforms."""
    subjects = subjects_of(source, root, RELEASES)
    describer = Describer(source=source, subjects=subjects)
    platforms = {
        child.digest: child.platform for subject in subjects for child in subject.manifest.manifests if child.platform is not None
    }
    return {
        f"{subject.distribution} {platforms[subject.digest]}": _Image(describer=describer, subject=subject)
        for subject in subjects
        if subject.digest in platforms
    }


def _counterpart(release: Release, top: Manifest) -> Descriptor:
    """What of the new release is to be held against the manifest: the release itself, or the index of its distribution."""
    if is_release(top):
        return release.descriptor
    own = top.annotations.get(media_types.DISTRIBUTION, "")
    if top.is_index and own in release.images:
        return release.images[own].descriptor
    raise NotFoundError(
        "only a release, or the index of a distribution, can be reproduced",
        why=f"what was named is {top.artifact_type or 'something else'}",
        hint="name the release, or the image by its tag",
    )


def _name(top: Manifest) -> str:
    return "release" if is_release(top) else top.annotations.get(media_types.DISTRIBUTION, "index")
