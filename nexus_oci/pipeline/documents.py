"""What a build writes about its release: the provenance, and on request an SBOM in both forms for every image and artifact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.describe import FORMS, MEDIA_TYPES, Describer, document
from nexus_oci.pipeline.project import Project
from nexus_oci.pipeline.provenance import FILE, MEDIA_TYPE, provenance_of, unsigned_statement
from nexus_oci.pipeline.subjects import RELEASES, Subject, subjects_of
from nexus_oci.release.outputs import Output
from nexus_oci.transfer.store_end import StoreEnd


def release_documents(project: Project, store: Store, release: Descriptor, *, sbom: bool) -> list[Output]:
    """The documents of a release that is in the store, put there too; they are no part of its digest.

    The provenance records the waivers without which some tier would refuse the release.
    """
    subjects = subjects_of(StoreEnd(store), release, RELEASES)
    from nexus_oci.pipeline.tier_check import project_waivers

    digests = [digest for subject in subjects for digest in (subject.digest, *_files(subject))]
    waivers = project_waivers(project.settings.root, project.settings.defaults, StoreEnd(store), release, project.definition)
    provenance = provenance_of(project)
    if waivers:
        provenance = replace(provenance, internal={**provenance.internal, "waivers": waivers})
    data = unsigned_statement(digests, provenance)
    found = [Output(distribution=None, platform=None, format="provenance", path=FILE, descriptor=store.put(data, MEDIA_TYPE))]
    return [*found, *_sboms(store, subjects)] if sbom else found


def _files(subject: Subject) -> Iterator[Digest]:
    """The digest of an artifact's one file, by which those know it who have only the file."""
    if subject.is_artifact and len(subject.manifest.layers) == 1:
        yield subject.manifest.layers[0].digest


def _sboms(store: Store, subjects: tuple[Subject, ...]) -> Iterator[Output]:
    for found in Describer(source=StoreEnd(store), subjects=subjects).descriptions():
        for form in FORMS:
            made = document(found.catalogue, form)
            yield Output(
                distribution=found.subject.distribution,
                platform=found.platform,
                format=form,
                path=f"sbom/{found.name}{made.suffix}",
                descriptor=store.put(made.data, MEDIA_TYPES[form]),
            )
