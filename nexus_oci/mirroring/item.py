"""One thing that is mirrored, such as a release, to all destinations: surveyed, verified, copied, and named last.

A release has several parts: its index, and each image, chart and artifact that has a name of its own beside it, as `push` writes
them. 1. Every part is read at the source, and with it all that refers to it. 2. What is to be verified is, and nothing has
been written yet. 3. The parts are copied, the index first: the others are mounts of it. 4. Names follow, the release's last.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nexus_oci.errors import NexusError
from nexus_oci.mirroring.joining import joined
from nexus_oci.mirroring.planned import Planned
from nexus_oci.mirroring.reduce import reduced
from nexus_oci.mirroring.survey import Keep, ReadOnce, Survey, survey
from nexus_oci.mirroring.tally import Tally
from nexus_oci.mirroring.tee import Branch, Shared, Tee
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.transfer.copy import TransferEvent, copy_graph
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.places import Place, Repository

Verify = Callable[[ReadOnce, Descriptor, str], None]
"""Looks at a root, in the repository of that name, before anything is written; raises `VerificationError` or `PolicyError`."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be mirrored: a tag of a repository, or what is pinned by a digest; `tag` is then only its name, if any.

    A channel comes after what it may name.
    """

    repository: str
    tag: str | None
    digest: Digest | None = None
    channel: bool = False

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.repository or ''}:{self.tag}" if self.tag else f"{self.repository}@{self.digest}"


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of it at one destination. `digest` is what the tag names there, if it is known."""

    wanted: Wanted
    destination: int
    digest: Digest | None
    tally: Tally
    failure: NexusError | None
    reduced_from: Digest | None = None

    @property
    def state(self) -> str:
        """`failed`, `copied`, or `unchanged`."""
        return "failed" if self.failure else "copied" if self.tally.changed else "unchanged"

    def to_json(self) -> dict[str, Any]:
        """The item's part of the report."""
        data: dict[str, Any] = {"name": self.wanted.name, "digest": self.digest, "state": self.state}
        data |= self.tally.to_json()
        if self.reduced_from:
            data["reduced_from"] = self.reduced_from
        if self.failure:
            data["error"] = {"what": self.failure.what, "why": self.failure.why, "exit_code": self.failure.exit_code}
        return data


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How items are mirrored. `plan`: nothing is written; what would be is counted."""

    shared: Shared
    jobs: int
    plan: bool = False
    keep: Keep | None = None
    verify: Verify | None = None
    on_event: Callable[[TransferEvent], None] | None = None


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A root with the repository that it goes to, its tag there, and where it is read."""

    repository: str
    tag: str | None
    source: ReadOnce
    surveyed: Survey


@dataclass(kw_only=True)
class _Site:
    """One destination while an item goes there. A failure of one of its branches is its own."""

    number: int
    place: Place
    branches: dict[str, Branch] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    failure: NexusError | None = None


class Item:
    """The mirroring of one thing."""

    def __init__(self, source: Place, tags: Callable[[str], frozenset[str]], wanted: Wanted, settings: Settings) -> None:
        self._place = source
        self._tags = tags
        self._wanted = wanted
        self._settings = settings
        self._reduced_from: Digest | None = None
        self._root: Digest | None = None

    def run(self, destinations: Sequence[tuple[int, Place]]) -> list[Done]:
        """Mirror it, and say what became of it at each destination. Errors are in the answer; only interruptions are raised."""
        sites = [_Site(number=number, place=place) for number, place in destinations]
        try:
            parts = self._parts()
            self._copy(parts, sites)
        except NexusError as error:
            for site in sites:
                site.failure = site.failure or error
        return [
            Done(
                wanted=self._wanted,
                destination=site.number,
                digest=self._root,
                tally=site.tally,
                failure=site.failure,
                reduced_from=self._reduced_from,
            )
            for site in sites
        ]

    def _parts(self) -> list[_Part]:
        """Read, reduce, survey and verify."""
        name = self._wanted.repository
        repository = self._place.repository(name)
        source = ReadOnce(repository, self._tags(name), repository)
        root = source.read(str(self._wanted.digest or self._wanted.tag))
        if self._settings.verify is not None:
            self._settings.verify(source, root.descriptor, name)
        descriptor = root.descriptor
        if self._settings.keep is not None:
            source.keep = self._settings.keep
            descriptor = reduced(source, root.descriptor, self._settings.keep)
            self._reduced_from = root.descriptor.digest if descriptor.digest != root.descriptor.digest else None
        self._root = descriptor.digest
        parts = [self._part(name, self._wanted.tag, source, descriptor)]
        top = source.manifest(descriptor)
        if top.is_index and top.data.get("artifactType") == media_types.RELEASE:
            named = [child for child in top.manifests if media_types.REPOSITORY in child.annotations]
            parts += Crew(self._settings.jobs).map(lambda child: self._friendly(source, child), named)
        return parts

    def _part(self, name: str, tag: str | None, source: ReadOnce, root: Descriptor) -> _Part:
        return _Part(repository=name, tag=tag, source=source, surveyed=survey(source, root, self._settings.jobs))

    def _friendly(self, release: ReadOnce, child: Descriptor) -> _Part:
        """A child of a release under its own name, with what refers to it there; its bytes are the release's."""
        name, tag = child.annotations[media_types.REPOSITORY], child.annotations[media_types.TAG]
        plain = replace(child, annotations={}, platform=None)
        repository = self._place.repository(name)
        tags = self._tags(name)
        if tag not in tags:
            return self._part(name, tag, release, plain)
        source = ReadOnce(repository, tags, release.repository)
        source.keep = self._settings.keep
        source.adopt(release)
        return self._part(name, tag, source, plain)

    def _copy(self, parts: Sequence[_Part], sites: Sequence[_Site]) -> None:
        """Content first, part by part; then names, the first part's last."""
        for index, part in enumerate(parts):
            branches = self._branches(part, sites)
            self._copy_part(part, branches, parts[0].repository if index else None)
            self._settle(branches, sites, part)
        for part in (*parts[1:], parts[0]):
            branches = self._branches(part, sites)
            if part.tag is not None and branches:
                with contextlib.suppress(NexusError):  # every branch keeps its own
                    Tee(branches, self._settings.shared).tag(part.source.manifest(part.surveyed.root), [part.tag])
            self._settle(branches, sites)

    def _branches(self, part: _Part, sites: Sequence[_Site]) -> list[Branch]:
        """A part's branches, to the destinations where nothing has failed; made once."""
        live = [site for site in sites if site.failure is None]
        for site in live:
            if part.repository not in site.branches:
                repository: Repository = site.place.repository(part.repository)
                repository = Planned(repository) if self._settings.plan else repository
                site.branches[part.repository] = Branch(number=site.number, repository=repository, tally=Tally())
        return [site.branches[part.repository] for site in live]

    @staticmethod
    def _settle(branches: Sequence[Branch], sites: Sequence[_Site], part: _Part | None = None) -> None:
        """Bring the counts and failures of branches to their destinations."""
        for branch in branches:
            site = next(site for site in sites if site.number == branch.number)
            if part is not None and branch.failure is None:
                branch.tally.rest(part.surveyed.blobs, part.surveyed.size)
            site.tally.merge(branch.tally.take())
            site.failure = site.failure or branch.failure

    def _copy_part(self, part: _Part, branches: Sequence[Branch], mount_from: str | None) -> None:
        if part.tag is not None and branches:
            root = part.surveyed.root.digest
            with contextlib.suppress(NexusError):
                lacking = Tee(branches, self._settings.shared).without(part.tag, root)
                # Where the tag names the very manifest, all that it pins is there, as registries see to.
                for branch in branches:
                    if branch not in lacking and branch.failure is None and branch.repository.keeps_graphs_whole:
                        branch.known |= part.surveyed.below
        self._graph(part, branches, part.surveyed.root, (), mount_from)

        def attach(entry: tuple[str, Descriptor]) -> None:
            live = [branch for branch in branches if branch.failure is None]
            with contextlib.suppress(NexusError):  # every branch keeps its own
                if live:
                    self._attach(part, Tee(live, self._settings.shared), *entry, mount_from)

        Crew(self._settings.jobs).map(attach, part.surveyed.attached)

    def _attach(self, part: _Part, tee: Tee, tag: str, image: Descriptor, mount_from: str | None) -> None:
        """Bring what stands under a tag of cosign's; where the destination has some of its own, beside that."""
        ours = part.source.manifest(image)
        others = dict(tee.differing(tag, ours))
        self._graph(part, [branch for branch, theirs in others.items() if theirs is None], image, (tag,), mount_from)
        for branch, theirs in others.items():
            if theirs is None:
                continue
            self._graph(part, [branch], image, (), mount_from)
            if branch.failure is None:
                both = joined(theirs, ours)
                alone = Tee([branch], self._settings.shared)
                alone.put_blob(both.config, lambda data=both.config_bytes: io.BytesIO(data), progress=lambda _: None)  # type: ignore[misc]
                alone.put_manifest(both.manifest)
                alone.tag(both.manifest, [tag])

    def _graph(
        self, part: _Part, branches: Sequence[Branch], root: Descriptor, tags: tuple[str, ...], mount_from: str | None
    ) -> None:
        """One copy to those branches that are not broken."""
        live = [branch for branch in branches if branch.failure is None]
        if not live:
            return
        settings = self._settings
        try:
            copy_graph(
                part.source,
                Tee(live, settings.shared),
                root,
                tags=tags,
                referrers=not tags,
                mount_from=mount_from,
                jobs=settings.jobs,
                on_event=settings.on_event,
            )
        except NexusError as error:
            for branch in live:
                branch.failure = branch.failure or error
