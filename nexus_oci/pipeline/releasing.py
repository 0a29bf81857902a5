"""From built images and files to the release: indexes, artifacts, the chart, the release index, the names, and dist/."""

from __future__ import annotations

import platform as host
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nexus_oci import __version__
from nexus_oci.oci import media_types
from nexus_oci.oci.gzip import ENCODER
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.pipeline.building import Built
from nexus_oci.pipeline.project import Project, chart_folder, release_labels
from nexus_oci.release.assemble import BuiltFile, Named, store_artifact, store_chart, store_index, store_release
from nexus_oci.release.outputs import Output, write_outputs


@dataclass(frozen=True, kw_only=True)
class Release:
    """A finished release in the store."""

    version: str
    descriptor: Descriptor
    images: Mapping[str, Named]
    outputs: tuple[Output, ...]


def tag_of(version: str) -> str:
    """A version as a tag: `+` is not allowed there and becomes `_`, as Helm does it."""
    return version.replace("+", "_")


def assemble_release(project: Project, store: Store, built: Built, metadata: Mapping[str, Any]) -> Release:
    """Write every manifest above the images, name them in the store, and bring dist/ in line."""
    labels = release_labels(project.definition, project.checkout)
    tag = tag_of(project.stamp.version)
    images: dict[str, Named] = {}
    artifacts: list[Descriptor] = []
    outputs: list[Output] = []
    for name in sorted({build.distribution for build in project.builds}):
        builds = [build for build in project.builds if build.distribution == name]
        distribution = project.distribution(name)
        described = {**labels, media_types.DISTRIBUTION: name, media_types.DESCRIPTION: distribution.description}
        annotations = {key: value for key, value in described.items() if value}
        index = store_index(store, [built.image(build) for build in builds], annotations)
        images[name] = Named(descriptor=index, repository=distribution.repository, tag=tag)
        outputs.append(Output(distribution=name, platform=None, format="image", path=f"oci:{distribution.repository}:{tag}", descriptor=index))
        for build in builds:
            image = built.image(build)
            outputs.append(Output(distribution=name, platform=build.platform, format="image", path=f"oci@{image.digest}", descriptor=image))
            for extracted in build.formats:
                record = built.records[build.format_step(extracted)]
                file = BuiltFile(
                    distribution=name, platform=build.platform, format=extracted, title=str(record.facts["title"]),
                    blob=record.blobs[0],
                )  # fmt: skip
                artifacts.append(store_artifact(store, file, index, annotations))
                path = f"artifacts/{name}/{file.title}"
                outputs.append(Output(distribution=name, platform=build.platform, format=extracted, path=path, descriptor=file.blob))
    charts = _charts(project, store, images, labels, outputs)
    release = store_release(store, images=list(images.values()), artifacts=artifacts, charts=charts, annotations=labels)
    _name(store, tag, release, [*images.values(), *charts], artifacts)
    outputs.append(Output(distribution=None, platform=None, format="release", path=f"oci:{tag}", descriptor=release))
    write_outputs(store, store.root.parent, outputs, {**metadata, "release": release.digest})
    return Release(version=project.stamp.version, descriptor=release, images=images, outputs=tuple(outputs))


def _charts(
    project: Project, store: Store, images: Mapping[str, Named], labels: Mapping[str, str], outputs: list[Output]
) -> list[Named]:
    chart = project.definition.chart
    if not project.chart_files or chart is None or chart.distribution not in images:
        return []
    from nexus_oci.chart import package_chart

    values: dict[str, Any] = {}
    image = images[chart.distribution]
    _set(values, chart.values.digest, str(image.descriptor.digest))
    if project.definition.registry:
        _set(values, chart.values.repository, f"{project.definition.registry}/{image.repository}")
    packaged = package_chart(
        chart_folder(project.settings, chart), version=project.stamp.version, app_version=project.stamp.version, values=values,
        epoch=project.stamp.epoch,
    )  # fmt: skip
    manifest = store_chart(store, config=packaged.config, archive=packaged.archive, annotations=labels)
    archive = store.manifest(manifest).layers[0]
    outputs.append(Output(distribution=None, platform=None, format="chart", path=f"charts/{packaged.file_name}", descriptor=archive))
    return [Named(descriptor=manifest, repository=f"charts/{packaged.name}", tag=packaged.tag)]


def _set(values: dict[str, Any], path: str, value: str) -> None:
    """Set a dotted path in nested mappings."""
    *parents, last = path.split(".")
    for name in parents:
        values = values.setdefault(name, {})
    values[last] = value


def _name(
    store: Store, tag: str, release: Descriptor, named: Sequence[Named], artifacts: Sequence[Descriptor]
) -> None:
    """Name everything in index.json at once: the release by its version, the rest by repository and version."""
    names = {tag: release}
    for item in named:
        names[f"{item.repository}:{item.tag}"] = item.descriptor
    store.replace_tags(names, tuple(artifacts))


def build_metadata(project: Project, *, engine: str | None, refreshed: Sequence[str], seconds: float) -> dict[str, Any]:
    """What metadata.json says: enough to ask for the same build again, and what a governance log refers to."""
    from nexus_oci.definition import effective
    from nexus_oci.oci.values import canonical_json

    return {
        "schemaVersion": 1,
        "name": project.definition.engine.name,
        "version": project.stamp.version,
        "commit": project.stamp.commit or None,
        "dirty": project.checkout.dirty,
        "epoch": project.stamp.epoch,
        "features": list(project.definition.engine.features),
        "components": list(project.definition.engine.components),
        "tiers": list(project.definition.tiers),
        "plan": project.plan.digest,
        "definition": digest_of(canonical_json(effective(project.definition))),
        "lock": {"refreshed": list(refreshed)},
        "tools": {
            "nexus-oci": __version__,
            "python": host.python_version(),
            "engine": engine,
            "encoder": ENCODER,
            "nfpm": project.nfpm.version if project.nfpm else None,
        },
        "checklists": ["input-validation", "sandboxing"],
        "seconds": round(seconds, 1),
    }
