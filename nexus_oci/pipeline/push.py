"""Push: a release from the store to HOST/NAMESPACE, content first, names last.

1. The release index and all below it go to `NAMESPACE/releases`, with what refers to them. 2. Every image, chart and artifact
goes to the repository of its friendly name, mounted from there. 3. Their signatures follow under their `.sig` tags, beside those
that others put there. 4. When all of it has been verified to be there, and not before, the names are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_oci.errors import NotFoundError, UsageError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest
from nexus_oci.pipeline.attached import in_registry, in_store, read_signatures
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.subjects import RELEASES, Subject, is_release, subjects_of
from nexus_oci.transfer.copy import TransferEvent, TransferReport, copy_graph
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.cosign import signature_tag, store_signatures

if TYPE_CHECKING:
    from nexus_oci.registry.end import RegistryEnd


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push did: the release's reference by digest, the names that were written, and what it took."""

    release: Reference
    names: tuple[str, ...]
    bytes_sent: int
    blobs_sent: int
    blobs_skipped: int
    blobs_mounted: int
    manifests_sent: int


def parse_destination(text: str) -> Reference:
    """HOST/NAMESPACE; raises `UsageError` for a reference with a tag or digest."""
    reference = Reference.parse(text.rstrip("/"))
    if reference.tag or reference.digest:
        raise UsageError(
            f"{text!r} names one image",
            why="a release is pushed to a namespace, in which it has several names",
            hint="write HOST/NAMESPACE, as in registry.example:5000/team",
        )
    return reference


def push_release(
    store: Store,
    destination: Reference,
    access: Access,
    *,
    version: str | None = None,
    jobs: int = 8,
    on_event: Callable[[TransferEvent], None] | None = None,
) -> Pushed:
    """Push the release of `version` (the only one where it is not given) and write its names."""
    descriptor, tag = find_release(store, version)
    release = store.manifest(descriptor)
    source = StoreEnd(store)
    client = access.client(destination.host)
    from nexus_oci.registry.end import RegistryEnd

    top = RegistryEnd(client, f"{destination.repository}/{RELEASES}")
    reports = [copy_graph(source, top, descriptor, referrers=True, jobs=jobs, on_event=on_event)]
    ends = {RELEASES: top}
    names: list[tuple[RegistryEnd, Manifest, str]] = []
    for child in release.manifests:
        repository = child.annotations.get(media_types.REPOSITORY)
        if repository is None:
            continue
        end = RegistryEnd(client, f"{destination.repository}/{repository}")
        reports.append(copy_graph(source, end, child, referrers=True, mount_from=top.repository, jobs=jobs, on_event=on_event))
        ends[repository] = end
        names.append((end, store.manifest(child), child.annotations[media_types.TAG]))
    reports += _push_signatures(store, subjects_of(source, descriptor, RELEASES), ends, jobs)
    names.append((top, release, tag))
    written = []
    for end, manifest, name in names:
        end.tag(manifest, [name])
        written.append(f"{destination.host}/{end.repository}:{name}")
    client.close()
    return _summed(destination.within(top.repository).at(descriptor.digest), tuple(written), reports)


def find_release(store: Store, version: str | None) -> tuple[Descriptor, str]:
    """The release index of a store and its tag; raises `NotFoundError` where there is none, or several and no version."""
    tags = {name: entry for name, entry in store.tags().items() if ":" not in name and entry.is_index}
    found = {name: entry for name, entry in tags.items() if is_release(store.manifest(entry))}
    if version is not None:
        tag = version.replace("+", "_")
        if tag not in found:
            raise NotFoundError(
                f"the store has no release {version}",
                why=f"it has {', '.join(sorted(found)) or 'none'}",
                hint="run `nexus-oci build` first",
            )
        return found[tag], tag
    if len(found) != 1:
        raise NotFoundError(
            "the store has no release" if not found else "the store has several releases",
            why=f"it has {', '.join(sorted(found)) or 'none'}",
            hint="run `nexus-oci build` first" if not found else "name one with --release",
        )
    tag, descriptor = next(iter(found.items()))
    return descriptor, tag


def _push_signatures(
    store: Store, subjects: Sequence[Subject], ends: Mapping[str, RegistryEnd], jobs: int
) -> list[TransferReport]:
    """Bring the signatures that the store has under tags to every repository that carries what they sign."""
    locate = in_store(store)
    source = StoreEnd(store)

    def push(item: tuple[Subject, RegistryEnd]) -> TransferReport | None:
        subject, end = item
        images, there = locate(subject.digest), in_registry(end)(subject.digest)
        if {image.digest for image in images} == {image.digest for image in there}:
            return None
        ours = [signature for image in images for signature in read_signatures(source, image)]
        theirs = [signature for image in there for signature in read_signatures(end, image)]
        if all(signature in theirs for signature in ours):
            return None
        image = store_signatures(store, [*theirs, *(signature for signature in ours if signature not in theirs)])
        return copy_graph(source, end, image, tags=[signature_tag(subject.digest)], jobs=1)

    signed = [subject for subject in subjects if locate(subject.digest)]
    places = [
        (subject, ends[name]) for subject in signed for name in dict.fromkeys((RELEASES, *subject.repositories)) if name in ends
    ]
    return [report for report in Crew(jobs).map(push, places) if report is not None]


def _summed(release: Reference, names: tuple[str, ...], reports: list[TransferReport]) -> Pushed:
    return Pushed(
        release=release,
        names=names,
        bytes_sent=sum(report.bytes_sent for report in reports),
        blobs_sent=sum(report.blobs_sent for report in reports),
        blobs_skipped=sum(report.blobs_skipped for report in reports),
        blobs_mounted=sum(report.blobs_mounted for report in reports),
        manifests_sent=sum(report.manifests_sent for report in reports),
    )
