"""Pull: a release, an image, or single formats, from a registry back to disk; every digest is checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus_oci.errors import NotFoundError, UsageError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, Platform
from nexus_oci.pipeline.registries import Access
from nexus_oci.release.outputs import copy_out
from nexus_oci.transfer.copy import TransferEvent, TransferReport, copy_graph
from nexus_oci.transfer.ends import Source
from nexus_oci.transfer.store_end import StoreEnd


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
    untagged = []
    files = []
    for child in manifest.manifests if is_release else ():
        if media_types.REPOSITORY in child.annotations:
            names[f"{child.annotations[media_types.REPOSITORY]}:{child.annotations[media_types.TAG]}"] = child
        else:
            untagged.append(child)
            files.append(_write_file(store, child, output / "artifacts" / child.annotations.get(media_types.DISTRIBUTION, "")))
    store.replace_tags(names, untagged, keep_untagged=True)
    return Pulled(root=root, files=tuple(files), reports=(report,))


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
        and (not platforms or artifact.annotations.get(media_types.PLATFORM) in [str(p) for p in platforms])
        and (not distributions or artifact.annotations.get(media_types.DISTRIBUTION) in distributions)
    ]
    if not wanted:
        offered = sorted(
            {f"{a.annotations.get(media_types.FORMAT)} for {a.annotations.get(media_types.PLATFORM)}" for a in candidates}
        )
        raise NotFoundError(
            f"there is no {' or '.join(formats)} of that kind here", why=f"it has {', '.join(offered) or 'no formats'}"
        )
    reports = []
    files = []
    for artifact in wanted:
        reports.append(copy_graph(source, StoreEnd(store), artifact, jobs=jobs, on_event=on_event))
        files.append(_write_file(store, artifact, output))
    return Pulled(root=root, files=tuple(files), reports=tuple(reports))


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


def _write_file(store: Store, artifact: Descriptor, folder: Path) -> Path:
    """Write an artifact's one layer under its title."""
    layers = store.manifest(artifact).layers
    title = layers[0].annotations.get(media_types.TITLE, "") if len(layers) == 1 else ""
    if not title or "/" in title or title in (".", "..") or "\x00" in title:
        raise VerificationError(
            f"artifact {artifact.digest.short} has no usable file name",
            why=f"its title is {title!r}",
            hint="it was not pushed by this program, or was tampered with",
        )
    copy_out(store, layers[0], folder / title)
    return folder / title


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def parse_formats(texts: Sequence[str]) -> tuple[str, ...]:
    """Known formats; raises `UsageError` for others."""
    for text in texts:
        if text not in media_types.ARTIFACTS:
            raise UsageError(f"{text!r} is no format", why="known are " + ", ".join(sorted(media_types.ARTIFACTS)))
    return tuple(texts)
