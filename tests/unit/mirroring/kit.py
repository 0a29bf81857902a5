"""Releases to mirror, and mirrors between registries in memory that never really wait."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nexus_oci.mirroring.item import Settings, Wanted
from nexus_oci.mirroring.run import Pruning, Report, mirror
from nexus_oci.mirroring.selection import Retention
from nexus_oci.mirroring.tee import Shared
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, Platform
from nexus_oci.registry.end import RegistryEnd
from nexus_oci.registry.place import RegistryPlace
from nexus_oci.registry.retry import Pace, RetryPolicy
from nexus_oci.registry.settings import RegistrySettings
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.places import Place
from nexus_oci.transfer.store_end import StoreEnd
from tests.support.faulty_registry import FaultyRegistry
from tests.unit.transfer.graph import image

AMD64, ARM64 = Platform(os="linux", architecture="amd64"), Platform(os="linux", architecture="arm64")


@dataclass(frozen=True, kw_only=True)
class Release:
    """What `make_release` wrote, by role."""

    version: str
    root: Descriptor
    engine: Descriptor
    images: tuple[Descriptor, ...]
    deb: Descriptor
    sbom: Descriptor
    signature: Descriptor

    @property
    def signature_tag(self) -> str:
        return f"sha256-{self.images[0].digest.hex}.sig"


def make_release(store: Store, version: str, *, shared: str = "shared") -> Release:
    """A release in the form of this program's: an engine for two platforms, a deb of it, an SBOM, and a signature under a tag."""
    base = store.put(shared.encode().ljust(5000, b"."), media_types.LAYER_GZIP)
    images = tuple(
        replace(
            image(store, base, store.put(f"{version} {platform}".encode().ljust(3000, b"."), media_types.LAYER_GZIP)),
            platform=platform,
        )
        for platform in (AMD64, ARM64)
    )
    engine = store.put_manifest(
        Manifest.build(
            {
                "schemaVersion": 2,
                "mediaType": media_types.INDEX,
                "manifests": [child.to_json() for child in images],
                "annotations": {media_types.DISTRIBUTION: "runtime", media_types.VERSION: version},
            }
        )
    )
    marks = {media_types.DISTRIBUTION: "runtime", media_types.FORMAT: "deb", media_types.PLATFORM: "linux/amd64"}
    deb_type, deb_layer = media_types.ARTIFACTS["deb"]
    deb = image(
        store, store.put(f"deb {version}".encode(), deb_layer), artifactType=deb_type, subject=engine.to_json(), annotations=marks
    )
    friendly = {media_types.REPOSITORY: "runtime", media_types.TAG: version}
    children = [replace(engine, annotations=friendly), replace(deb, annotations=marks)]
    root = store.put_manifest(
        Manifest.build(
            {
                "schemaVersion": 2,
                "mediaType": media_types.INDEX,
                "artifactType": media_types.RELEASE,
                "manifests": [child.to_json() for child in children],
            }
        )
    )
    about = {"artifactType": "application/vnd.sbom", "subject": root.to_json()}
    sbom = image(store, store.put(f"sbom {version}".encode(), "text/plain"), **about)
    signature = image(store, store.put(f"signed {version}".encode(), "text/plain"))
    return Release(version=version, root=root, engine=engine, images=images, deb=deb, sbom=sbom, signature=signature)


@dataclass(kw_only=True)
class Mirrors:
    """A source, two destinations, and runs between them."""

    servers: tuple[FaultyRegistry, FaultyRegistry, FaultyRegistry]
    folder: Path
    jobs: int = 4
    places: list[RegistryPlace] = field(default_factory=list)

    @property
    def source(self) -> FaultyRegistry:
        return self.servers[0]

    def settings(self, **changes: Any) -> RegistrySettings:
        pace = Pace(sleep=lambda _: None)
        options: dict[str, Any] = {"plain_http": True, "pace": pace, "retry": RetryPolicy(tries=2), **changes}
        return RegistrySettings(**options)

    def place(self, number: int, base: str = "team", **changes: Any) -> RegistryPlace:
        made = RegistryPlace(self.servers[number].host, base, self.settings(**changes), remember=number == 0)
        self.places.append(made)
        return made

    def publish(self, store: Store, release: Release, *tags: str) -> None:
        """Put a release where `push` would."""
        store.replace_tags({}, (release.deb, release.sbom), keep_untagged=True)
        place = self.place(0)
        source = StoreEnd(store)
        top, runtime = (RegistryEnd(place.client, f"team/{name}") for name in ("releases", "runtime"))
        copy_graph(source, top, release.root, tags=(release.version, *tags), referrers=True)
        copy_graph(source, runtime, release.engine, tags=(release.version,), referrers=True)
        for end in (top, runtime):
            copy_graph(source, end, release.signature, tags=(release.signature_tag,))
        self.source.seen.clear()

    def run(self, *tags: str, to: tuple[Place, ...] | None = None, channels: tuple[str, ...] = (), **changes: Any) -> Report:
        """Mirror tags of `releases`. `changes` are of the settings; `retention` prunes."""
        retention: Retention | None = changes.pop("retention", None)
        source: Place = changes.pop("source", None) or self.place(0)
        wanted = [Wanted(repository="releases", tag=tag) for tag in tags]
        wanted += [Wanted(repository="releases", tag=tag, channel=True) for tag in channels]
        shared = Shared(spool=self.folder / "spool")
        settings = Settings(shared=shared, jobs=self.jobs, **changes)
        pruning = None
        if retention is not None:
            pruning = Pruning(repository="releases", wanted=(*tags, *channels), retention=retention)
        destinations = to if to is not None else (self.place(1),)
        return mirror(source, destinations, wanted, settings, pruning=pruning)

    def close(self) -> None:
        for place in self.places:
            place.close()


def content(server: FaultyRegistry, name: str = "team") -> dict[str, Any]:
    """All that a registry has below a namespace: tags, manifests and blobs of each repository."""
    return {
        repository: (held.tags, {digest: raw for digest, (_, raw) in held.manifests.items()}, held.blobs)
        for repository, held in sorted(server.repositories.items())
        if repository.startswith(f"{name}/") and (held.manifests or held.blobs)
    }
