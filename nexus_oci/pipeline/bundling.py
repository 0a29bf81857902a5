"""Makes a bundle: what belongs to it is collected, its inventory made and signed, and then every byte put at its place.

1. Every manifest of the release is read, with what refers to it and the signatures under tags. 2. Of a delta, blobs that the base
has are left out and named as needed. 3. The inventory says where everything will stand; it is signed. 4. The blobs are copied and
hashed once. 5. Only then the file, or its parts, get their names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.bundle.collect import Collected, collect
from nexus_oci.bundle.documents import LAYOUT, docker_document, docker_platform, index_document, is_runnable
from nexus_oci.bundle.inventory import Base, File, Inventory, Program
from nexus_oci.bundle.parts import PartPlan, plan_parts
from nexus_oci.bundle.targets import FileTarget, PartsTarget, Target
from nexus_oci.bundle.writing import Head, write_bundle
from nexus_oci.errors import UsageError
from nexus_oci.oci.values import Descriptor, Digest, Manifest, Platform, digest_of
from nexus_oci.pipeline.bundle_origin import Origin, attached_to
from nexus_oci.pipeline.subjects import RELEASES, subjects_of
from nexus_oci.transfer.ends import BlobStream, Source
from nexus_oci.trust.cosign import sign_file

if TYPE_CHECKING:
    from nexus_oci.pipeline.site_inventory import Held
    from nexus_oci.trust.keys import Signer


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A file that goes into a bundle beside the release: the program for the other side."""

    path: Path
    digest: Digest
    size: int
    program: Program


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """What a bundle should be. `part_size` in bytes; `since` a version at the same place, `held` what a site has."""

    output: Path
    platforms: tuple[Platform, ...] = ()
    docker_platform: Platform | None = None
    since: str | None = None
    held: Held | None = None
    part_size: int | None = None
    parity: str | None = None
    registry_image: Origin | None = None
    program: Carried | None = None
    signer: Signer | None = None
    jobs: int = 8


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was made: the files, the digest of the inventory, and the inventory; sizes in bytes."""

    files: tuple[Path, ...]
    digest: Digest
    inventory: Inventory
    plan: PartPlan | None
    size: int


@dataclass(frozen=True)
class _Sources:
    """Opens blobs where they were found."""

    release: Source
    others: Mapping[Digest, Source] = field(default_factory=dict)

    def resolve(self, name: str) -> Descriptor:
        """As the release's own source."""
        return self.release.resolve(name)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Where it was found."""
        return self.others.get(descriptor.digest, self.release).manifest(descriptor)

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """Where it was found."""
        return self.others.get(descriptor.digest, self.release).open_blob(descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """Where it was found."""
        return self.others.get(digest, self.release).referrers(digest)


def create_bundle(
    origin: Origin,
    request: BundleRequest,
    *,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Made:
    """Make a bundle; the same release and request give the same bytes, but for signatures that are not deterministic.

    Raises `UsageError` for a request that cannot be met, `StoreError` where there is no room, and what the source raises; then
    no file has its name.
    """
    if request.parity and request.part_size is None:
        raise UsageError("--parity needs --part-size", why="parity replaces parts, and there is only one file")
    collected = collect(origin.source, [origin.root], origin.locate, platforms=request.platforms, jobs=request.jobs)
    names = {name: one for name, one in origin.names.items() if one.digest in collected.manifests}
    names |= _attached_names(origin, collected)
    extra = _extra(request, names)
    manifests = {**extra.manifests, **collected.manifests}
    base, contents = _contents(origin, request, collected, extra)
    inventory, files = _described(origin, request, names, collected, manifests, contents, base)
    raw = inventory.to_bytes()
    sign = _signing(request.signer, say)
    head = Head(raw=raw, signature=sign(raw))
    size = len(head.to_bytes()) + inventory.places()[1]
    others = dict.fromkeys(extra.everything().keys() - collected.everything().keys(), request.registry_image)
    sources = _Sources(origin.source, {digest: found.source for digest, found in others.items() if found is not None})
    digest = digest_of(raw)
    plan = None
    if request.part_size is not None:
        plan = plan_parts(digest, request.output.name, size, request.part_size, request.parity)
    with _target(request, size, plan) as target:
        write_bundle(target, inventory, head, sources, files, manifests, jobs=min(request.jobs, 8), progress=progress)
        paths = target.commit(sign)
    return Made(files=paths, digest=digest, inventory=inventory, plan=plan, size=size)


@contextlib.contextmanager
def _target(request: BundleRequest, size: int, plan: PartPlan | None) -> Iterator[Target]:
    output = request.output
    target: Target = FileTarget(output, size) if plan is None else PartsTarget(output.parent, plan, min(request.jobs, 4))
    try:
        yield target
    except BaseException:
        target.discard()
        raise


def _signing(signer: Signer | None, say: Callable[[str], None]) -> Callable[[bytes], bytes]:
    if signer is None:
        say("the bundle is not signed: whoever loads it has to insist. --key signs it.")
        return lambda _: b""
    return lambda data: sign_file(signer, data)


def _attached_names(origin: Origin, collected: Collected) -> dict[str, Descriptor]:
    """Names of what stands under tags made from digests, in every repository that carries what they belong to."""
    places = {}
    for subject in subjects_of(_Held(origin.source, collected), origin.root, origin.repository):
        places[subject.digest] = subject.repositories
    names: dict[str, Descriptor] = {}
    for digest, attached in collected.attached.items():
        for name, image in attached:
            if ":" in name or attached_to(name) is None:
                names[name] = image
                continue
            for repository in places.get(digest, (origin.repository,)):
                names[name if repository == RELEASES else f"{repository}:{name}"] = image
    return names


@dataclass(frozen=True)
class _Held:
    """A source that knows of an index only what was collected."""

    source: Source
    collected: Collected

    def resolve(self, name: str) -> Descriptor:
        """As the source."""
        return self.source.resolve(name)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """As it was collected, without what was left out."""
        manifest = self.collected.manifests[descriptor.digest]
        if not self.collected.left_out or not manifest.is_index:
            return manifest
        kept = [child for child in manifest.data["manifests"] if child["digest"] in self.collected.manifests]
        return Manifest(raw=manifest.raw, descriptor=manifest.descriptor, data={**manifest.data, "manifests": kept})

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """As the source."""
        return self.source.open_blob(descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """Those that were collected."""
        return tuple(one for one in self.source.referrers(digest) if one.digest in self.collected.manifests)


def _extra(request: BundleRequest, names: dict[str, Descriptor]) -> Collected:
    """What a registry image adds; its name joins the others."""
    found = request.registry_image
    if found is None:
        return Collected()
    name = next(iter(found.names))
    if name in names:
        raise UsageError(f"the registry image is called {name}, and so is a part of the release")
    names[name] = found.root
    return collect(found.source, [found.root], found.locate, platforms=request.platforms, jobs=request.jobs)


def _contents(
    origin: Origin, request: BundleRequest, collected: Collected, extra: Collected
) -> tuple[Base | None, tuple[Descriptor, ...]]:
    """What is carried, manifests first, which all come along to be verified; and for a delta what the site has to have."""
    everything = {**collected.everything(), **extra.everything()}
    had: frozenset[Digest] = frozenset()
    name = None
    if request.since is not None:
        root = origin.other(request.since)
        before = collect(origin.source, [root], origin.locate, platforms=request.platforms, jobs=request.jobs)
        had, name = frozenset(before.everything()), request.since
    elif request.held is not None:
        had, name = request.held.digests, request.held.place
    manifests = {**collected.manifests, **extra.manifests}
    needed = tuple(one for digest, one in everything.items() if digest in had and digest not in manifests)
    left = {one.digest for one in needed}
    contents = sorted((one for one in everything.values() if one.digest not in left), key=lambda one: one.digest)
    ordered = [one for one in contents if one.digest in manifests] + [one for one in contents if one.digest not in manifests]
    return Base(name=name, needed=needed) if name is not None else None, tuple(ordered)


def _described(
    origin: Origin,
    request: BundleRequest,
    names: Mapping[str, Descriptor],
    collected: Collected,
    manifests: Mapping[Digest, Manifest],
    contents: Sequence[Descriptor],
    base: Base | None,
) -> tuple[Inventory, dict[str, bytes | Path]]:
    """The inventory, and the entries that are no blobs."""

    def runnable(name: str, descriptor: Descriptor) -> bool:
        return attached_to(name.rpartition(":")[2]) is None and is_runnable(manifests[descriptor.digest], manifests)

    held = {one.digest for one in contents}
    images = [one for name, one in names.items() if runnable(name, one)]
    platform = request.docker_platform or docker_platform(images, manifests)
    documents: dict[str, bytes | Path] = {
        "oci-layout": LAYOUT,
        "index.json": index_document(names, manifests, runnable, origin.prefix),
        "manifest.json": docker_document(names, manifests, runnable, origin.prefix, platform, held.__contains__),
    }
    files = [
        File(name=name, size=len(data), digest=digest_of(data)) for name, data in documents.items() if isinstance(data, bytes)
    ]
    carried = request.program
    if carried is not None:
        documents[carried.program.name] = carried.path
        files.append(File(name=carried.program.name, size=carried.size, digest=carried.digest))
    inventory = Inventory(
        release=origin.root,
        repository=origin.repository,
        prefix=origin.prefix,
        names=dict(sorted(names.items())),
        files=tuple(files),
        contents=tuple(contents),
        platforms=tuple(map(str, request.platforms)),
        left_out=tuple(one for _, one in sorted(collected.left_out.items()) if one.digest not in held),
        base=base,
        program=carried.program if carried else None,
        registry_image=next(iter(request.registry_image.names)) if request.registry_image else None,
    )
    return inventory, documents
