"""What belongs to a bundle: everything below a release, everything that refers to it, and the signatures under tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from nexus_oci.errors import NotFoundError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Digest, Manifest, Platform
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import Source

_MOST_LEVELS = 64
"""Manifests that refer to manifests that refer to manifests; more is an attempt to keep us busy."""

Locate = Callable[[Digest], Sequence[tuple[str, Descriptor]]]
"""What stands under tags that are made from a digest, such as `.sig`: pairs of the tag and what it names."""


@dataclass(kw_only=True)
class Collected:
    """Manifests and blobs by digest, in the order in which they were met; what was left out; and what tags lead to.

    `attached` are, by the digest that they are about, pairs of a tag and a manifest.
    """

    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)
    left_out: dict[Digest, Descriptor] = field(default_factory=dict)
    attached: dict[Digest, tuple[tuple[str, Descriptor], ...]] = field(default_factory=dict)

    def everything(self) -> dict[Digest, Descriptor]:
        """Manifests, by digest, then blobs, by digest."""
        manifests = {digest: self.manifests[digest].descriptor for digest in sorted(self.manifests)}
        return manifests | {digest: self.blobs[digest] for digest in sorted(self.blobs) if digest not in manifests}


def collect(
    source: Source, roots: Iterable[Descriptor], locate: Locate, *, platforms: Sequence[Platform] = (), jobs: int = 8
) -> Collected:
    """Walk from `roots` down, and on to what refers to each manifest; with `platforms` only what is for them, or for all.

    Raises what the source raises, and `NotFoundError` where nothing is for these platforms.
    """
    crew, found = Crew(jobs), Collected()
    level: dict[Digest, tuple[Descriptor, bool]] = {root.digest: (root, True) for root in roots}
    for _ in range(_MOST_LEVELS):
        level = {digest: one for digest, one in level.items() if digest not in found.manifests}
        if not level:
            _check_platforms(found, platforms)
            return found
        following: dict[Digest, tuple[Descriptor, bool]] = {}
        for manifest, referrers, attached in crew.map(lambda one: _visit(source, locate, *one), level.values()):
            digest = manifest.descriptor.digest
            found.manifests[digest] = manifest
            found.blobs.update((blob.digest, blob) for blob in manifest.blobs)
            if attached:
                found.attached[digest] = attached
            for child in (*manifest.manifests, *referrers):
                if _wanted(child, source, platforms):
                    following.setdefault(child.digest, (child, True))
                else:
                    found.left_out[child.digest] = child
            for _, image in attached:
                following.setdefault(image.digest, (image, False))
        level = following
    raise VerificationError(
        "the release nests more deeply than any release does", why=f"over {_MOST_LEVELS} levels; it is refused"
    )


def _visit(
    source: Source, locate: Locate, descriptor: Descriptor, on: bool
) -> tuple[Manifest, tuple[Descriptor, ...], tuple[tuple[str, Descriptor], ...]]:
    """A manifest, what refers to it, and what tags lead to from it. Of what a tag led to neither is looked for."""
    manifest = source.manifest(descriptor)
    if not on:
        return manifest, (), ()
    return manifest, source.referrers(descriptor.digest), tuple(locate(descriptor.digest))


def _wanted(child: Descriptor, source: Source, platforms: Sequence[Platform]) -> bool:
    """Whether something is for one of the platforms, or for all."""
    if not platforms:
        return True
    if child.platform is not None:
        return any(_fits(child.platform, one) for one in platforms)
    stated = child.annotations.get(media_types.PLATFORM)
    if stated is None and child.is_manifest and not child.is_index:
        stated = source.manifest(child).annotations.get(media_types.PLATFORM)
    return stated is None or stated in map(str, platforms)


def _fits(platform: Platform, wanted: Platform) -> bool:
    same = (platform.os, platform.architecture) == (wanted.os, wanted.architecture)
    return same and wanted.variant in (None, platform.variant)


def _check_platforms(found: Collected, platforms: Sequence[Platform]) -> None:
    """Refuse where an index was left without any image."""
    images = [child for manifest in found.manifests.values() for child in manifest.manifests if child.platform is not None]
    if platforms and images and not any(child.digest in found.manifests for child in images):
        known = ", ".join(sorted({str(child.platform) for child in images}))
        raise NotFoundError(f"nothing here is for {' or '.join(map(str, platforms))}", why=f"there are images for {known}")
