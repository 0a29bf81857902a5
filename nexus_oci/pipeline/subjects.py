"""What of a release is signed, and where: every manifest, with the repositories that carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nexus_oci.errors import VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.transfer.ends import Source

DEEPEST = 16
"""Indexes inside indexes."""
RELEASES = "releases"
"""The repository, below a namespace, of release indexes and of everything below them."""
ARTIFACT_TYPES = frozenset(artifact_type for artifact_type, _ in media_types.ARTIFACTS.values())
_KINDS = {media_types.RELEASE: "release", media_types.HELM_CONFIG: "chart"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A manifest that is to be signed, or that was.

    `repositories` are the names below the namespace that carry it. `pinned` says that something above it names its digest.
    `tagged` are the friendly names, REPOSITORY:TAG, under which it, or what it is a part of, is published.
    """

    manifest: Manifest
    repositories: tuple[str, ...]
    distribution: str | None
    pinned: bool
    tagged: tuple[str, ...] = ()

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return self.manifest.descriptor.digest

    @property
    def kind(self) -> str:
        """What it is, for people: `release`, `index`, `image`, `chart`, or the format of an artifact."""
        if media_types.FORMAT in self.manifest.annotations and self.is_artifact:
            return self.manifest.annotations[media_types.FORMAT]
        return _KINDS.get(self.manifest.artifact_type or "", "index" if self.manifest.is_index else "image")

    @property
    def is_artifact(self) -> bool:
        """Whether it is a file or folder that this program made and writes back to disk."""
        return self.manifest.artifact_type in ARTIFACT_TYPES

    @property
    def is_chart(self) -> bool:
        """Whether it is a Helm chart, by its config: whatever else it says that it is."""
        config = self.manifest.config
        return config is not None and config.media_type == media_types.HELM_CONFIG


def is_release(manifest: Manifest) -> bool:
    """Whether a manifest is a release index."""
    return manifest.is_index and manifest.data.get("artifactType") == media_types.RELEASE


def subjects_of(source: Source, root: Descriptor, repository: str, tag: str | None = None) -> tuple[Subject, ...]:
    """Every manifest from `root` down, that first, and the artifacts that refer to one of them.

    `repository` is the name of the root's own, and `tag` its tag there; a release's children say theirs. Raises what reading a
    manifest raises.
    """
    return _Gathering(source).run(root, repository, tag)


class _Gathering:
    """One walk over a graph."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found: dict[Digest, Subject] = {}

    def run(self, root: Descriptor, repository: str, tag: str | None) -> tuple[Subject, ...]:
        top = self._source.manifest(root)
        if not is_release(top):
            self._add(top, repository, None, pinned=False, tag=tag)
            self._referring()
            return tuple(self._found.values())
        self._found[root.digest] = Subject(manifest=top, repositories=(repository,), distribution=None, pinned=False)
        loose = []
        for child in top.manifests:
            if media_types.REPOSITORY in child.annotations:
                manifest = self._source.manifest(child)
                tagged = child.annotations.get(media_types.TAG)
                self._add(manifest, child.annotations[media_types.REPOSITORY], None, pinned=True, tag=tagged)
            else:
                loose.append(child)
        for child in loose:
            self._add_artifact(self._source.manifest(child), repository, pinned=True)
        return tuple(self._found.values())

    def _add(
        self,
        manifest: Manifest,
        repository: str,
        distribution: str | None,
        *,
        pinned: bool,
        tag: str | None = None,
        depth: int = 0,
    ) -> None:
        """A manifest and all below it; one that was met in another repository belongs to both."""
        if depth > DEEPEST:
            raise VerificationError(
                f"{manifest.descriptor.digest} is in indexes more than {DEEPEST} deep", why="no release nests like that"
            )
        distribution = manifest.annotations.get(media_types.DISTRIBUTION, distribution)
        digest = manifest.descriptor.digest
        known = self._found.get(digest)
        tagged = (f"{repository}:{tag}",) if tag else ()
        if known is None:
            self._found[digest] = Subject(
                manifest=manifest, repositories=(repository,), distribution=distribution, pinned=pinned, tagged=tagged
            )
        elif repository in known.repositories:
            return
        else:
            self._found[digest] = replace(known, repositories=(*known.repositories, repository), tagged=(*known.tagged, *tagged))
        for child in manifest.manifests:
            self._add(self._source.manifest(child), repository, distribution, pinned=True, tag=tag, depth=depth + 1)

    def _add_artifact(self, manifest: Manifest, repository: str, *, pinned: bool) -> None:
        """An artifact is where its subject is."""
        about = self._found.get(manifest.subject.digest) if manifest.subject else None
        for name in about.repositories if about else (repository,):
            self._add(manifest, name, about.distribution if about else None, pinned=pinned)

    def _referring(self) -> None:
        """Artifacts that nothing pins: whoever may write to the repository may add one."""
        for subject in tuple(self._found.values()):
            for referrer in self._source.referrers(subject.digest):
                manifest = self._source.manifest(referrer)
                if manifest.artifact_type in ARTIFACT_TYPES:
                    self._add_artifact(manifest, subject.repositories[0], pinned=False)


def repository_names(prefix: str, subject: Subject) -> tuple[str, ...]:
    """The full names of a subject's repositories; in a store, where there is no host and namespace, the short ones."""
    return tuple(f"{prefix}/{name}" if prefix else name for name in subject.repositories)


def signed_names(prefix: str, subject: Subject) -> tuple[str, ...]:
    """What signatures of a subject say it is: its repositories, and its names with their tags.

    Who lets any tag lead to it compares the first; who compares tags too (`matchRepoDigestOrExact` and `remapIdentity` of
    containers-policy.json(5)) takes nothing but the second.
    """
    return (*repository_names(prefix, subject), *(f"{prefix}/{name}" if prefix else name for name in subject.tagged))


def place_of(reference: Reference, manifest: Manifest) -> tuple[str, str]:
    """The host and namespace of what a reference names, and the rest of its repository's name."""
    namespace, _, last = reference.repository.rpartition("/")
    if is_release(manifest) and last == RELEASES and namespace:
        return f"{reference.host}/{namespace}", last
    return reference.host, reference.repository


def store_repository(tags: Mapping[str, Descriptor], root: Descriptor) -> str:
    """The repository by which a store names a manifest; that of releases where it has no such name."""
    names = (name.rpartition(":")[0] for name, entry in tags.items() if entry.digest == root.digest)
    return next((name for name in names if name), RELEASES)
