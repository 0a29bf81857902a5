"""Pull: a release, an image, or single formats, from a registry back to disk; every digest is checked on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nexus_oci.errors import NotFoundError, UsageError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, Platform
from nexus_oci.pipeline.attached import in_registry
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.subjects import RELEASES, Subject, place_of, subjects_of
from nexus_oci.release.outputs import copy_out
from nexus_oci.transfer.copy import TransferEvent, TransferReport, copy_graph
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import Source
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.cosign import signature_tag

_FOLDERS = {media_types.ARTIFACTS[name][0]: name for name in ("apt", "yum")}
"""The kinds of artifacts that are folders, and the folder that all of their files are in."""


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull brought: the digest that the reference named, the files that were written, and the transfer's report."""

    root: Descriptor
    files: tuple[Path, ...]
    reports: tuple[TransferReport, ...]


def pull(
    reference: Reference,
    output: Path,
    access: Access,
    *,
    formats: Sequence[str] = (),
    platforms: Sequence[Platform] = (),
    distributions: Sequence[str] = (),
    jobs: int = 8,
    on_event: Callable[[TransferEvent], None] | None = None,
) -> Pulled:
    """Bring a release or image into `output`/oci, or with `formats` just those files into `output`.

    The reference is resolved to a digest once. Files get the names that they were pushed with.
    """
    source = access.end(reference)
    root = source.resolve(reference.target)
    if not formats:
        return _pull_graph(source, root, reference, output, jobs, on_event)
    store = Store.create(output / ".nexus-pull")
    try:
        return _pull_formats(source, root, output, store, formats, platforms, distributions, jobs, on_event)
    finally:
        _remove(store.root)


def _pull_graph(
    source: Source,
    root: Descriptor,
    reference: Reference,
    output: Path,
    jobs: int,
    on_event: Callable[[TransferEvent], None] | None,
) -> Pulled:
    store = Store.create(output / "oci")
    end = StoreEnd(store)
    tag = reference.tag or root.digest.short
    manifest = source.manifest(root)
    is_release = manifest.data.get("artifactType") == media_types.RELEASE
    names = {tag: root} if is_release else {f"{reference.repository.rpartition('/')[2]}:{tag}": root}
    report = copy_graph(source, end, root, referrers=True, jobs=jobs, on_event=on_event)
    names |= _pull_signatures(source, end, root, reference, jobs)
    untagged = []
    files: list[Path] = []
    for child in manifest.manifests if is_release else ():
        if media_types.REPOSITORY in child.annotations:
            names[f"{child.annotations[media_types.REPOSITORY]}:{child.annotations[media_types.TAG]}"] = child
        else:
            untagged.append(child)
            artifact = store.manifest(child)
            distribution = child.annotations.get(media_types.DISTRIBUTION, "")
            if not _is_name(distribution):
                raise _no_name(artifact, f"its distribution is {distribution!r}")
            files += _write(store, output / "artifacts" / distribution, _paths(artifact))
    store.replace_tags(names, untagged, keep_untagged=True)
    return Pulled(root=root, files=tuple(files), reports=(report,))


def _pull_signatures(source: Source, end: StoreEnd, root: Descriptor, reference: Reference, jobs: int) -> dict[str, Descriptor]:
    """Bring the signatures that stand under tags beside what was pulled; the names that they get in the store."""
    locate = in_registry(source)

    def bring(subject: Subject) -> dict[str, Descriptor]:
        tag = signature_tag(subject.digest)
        found: dict[str, Descriptor] = {}
        for image in locate(subject.digest):
            copy_graph(source, end, image, jobs=1)
            found |= {tag if name == RELEASES else f"{name}:{tag}": image for name in subject.repositories}
        return found

    subjects = subjects_of(end, root, place_of(reference, end.manifest(root))[1].rpartition("/")[2])
    names: dict[str, Descriptor] = {}
    for found in Crew(jobs).map(bring, subjects):
        names |= found
    return names


def _pull_formats(
    source: Source,
    root: Descriptor,
    output: Path,
    store: Store,
    formats: Sequence[str],
    platforms: Sequence[Platform],
    distributions: Sequence[str],
    jobs: int,
    on_event: Callable[[TransferEvent], None] | None,
) -> Pulled:
    candidates = _artifacts(source, source.manifest(root))
    wanted = [
        artifact
        for artifact in candidates
        if artifact.annotations.get(media_types.FORMAT) in formats
        and (not platforms or artifact.annotations.get(media_types.PLATFORM) in (None, *map(str, platforms)))
        and (not distributions or artifact.annotations.get(media_types.DISTRIBUTION) in distributions)
    ]
    if not wanted:
        offered = sorted({_described(artifact) for artifact in candidates})
        raise NotFoundError(
            f"there is no {' or '.join(formats)} of that kind here", why=f"it has {', '.join(offered) or 'no formats'}"
        )
    paths: dict[str, Descriptor] = {}
    for artifact in wanted:
        for path, blob in _paths(source.manifest(artifact)).items():
            if paths.setdefault(path, blob).digest != blob.digest:
                raise UsageError(
                    f"there is more than one {path} here",
                    why="several distributions have a file of that name",
                    hint="choose one with --distribution",
                )
    reports = [copy_graph(source, StoreEnd(store), artifact, jobs=jobs, on_event=on_event) for artifact in wanted]
    return Pulled(root=root, files=_write(store, output, paths), reports=tuple(reports))


def _described(artifact: Descriptor) -> str:
    """What an artifact is, for people; a repository is for every platform."""
    kind, platform = (artifact.annotations.get(name) for name in (media_types.FORMAT, media_types.PLATFORM))
    return f"{kind} for {platform}" if platform else str(kind)


def _artifacts(source: Source, manifest: Manifest) -> list[Descriptor]:
    """The artifacts of a release, or those that refer to an image index; their annotations are read from their manifests."""
    if manifest.data.get("artifactType") == media_types.RELEASE:
        found = [child for child in manifest.manifests if media_types.FORMAT in child.annotations]
    else:
        found = list(source.referrers(manifest.descriptor.digest))
    known = {artifact_type for artifact_type, _ in media_types.ARTIFACTS.values()}
    detailed = []
    for descriptor in found:
        artifact = source.manifest(descriptor)
        if artifact.artifact_type in known:
            detailed.append(
                Descriptor(
                    media_type=descriptor.media_type,
                    digest=descriptor.digest,
                    size=descriptor.size,
                    annotations=artifact.annotations,
                    artifact_type=artifact.artifact_type,
                )
            )
    return detailed


def _paths(artifact: Manifest) -> dict[str, Descriptor]:
    """Where an artifact's layers belong, by their titles: one plain file name, or for a repository paths below its own folder.

    Titles are another's claim: none may lead out of the folder that it is written to. Raises `VerificationError`.
    """
    folder = _FOLDERS.get(artifact.artifact_type or "")
    found: dict[str, Descriptor] = {}
    for layer in artifact.layers:
        title = layer.annotations.get(media_types.TITLE, "")
        first, *rest = title.split("/")
        fits = first == folder and rest if folder else not rest
        if not fits or title in found or not all(map(_is_name, (first, *rest))):
            raise _no_name(artifact, f"its title is {title!r}")
        found[title] = layer
    if not found or (not folder and len(found) > 1):
        raise _no_name(artifact, f"it has {len(found)} layers")
    for title in found:
        if any(str(parent) in found for parent in PurePosixPath(title).parents):
            raise _no_name(artifact, f"{title!r} is below a file")
    return found


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and not re.search(r"[\x00-\x1f\x7f/\\]", part)


def _no_name(artifact: Manifest, why: str) -> VerificationError:
    return VerificationError(
        f"artifact {artifact.descriptor.digest.short} has no usable file name",
        why=why,
        hint="it was not pushed by this program, or was tampered with",
    )


def _write(store: Store, folder: Path, paths: Mapping[str, Descriptor]) -> tuple[Path, ...]:
    """Write blobs below `folder`. A link on the way there is not followed: it could lead anywhere."""
    for path in paths:
        for parent in list(PurePosixPath(path).parents)[:-1]:
            if (folder / parent).is_symlink():
                raise UsageError(
                    f"{folder / parent} is a link",
                    why="files would be written to where it leads",
                    hint="remove it, or choose another folder with --output",
                )
    for path, blob in paths.items():
        copy_out(store, blob, folder / path)
    return tuple(folder / path for path in paths)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def parse_formats(texts: Sequence[str]) -> tuple[str, ...]:
    """Known formats; raises `UsageError` for others."""
    for text in texts:
        if text not in media_types.ARTIFACTS:
            raise UsageError(f"{text!r} is no format", why="known are " + ", ".join(sorted(media_types.ARTIFACTS)))
    return tuple(texts)
