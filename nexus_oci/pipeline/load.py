"""Load: what is in a bundle to HOST/NAMESPACE or to a store, content first, names last.

The bundle was judged before (`bundle_checks`).

1. Of a delta, every blob that the destination has to have is looked for: where one is missing nothing is written.
2. The release, and all that refers to it, goes to `NAMESPACE/releases`; what has a friendly name to its own repository, mounted
   from there.
3. Signatures under tags join those that are there.
4. Where the site's names are not those of the origin, the relocation is recorded beside the release.
5. Only then names are written.

What is there already is not sent again, so a load that was interrupted is finished by another one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.bundle.opened import Bundle
from nexus_oci.errors import NexusError, NotFoundError, RegistryError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.pipeline.attached import in_store, read_signatures
from nexus_oci.pipeline.bundle_checks import friendly_names
from nexus_oci.pipeline.bundle_origin import attached_to
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.relocation import Relocation, relocate, store_relocation
from nexus_oci.pipeline.subjects import RELEASES
from nexus_oci.transfer.copy import TransferEvent, TransferReport, copy_graph
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import BlobStream, Sink, Source
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.cosign import signed_by_tag, store_signatures

if TYPE_CHECKING:
    from nexus_oci.registry.client import RegistryClient
    from nexus_oci.registry.end import RegistryEnd

_PAUSES = (0.1, 0.5, 2.0)
"""Seconds between tries where another load seems to be in the way."""
_NEVER = "1970-01-01T00:00:00Z"
OnEvent = Callable[[TransferEvent], None]


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a load did: the release, the names that were written, what went over the wire, and what was relocated.

    `notes` say what could not be as it was, such as an index that the registry does not take without all of its platforms.
    """

    release: Descriptor
    names: tuple[str, ...]
    reports: tuple[TransferReport, ...]
    relocation: Relocation | None = None
    record: Descriptor | None = None
    notes: tuple[str, ...] = ()


class MissingBaseError(NotFoundError):
    """A delta was brought to a destination that lacks what it stands on. `missing` are the blobs. Exit code 1."""

    def __init__(self, bundle: Bundle, place: str, missing: Sequence[Descriptor]) -> None:
        base = bundle.inventory.base
        name = base.name if base else "another release"
        super().__init__(
            f"{place} lacks {len(missing)} blobs that {bundle.name} stands on",
            why=f"it is a delta on {name}; missing: {', '.join(str(one.digest) for one in missing)}",
            hint=f"load {name} first, or bring a bundle made from what the site has (`nexus-oci inventory {place}`)",
        )
        self.missing = tuple(missing)


def load_to_store(bundle: Bundle, store: Store, *, jobs: int = 4, on_event: OnEvent | None = None) -> Loaded:
    """Load into a store; raises `MissingBaseError` for a delta that does not fit."""
    sink = StoreEnd(store)
    _demand_base(bundle, sink, str(store.root), jobs)
    reports = []
    names: dict[str, Descriptor] = {}
    for name, descriptor in _ordered(bundle):
        reports.append(copy_graph(bundle, sink, descriptor, referrers=True, jobs=jobs, on_event=on_event))
        names[name] = descriptor
    there = in_store(store)
    for name, descriptor in _attached(bundle):
        about = signed_by_tag(name.rpartition(":")[2])
        reports.append(copy_graph(bundle, sink, descriptor, jobs=1, on_event=on_event))
        before = [one for one in there(about) if one.digest != descriptor.digest] if about else []
        names[name] = _joined(store, bundle, [descriptor], sink, before) if before else descriptor
    store.replace_tags(names, keep_untagged=True)
    return Loaded(release=bundle.inventory.release, names=tuple(sorted(names)), reports=tuple(reports))


def load_to_registry(
    bundle: Bundle, destination: Reference, access: Access, *, jobs: int = 8, on_event: OnEvent | None = None
) -> Loaded:
    """Load to HOST/NAMESPACE; raises `MissingBaseError` for a delta that does not fit, and what the registry's client raises."""
    client = access.client(destination.host)
    try:
        return _ToRegistry(bundle, client, destination, jobs, on_event).run()
    finally:
        client.close()


@dataclass(frozen=True)
class _Completed:
    """A delta as a source: what it does not carry is read where the destination has it, for repositories that cannot mount."""

    bundle: Bundle
    site: Source

    def resolve(self, name: str) -> Descriptor:
        """As the bundle."""
        return self.bundle.resolve(name)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """As the bundle, which carries all of them."""
        return self.bundle.manifest(descriptor)

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """From the bundle, or else from the site."""
        source: Source = self.bundle if self.bundle.has(descriptor) else self.site
        return source.open_blob(descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """As the bundle."""
        return self.bundle.referrers(digest)


class _ToRegistry:
    """One load to a registry."""

    def __init__(
        self, bundle: Bundle, client: RegistryClient, destination: Reference, jobs: int, on_event: OnEvent | None
    ) -> None:
        from nexus_oci.registry.end import RegistryEnd

        self._end: Callable[[str], RegistryEnd] = lambda name: RegistryEnd(client, f"{destination.repository}/{name}")
        self._bundle = bundle
        self._place = f"{destination.host}/{destination.repository}"
        self._host = destination.host
        self._jobs = jobs
        self._on_event = on_event
        self._home = self._end(bundle.inventory.repository)
        self._source: Source = _Completed(bundle, self._home)
        self._ends: dict[str, RegistryEnd] = {bundle.inventory.repository: self._home}
        self._reports: list[TransferReport] = []
        self._notes: list[str] = []

    def run(self) -> Loaded:
        """The steps in their order."""
        inventory = self._bundle.inventory
        _demand_base(self._bundle, self._home, self._place, self._jobs)
        written: list[tuple[RegistryEnd, Manifest, str]] = []
        for name, descriptor in _ordered(self._bundle):
            end, tag = self._at(name)
            manifest = self._copied(end, name, descriptor)
            if manifest is not None:
                written.append((end, manifest, tag))
        attached = self._attached()
        origin = inventory.prefix
        names = {name: one for name, one in friendly_names(self._bundle) if name != inventory.registry_image}
        relocation = record = None
        if origin != self._place and any(":" in name for name in names):
            relocation = relocate(self._source, inventory.release, names, origin, self._place)
            record = self._record(relocation)
        for end, manifest, tag in (*attached, *reversed(written)):
            end.tag(manifest, [tag])
        return Loaded(
            release=inventory.release,
            names=tuple(f"{self._host}/{end.repository}:{tag}" for end, _, tag in (*written[1:], *written[:1])),
            reports=tuple(self._reports),
            relocation=relocation,
            record=record,
            notes=tuple(self._notes),
        )

    def _at(self, name: str) -> tuple[RegistryEnd, str]:
        """The repository and the tag of a name."""
        repository, _, tag = name.rpartition(":")
        repository = repository or RELEASES
        if repository not in self._ends:
            self._ends[repository] = self._end(repository)
        return self._ends[repository], tag

    def _copied(self, end: RegistryEnd, name: str, root: Descriptor) -> Manifest | None:
        """Bring what a name leads to; the manifest that gets the name, None where the registry takes none that would do."""
        try:
            self._copy(end, root)
            return self._bundle.manifest(root)
        except RegistryError as error:
            manifest = self._bundle.manifest(root)
            sparse = self._sparse(manifest)
            if not sparse:
                raise
            return self._instead(end, name, manifest, error)

    def _copy(self, end: RegistryEnd, root: Descriptor) -> None:
        mounted = self._home.repository if end is not self._home else None
        copy = partial(copy_graph, referrers=True, mount_from=mounted, jobs=self._jobs, on_event=self._on_event)
        self._reports.append(self._tried(lambda: copy(self._source, end, root)))

    def _tried(self, work: Callable[[], TransferReport]) -> TransferReport:
        """Copy, and again where the registry says that content is wrong which was proved right here.

        Registries on a file system show a blob that somebody else writes at the same moment as damaged, or as missing.
        """
        for pause in _PAUSES:
            try:
                return work()
            except VerificationError:
                if not self._bundle.is_proved:
                    raise
                time.sleep(pause)
        return work()

    def _sparse(self, manifest: Manifest) -> bool:
        """Whether an index, or one below it, names what was left out of the bundle."""
        return self._bundle.is_sparse(manifest) or any(
            self._sparse(self._bundle.manifest(child)) for child in manifest.manifests if child.is_index
        )

    def _instead(self, end: RegistryEnd, name: str, manifest: Manifest, error: NexusError) -> Manifest | None:
        """The one image of an index whose other platforms are not here, where the registry wants all of them."""
        images = [child for child in manifest.manifests if child.platform is not None]
        if len(images) == 1:
            self._copy(end, images[0])
            self._notes.append(f"{name} names the image for {images[0].platform} itself: the registry takes no part of an index")
            return self._bundle.manifest(images[0])
        if any(child.is_index for child in manifest.manifests):
            self._notes.append(f"{name} is not there: the registry takes no release whose platforms are not all in the bundle")
            return None
        raise RegistryError(
            f"{self._host} does not take {name} with {len(images)} of its platforms",
            why=error.what,
            hint="make the bundle with one --platform, or with all",
        ) from error

    def _attached(self) -> list[tuple[RegistryEnd, Manifest, str]]:
        """Bring what stands under tags made from digests to every repository that carries what it belongs to, and to the root's.

        Those tags are written with the others.
        """
        wanted: dict[tuple[str, str], dict[Digest, Descriptor]] = {}
        for name, descriptor in _attached(self._bundle):
            repository, _, tag = name.rpartition(":")
            for place in (self._bundle.inventory.repository, repository or RELEASES):
                wanted.setdefault((place, tag), {})[descriptor.digest] = descriptor
        with _scratch() as store:
            found = Crew(self._jobs).map(lambda item: self._attach(store, *item), list(wanted.items()))
        return [one for one in found if one is not None]

    def _attach(
        self, store: Store, place: tuple[str, str], images: Mapping[Digest, Descriptor]
    ) -> tuple[RegistryEnd, Manifest, str] | None:
        """Bring one tag's image, joined with what is there; None where nothing is to be named."""
        repository, tag = place
        end, about = self._ends.get(repository), attached_to(tag)
        if end is None or about is None or not end.has(self._bundle.resolve(about)):
            return None
        there = {one.digest: one for one in _there(end, tag)}
        if images.keys() <= there.keys():
            return None
        image, source = next(iter(images.values())), self._source
        if signed_by_tag(tag) is not None and len({**images, **there}) > 1:
            image, source = _joined(store, self._bundle, tuple(images.values()), end, tuple(there.values())), StoreEnd(store)
        if image.digest in there:
            return None
        self._reports.append(self._tried(lambda: copy_graph(source, end, image, jobs=1, on_event=self._on_event)))
        return end, source.manifest(image), tag

    def _record(self, relocation: Relocation) -> Descriptor | None:
        """Keep the relocation beside the release; not where the registry did not take the release itself."""
        root = self._bundle.inventory.release
        if not self._home.has(root):
            return None
        created = self._bundle.manifest(root).annotations.get(media_types.CREATED, _NEVER)
        with _scratch() as store:
            record = store_relocation(store, relocation, root, created)
            self._reports.append(copy_graph(StoreEnd(store), self._home, record, jobs=1, on_event=self._on_event))
        return record


def _ordered(bundle: Bundle) -> list[tuple[str, Descriptor]]:
    """What has a name, the release first: everything else is mounted from there. A registry image is for `docker load`."""
    inventory = bundle.inventory
    named = [(name, one) for name, one in friendly_names(bundle) if name != inventory.registry_image]
    return sorted(named, key=lambda item: (item[1].digest != inventory.release.digest, item[0]))


def _attached(bundle: Bundle) -> list[tuple[str, Descriptor]]:
    return [(name, one) for name, one in bundle.inventory.names.items() if attached_to(name.rpartition(":")[2]) is not None]


def _there(end: Source, tag: str) -> list[Descriptor]:
    with suppress(NotFoundError):
        return [end.resolve(tag)]
    return []


def _joined(store: Store, bundle: Source, images: Sequence[Descriptor], end: Source, there: Sequence[Descriptor]) -> Descriptor:
    """The signatures that were there, and those of the bundle, in one image."""
    found = [signature for one in there for signature in read_signatures(end, one)]
    for image in images:
        found += [signature for signature in read_signatures(bundle, image) if signature not in found]
    return store_signatures(store, found)


def _demand_base(bundle: Bundle, sink: Sink, place: str, jobs: int) -> None:
    base = bundle.inventory.base
    if base is None:
        return
    there = Crew(jobs).map(sink.has, base.needed)
    missing = [one for one, found in zip(base.needed, there, strict=True) if not found]
    if missing:
        raise MissingBaseError(bundle, place, missing)


@contextmanager
def _scratch() -> Iterator[Store]:
    """A store for what is on its way to a registry."""
    with tempfile.TemporaryDirectory(prefix="nexus-oci-load-") as folder:
        yield Store.create(Path(folder) / "oci")


def summed(reports: Sequence[TransferReport]) -> Mapping[str, int]:
    """What all transfers of a load did."""
    fields = ("bytes_sent", "blobs_sent", "blobs_skipped", "blobs_mounted", "manifests_sent")
    return {name: sum(getattr(report, name) for report in reports) for name in fields}
