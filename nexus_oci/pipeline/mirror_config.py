"""What a mirror's settings need to know of a release: the chart, its image, and the digest that a build left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nexus_oci.errors import UsageError
from nexus_oci.mirror_config.helm import ChartImage
from nexus_oci.oci import media_types
from nexus_oci.pipeline.admission import chart_name

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.oci.store import Store


def chart_image(definition: Definition, store: Store | None, release: str | None) -> ChartImage:
    """The definition's chart and its image; with the digest where the store has a release, the one of `release` if it is given.

    Raises `UsageError` for a definition without a chart.
    """
    chart = definition.chart
    runs = definition.distribution(chart.distribution) if chart else None
    if chart is None or runs is None:
        raise UsageError("there is no chart", why="the definition in images/ has none", hint="leave --for helm away")
    found = _built(store, runs.repository, release) if store is not None else None
    return ChartImage(
        chart=chart_name(definition, chart.path),
        repository=runs.repository,
        repository_value=chart.values.repository,
        digest_value=chart.values.digest,
        digest=found[0] if found else None,
        version=found[1] if found else None,
    )


def _built(store: Store, repository: str, release: str | None) -> tuple[str, str] | None:
    """The digest and the tag of a repository's image in the store's release; nothing where the store has none."""
    from nexus_oci.errors import NotFoundError
    from nexus_oci.pipeline.push import find_release

    try:
        descriptor, _ = find_release(store, release)
    except NotFoundError:
        if release is not None:
            raise
        return None
    for child in store.manifest(descriptor).manifests:
        if child.annotations.get(media_types.REPOSITORY) == repository:
            return str(child.digest), child.annotations[media_types.TAG]
    return None


def open_built(folder: Path) -> Store | None:
    """The store that a build left in a folder; nothing where there is none."""
    from nexus_oci.oci.store import Store

    return Store.open(folder / "oci") if (folder / "oci" / "oci-layout").is_file() else None
