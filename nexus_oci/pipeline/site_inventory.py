"""What a site has, as a small file that can be carried back: the base for the next delta.

    {"schemaVersion": 1, "mediaType": "application/vnd.nexus-oci.site.inventory.v1+json", "place": "registry.site/nexus",
     "repositories": {"releases": {"tags": {"1.3.0": "sha256:…"}, "digests": ["sha256:…"]}}}

It lists what a registry holds below its releases, or a store below its names: manifests, and the blobs that they need and that
are there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nexus_oci.bundle.collect import Collected, collect
from nexus_oci.errors import NotFoundError, UsageError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.bundle_origin import attached_to, origin_in_store
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.subjects import RELEASES
from nexus_oci.transfer.ends import Source
from nexus_oci.transfer.store_end import StoreEnd

MEDIA_TYPE: Final = "application/vnd.nexus-oci.site.inventory.v1+json"
_LARGEST: Final = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a site has: its name, and every digest."""

    place: str
    digests: frozenset[Digest]


def read_site_inventory(path: Path) -> Held:
    """Read such a file; raises `UsageError` for anything else."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is too large for an inventory", why=f"it has more than {_LARGEST} bytes")
        data = json.loads(path.read_bytes())
        if data["mediaType"] != MEDIA_TYPE or data["schemaVersion"] != 1:
            raise UsageError(f"{path} is no inventory of a site", hint="`nexus-oci inventory DST` writes one")
        repositories = data["repositories"].values()
        return Held(place=str(data["place"]), digests=frozenset(Digest(one) for held in repositories for one in held["digests"]))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", why=error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{path} is no inventory of a site",
            why=f"{type(error).__name__}: {error}"[:200],
            hint="`nexus-oci inventory DST` writes one",
        ) from None


def store_inventory(store: Store) -> dict[str, Any]:
    """What a store has, by its names; a blob that is missing or damaged does not count."""
    tags = {name: entry for name, entry in store.tags().items() if attached_to(name.rpartition(":")[2]) is None}
    end = StoreEnd(store)
    repositories: dict[str, Any] = {}
    for name, root in sorted(tags.items()):
        locate = origin_in_store(store, root, "").locate
        found = collect(end, [root], locate, jobs=2)
        repository, _, tag = name.rpartition(":")
        _add(repositories, repository or RELEASES, tag, root, found, end.has)
    return _document(str(store.root), repositories)


def registry_inventory(destination: Reference, access: Access, *, jobs: int = 8) -> dict[str, Any]:
    """What HOST/NAMESPACE has of releases, or one repository of whatever it has tags for.

    Raises `NotFoundError` where neither is there.
    """
    client = access.client(destination.host)
    from nexus_oci.registry.end import RegistryEnd

    repositories: dict[str, Any] = {}
    for path, name in ((f"{destination.repository}/{RELEASES}", RELEASES), (destination.repository, destination.repository)):
        tags: tuple[str, ...] = ()
        with contextlib.suppress(NotFoundError):
            tags = client.tags(path)
        end = RegistryEnd(client, path)
        for tag in tags:
            if attached_to(tag) is None and not _is_fallback(tag):
                root = end.resolve(tag)
                found = collect(end, [root], _locating(end), jobs=jobs)
                _add(repositories, name, tag, root, found, lambda _: True)
        if repositories:
            break
    client.close()
    if not repositories:
        raise NotFoundError(
            f"nothing is known of {destination}",
            why=f"neither {destination.repository}/{RELEASES} nor {destination.repository} has a tag there",
            hint="name the HOST/NAMESPACE that releases are loaded to; a site that has nothing needs a whole bundle",
        )
    return _document(f"{destination.host}/{destination.repository}", repositories)


def _is_fallback(tag: str) -> bool:
    """Whether a tag lists referrers (distribution-spec, Referrers Tag Schema)."""
    algorithm, _, digits = tag.partition("-")
    return algorithm in ("sha256", "sha512") and len(digits) == 64 and not set(digits) - set("0123456789abcdef")


def _locating(end: Source) -> Callable[[Digest], list[tuple[str, Descriptor]]]:
    def locate(digest: Digest) -> list[tuple[str, Descriptor]]:
        tag = f"{digest.algorithm}-{digest.hex}.sig"
        with contextlib.suppress(NotFoundError):
            return [(tag, end.resolve(tag))]
        return []

    return locate


def _add(
    repositories: dict[str, Any], name: str, tag: str, root: Descriptor, found: Collected, held: Callable[[Descriptor], bool]
) -> None:
    entry = repositories.setdefault(name, {"tags": {}, "digests": []})
    entry["tags"][tag] = str(root.digest)
    there = [digest for digest, descriptor in found.everything().items() if held(descriptor)]
    entry["digests"] = sorted({*entry["digests"], *map(str, there)})


def _document(place: str, repositories: Mapping[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 1, "mediaType": MEDIA_TYPE, "place": place, "repositories": dict(repositories)}
