"""Push: a release from the store to HOST/NAMESPACE, content first, names last.

1. The release index and all below it go to `NAMESPACE/releases`. 2. Every image, chart and artifact goes to the repository of its
friendly name, mounted from there. 3. When all of it has been verified to be there, and not before, the names are written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nexus_oci.errors import NotFoundError, UsageError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest
from nexus_oci.pipeline.registries import Access
from nexus_oci.transfer.copy import TransferEvent, TransferReport, copy_graph
from nexus_oci.transfer.store_end import StoreEnd

RELEASES = "releases"


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
    reports = [copy_graph(source, top, descriptor, jobs=jobs, on_event=on_event)]
    names: list[tuple[RegistryEnd, Manifest, str]] = []
    for child in release.manifests:
        repository = child.annotations.get(media_types.REPOSITORY)
        if repository is None:
            continue
        end = RegistryEnd(client, f"{destination.repository}/{repository}")
        reports.append(copy_graph(source, end, child, referrers=True, mount_from=top.repository, jobs=jobs, on_event=on_event))
        names.append((end, store.manifest(child), child.annotations[media_types.TAG]))
    names.append((top, release, tag))
    written = []
    for end, manifest, name in names:
        end.tag(manifest, [name])
        written.append(f"{destination.host}/{end.repository}:{name}")
    client.close()
    return _summed(destination.within(top.repository).at(descriptor.digest), tuple(written), reports)


def find_release(store: Store, version: str | None) -> tuple[Descriptor, str]:
    """The release index of a store and its tag; raises `NotFoundError` where there is none, or several and no version."""
    found = {name: entry for name, entry in store.tags().items() if ":" not in name and _is_release(store, entry)}
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


def _is_release(store: Store, entry: Descriptor) -> bool:
    return entry.is_index and store.manifest(entry).data.get("artifactType") == media_types.RELEASE


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
