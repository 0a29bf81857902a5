"""From a project to the provenance of what is built from it, and back from a provenance that was kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from nexus_oci import __version__
from nexus_oci.errors import NexusError, NotFoundError, VerificationError
from nexus_oci.oci.gzip import ENCODER
from nexus_oci.oci.values import Digest, canonical_json, digest_of
from nexus_oci.pipeline.attached import read_blob
from nexus_oci.pipeline.project import Project
from nexus_oci.transfer.ends import Source
from nexus_oci.trust.dsse import BUNDLE, Bundle, Statement, read_bundle, statement
from nexus_oci.trust.dsse import PREDICATE as NOTE
from nexus_oci.trust.keys import PublicKey
from nexus_oci.trust.provenance import PREDICATE, Dependency, Parameters, Provenance

FILE: Final = "provenance.json"
"""The unsigned statement that a build leaves in dist/."""
MEDIA_TYPE: Final = "application/vnd.in-toto+json"
MOST_BUNDLE: Final = 128 << 20
"""Bytes of a bundle that are read: what cosign reads of an attachment. The SBOM of a large image has a few MB."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A provenance that was kept, and whose word it is: a key's, or nobody's."""

    provenance: Provenance
    signed_by: PublicKey | None


def provenance_of(project: Project) -> Provenance:
    """What goes into a build of the project: everything that decides a byte of the release, and who says so."""
    from nexus_oci.definition import effective

    settings, definition, checkout = project.settings, project.definition, project.checkout
    return Provenance(
        name=definition.engine.name,
        version=project.stamp.version,
        parameters=Parameters(
            distributions=settings.distributions,
            platforms=tuple(map(str, settings.platforms)),
            formats=settings.formats,
            epoch=project.stamp.epoch,
        ),
        source={"uri": checkout.address, "commit": project.stamp.commit, "dirty": checkout.dirty},
        internal={
            "definition": str(digest_of(canonical_json(effective(definition)))),
            "plan": str(project.plan.digest),
            "builds": {f"{build.distribution} {build.platform}": list(build.formats) for build in project.builds},
            "buildPlatform": str(settings.build_platform),
            "buildkit": settings.buildkit,
            "signer": settings.key.signer if settings.key else "",
        },
        dependencies=_each_once(_dependencies(project)),
        tools={
            "nexus-oci": __version__,
            "encoder": ENCODER,
            **({"nfpm": project.nfpm.version} if project.nfpm else {}),
        },
    )


def unsigned_statement(subjects: list[Digest], provenance: Provenance) -> bytes:
    """The statement that a build leaves: in-toto, of every manifest and file of the release, not signed yet."""
    return statement(sorted(set(subjects)), PREDICATE, provenance.to_json())


def read_unsigned(data: bytes, about: Digest, name: str) -> Mapping[str, Any]:
    """The predicate of an unsigned statement; raises `VerificationError` where it says nothing about that digest."""
    said = Bundle(hint="", payload=data, signature=b"").statement
    if said.predicate_type != PREDICATE or about not in said.subjects:
        raise VerificationError(
            f"{name} is not the provenance of {about.short}",
            why="it is about other digests"
            if said.predicate_type == PREDICATE
            else f"it is a statement of {said.predicate_type}",
            hint="name the provenance.json that the build of this release left, with --provenance FILE",
        )
    Provenance.from_json(said.predicate)
    return said.predicate


def read_signed(source: Source, about: Digest, keys: tuple[PublicKey, ...]) -> Kept:
    """The provenance that is attached to a manifest, by one of the keys; by anybody where there are none.

    Raises `NotFoundError` where there is none, and `VerificationError` where none of those there counts.
    """
    found = 0
    for bundle, said in attached_statements(source, about, PREDICATE):
        found += 1
        key = next((key for key in keys if bundle.verified_by(key)), None)
        if about in said.subjects and (key is not None or not keys):
            return Kept(provenance=Provenance.from_json(said.predicate), signed_by=key)
    if found:
        raise VerificationError(
            f"no provenance of {about.short} is signed by a key that was given",
            why=f"{found} are attached, by others or about something else",
            hint="give the public key of who attested the release, with --key",
        )
    raise NotFoundError(
        f"{about.short} has no provenance",
        why="nothing of that kind is attached to it",
        hint="run `nexus-oci attest` on the release, or name the provenance.json of its build with --provenance FILE",
    )


def attached_statements(source: Source, about: Digest, predicate_type: str) -> Iterator[tuple[Bundle, Statement]]:
    """The statements of one type in the bundles that refer to a manifest, none of them believed yet; others are passed over."""
    for descriptor in source.referrers(about):
        if descriptor.annotations.get(NOTE, predicate_type) != predicate_type:
            continue
        manifest = source.manifest(descriptor)
        if manifest.artifact_type != BUNDLE or len(manifest.layers) != 1 or manifest.annotations.get(NOTE) != predicate_type:
            continue
        try:
            bundle = read_bundle(read_blob(source, manifest.layers[0], limit=MOST_BUNDLE))
            if bundle is not None and (said := bundle.statement).predicate_type == predicate_type:
                yield bundle, said
        except NexusError:
            continue


def _dependencies(project: Project) -> Iterator[Dependency]:
    checkout = project.checkout
    if project.stamp.commit:
        uri = f"git+{checkout.address}@{project.stamp.commit}" if checkout.address else ""
        yield Dependency(name="source", uri=uri, digest={"gitCommit": project.stamp.commit})
    for build in project.builds:
        text = build.dockerfile.text.encode()
        yield Dependency(name=f"Dockerfile {build.distribution} {build.platform}", digest=_sha256(digest_of(text)))
    for step in project.plan.steps:
        for name, value in step.inputs.items():
            if name.startswith("context "):
                yield Dependency(name=name, digest=_sha256(Digest(value)))
        if step.kind == "chart":
            yield Dependency(name="chart", digest=_sha256(Digest(step.inputs["chart"])))
    for local in project.bases.values():
        pin = local.image.pin
        image = f"docker://{pin['image']}" if "digest" in pin else ""
        yield Dependency(name=local.image.step, uri=image, digest=_sha256(Digest(pin.get("digest") or pin["rootfs"])))
        for package in local.packages:
            purl = f"pkg:deb/debian/{quote(package.name)}@{quote(package.version, safe=':~')}?arch={package.architecture}"
            name = f"deb {package.name} {package.architecture} of {local.image.name}"
            yield Dependency(name=name, uri=purl, digest={"sha256": package.sha256})
    if project.nfpm is not None:
        yield Dependency(name="nfpm", digest={"sha256": project.nfpm.file.digest.rpartition(":")[2]})


def _each_once(found: Iterator[Dependency]) -> tuple[Dependency, ...]:
    known = {canonical_json(dependency.to_json()): dependency for dependency in found}
    return tuple(known[key] for key in sorted(known))


def _sha256(digest: Digest) -> dict[str, str]:
    return {digest.algorithm: digest.hex}
