"""From built images and files to the release: indexes, artifacts, the chart, the release index, the names, and dist/."""

from __future__ import annotations

import json
import platform as host
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_oci import __version__
from nexus_oci.oci import media_types
from nexus_oci.oci.gzip import ENCODER
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Platform, digest_of
from nexus_oci.pipeline.attached import surviving
from nexus_oci.pipeline.building import Built
from nexus_oci.pipeline.documents import release_documents
from nexus_oci.pipeline.project import Project, chart_folder, release_labels
from nexus_oci.pipeline.signing_release import SUMS, SUMS_SIGNATURE
from nexus_oci.pipeline.signing_texts import SUMS_OPENPGP, TextSigner, sign_sums, store_provenance
from nexus_oci.plan.expand import REPOSITORIES, Build, finished, repository_step
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


def assemble_release(
    project: Project,
    store: Store,
    built: Built,
    metadata: Mapping[str, Any],
    *,
    sbom: bool = False,
    texts: TextSigner | None = None,
) -> Release:
    """Write every manifest above the images, name them in the store, and bring dist/ in line; with `sbom`, SBOMs too.

    `texts` signs the chart's provenance file and the list of files; without it a chart has none, and the list no such signature.
    """
    labels = release_labels(project.definition, project.checkout)
    tag = tag_of(project.stamp.version)
    images: dict[str, Named] = {}
    artifacts: list[Descriptor] = []
    outputs: list[Output] = []
    for name in sorted({build.distribution for build in project.builds}):
        distribution = project.distribution(name)
        described = {**labels, media_types.DISTRIBUTION: name, media_types.DESCRIPTION: distribution.description}
        annotations = {key: value for key, value in described.items() if value}
        builds = [build for build in project.builds if build.distribution == name]
        index = store_index(store, [built.image(build) for build in builds], annotations)
        images[name] = Named(descriptor=index, repository=distribution.repository, tag=tag)
        outputs.append(_image_output(name, None, f"oci:{distribution.repository}:{tag}", index))
        for build in builds:
            image = built.image(build)
            outputs.append(_image_output(name, build.platform, f"oci@{image.digest}", image))
        for file in _files(project, builds, built):
            artifacts.append(store_artifact(store, file, index, annotations))
            outputs += _file_outputs(file)
    charts = _charts(project, store, images, labels, outputs, texts)
    delivered = [image for name, image in images.items() if not _is_hosted(project, name)]
    chart = project.definition.chart
    installable = [] if chart is not None and _is_hosted(project, chart.distribution) else charts
    release = store_release(store, images=delivered, artifacts=artifacts, charts=installable, annotations=labels)
    _name(store, tag, release, [*images.values(), *charts], artifacts)
    outputs.append(Output(distribution=None, platform=None, format="release", path=f"oci:{tag}", descriptor=release))
    outputs += release_documents(project, store, release, sbom=sbom)
    before = _sums(store)
    said = {**metadata, "release": release.digest}
    folder = store.root.parent
    write_outputs(store, folder, outputs, said if built.ran else as_before(folder, said))
    if _sums(store) != before:
        for name in (SUMS_SIGNATURE, SUMS_OPENPGP):
            (store.root.parent / name).unlink(missing_ok=True)
    if texts is not None:
        sign_sums(store.root.parent, SUMS, texts)
    return Release(version=project.stamp.version, descriptor=release, images=images, outputs=tuple(outputs))


def _is_hosted(project: Project, name: str) -> bool:
    """Whether a distribution's images, and its chart, stay out of the release, in the store alone, for whoever hosts the engine.

    Nothing of `api` is for customers. Where files of it are asked for as well, they and its images are in the release, consistent
    in themselves, and the gate `api-artifact` refuses it.
    """
    return name == "api" and not any(build.formats for build in project.builds if build.distribution == name)


def _image_output(distribution: str, platform: Platform | None, path: str, descriptor: Descriptor) -> Output:
    return Output(distribution=distribution, platform=platform, format="image", path=path, descriptor=descriptor)


def _file_outputs(file: BuiltFile) -> list[Output]:
    return [
        Output(
            distribution=file.distribution,
            platform=file.platform,
            format=file.format,
            path=f"artifacts/{file.distribution}/{path}",
            descriptor=blob,
        )
        for path, blob in file.files
    ]


def _files(project: Project, builds: Sequence[Build], built: Built) -> Iterator[BuiltFile]:
    """The extracted files of one distribution, and the repositories made of them."""
    for build in builds:
        for name in build.extracted:
            for title, blob in built.files(finished(project.plan, build.format_step(name))):
                yield BuiltFile(
                    distribution=build.distribution,
                    platform=build.platform,
                    format=name,
                    title=title,
                    files=((title, blob),),
                )
    for name in builds[0].formats:
        if name in REPOSITORIES:
            distribution = builds[0].distribution
            yield BuiltFile(
                distribution=distribution,
                platform=None,
                format=name,
                title=name,
                files=tuple(built.files(repository_step(distribution, name))),
            )


def _charts(
    project: Project,
    store: Store,
    images: Mapping[str, Named],
    labels: Mapping[str, str],
    outputs: list[Output],
    texts: TextSigner | None,
) -> list[Named]:
    chart = project.definition.chart
    if not project.chart_files or chart is None or chart.distribution not in images:
        return []
    from nexus_oci.chart import package_chart
    from nexus_oci.chart.provenance import SUFFIX as PROVENANCE_SUFFIX
    from nexus_oci.chart.provenance import statement_text

    values: dict[str, Any] = {}
    image = images[chart.distribution]
    _set(values, chart.values.digest, str(image.descriptor.digest))
    if project.definition.registry:
        _set(values, chart.values.repository, f"{project.definition.registry}/{image.repository}")
    packaged = package_chart(
        chart_folder(project.settings, chart),
        version=project.stamp.version,
        app_version=project.stamp.version,
        values=values,
        epoch=project.stamp.epoch,
    )
    signed = None
    if texts is not None:
        text = statement_text(packaged.config, packaged.file_name, packaged.archive)
        signed = store_provenance(store, texts, text, f"chart {packaged.name}")
    manifest = store_chart(store, config=packaged.config, archive=packaged.archive, annotations=labels, provenance=signed)
    files = {packaged.file_name: "chart", f"{packaged.file_name}{PROVENANCE_SUFFIX}": "prov"}
    for (name, kind), blob in zip(files.items(), store.manifest(manifest).layers, strict=False):
        outputs.append(Output(distribution=None, platform=None, format=kind, path=f"charts/{name}", descriptor=blob))
    return [Named(descriptor=manifest, repository=f"charts/{packaged.name}", tag=packaged.tag)]


def _set(values: dict[str, Any], path: str, value: str) -> None:
    """Set a dotted path in nested mappings."""
    *parents, last = path.split(".")
    for name in parents:
        values = values.setdefault(name, {})
    values[last] = value


def _sums(store: Store) -> bytes | None:
    """The list of files beside the store; None where there is none. A signature of another list would accuse this one."""
    path = store.root.parent / SUMS
    return path.read_bytes() if path.is_file() else None


def _name(store: Store, tag: str, release: Descriptor, named: Sequence[Named], artifacts: Sequence[Descriptor]) -> None:
    """Name everything in index.json at once: the release by its version, the rest by repository and version.

    Signatures, and whatever else refers to what is still there, stay; those of what is gone go.
    """
    names = {tag: release}
    for item in named:
        names[f"{item.repository}:{item.tag}"] = item.descriptor
    kept, gone = surviving(store, names, artifacts)
    store.replace_tags(names, (*artifacts, *kept), without=gone)


def as_before(folder: Path, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a build says that did nothing: what the last one said, where the two differ in how it went and in nothing else.

    So files stay what they are, and signatures of their list stay good.
    """
    try:
        last = json.loads((folder / "metadata.json").read_bytes())
        went = {
            "seconds": last["seconds"],
            "lock": last["lock"],
            "tools": {**metadata["tools"], "engine": last["tools"]["engine"]},
        }
    except (OSError, ValueError, LookupError, TypeError):
        return metadata
    return last if {**metadata, **went} == last else metadata


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
