"""A registry's image out of a layout on disk, to be carried in a bundle."""

from __future__ import annotations

from typing import NoReturn

from nexus_oci.errors import NotFoundError
from nexus_oci.oci.store import Store
from nexus_oci.pipeline.bundle_origin import Origin
from nexus_oci.transfer.store_end import StoreEnd


def origin_in_layout(store: Store) -> Origin:
    """The one image of a layout; raises `NotFoundError` where there is none, or several."""
    entries = {entry.digest: entry for entry in store.entries()}
    if len(entries) != 1:
        raise NotFoundError(
            f"{store.root} has {len(entries)} images",
            why="the registry's image has to be the only one",
            hint="copy it into a layout of its own, as with `skopeo copy … oci:FOLDER:registry:2`",
        )
    root = next(iter(entries.values()))
    tag = next(iter(store.tags()), "registry")
    name = tag if ":" in tag else f"registry:{tag}"

    def other(version: str) -> NoReturn:
        raise NotFoundError(f"there is no other version {version} of a registry's image")

    return Origin(
        source=StoreEnd(store),
        root=root,
        repository=name.rpartition(":")[0],
        prefix="",
        names={name.rpartition("/")[2]: root},
        locate=lambda _: (),
        other=other,
    )
