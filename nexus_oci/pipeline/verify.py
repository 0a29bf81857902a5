"""Verify: everything of a release is read again and compared with what names it; all faults are reported, not just the first.

1. The reference is resolved to a digest, once. No tag is asked again but those that lead to signatures, which prove themselves.
2. Every manifest from there down is read; its raw bytes have to have the size and the digest by which they were asked for.
3. Every child of an index is there, and every artifact that refers to something of it; what an artifact is about is there too.
   Unless `shallow`, every blob is read and hashed, and images are what their configs say (`verify_blobs`).
4. Signatures: each is read, from the tag and by reference; what was signed names the digest of the very manifest that was read,
   and a trusted key made it, for that repository and distribution (`verify_signatures`). Where OpenPGP certificates are trusted,
   charts have good provenance files (`verify_openpgp`).
5. Statements: what a trusted key says of a manifest is of the type that its carrier names; where builders are expected,
   everything has a SLSA provenance by one of them.
6. A key counts in its time only, and not once it is revoked; nor does a manifest or blob whose digest is.
7. Policies are the caller's: nothing here knows what a release has to be like.

What cannot be found out here, and remains the caller's: that the keys are the right ones, and that this is the newest release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from nexus_oci.errors import NexusError
from nexus_oci.oci import media_types
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.read_once import ReadOnce
from nexus_oci.pipeline.subjects import ARTIFACT_TYPES, is_release, subjects_of
from nexus_oci.pipeline.verify_blobs import Placed, check_blobs
from nexus_oci.transfer.ends import Source

if TYPE_CHECKING:
    from nexus_oci.pipeline.attached import Locate
    from nexus_oci.pipeline.verify_openpgp import CheckedChart
    from nexus_oci.pipeline.verify_signatures import SignatureReport
    from nexus_oci.trust.verification import Trust

__all__ = ["Believed", "ReadOnce", "Verification", "verify_graph", "verify_release"]


@dataclass(kw_only=True)
class Verification:
    """What was checked, and what was wrong; sizes in bytes."""

    root: Descriptor
    manifests: int = 0
    blobs: int = 0
    size: int = 0
    faults: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What was left out as a whole; what was found and not counted is in `signatures`."""
    signatures: SignatureReport | None = None
    charts: list[CheckedChart] = field(default_factory=list)
    """Those whose provenance files are good."""
    steps: list[str] = field(default_factory=list)
    """What each step found, in order."""


@dataclass(frozen=True, kw_only=True)
class Believed:
    """What signatures are judged by: the keys, the moment, where signatures are found, and the names of what is signed.

    `repository` is the root's name below `prefix`, HOST/NAMESPACE, which is empty in a store; `tag` the one it was asked for by.
    """

    trust: Trust
    now: datetime
    locate: Locate
    repository: str
    prefix: str = ""
    tag: str | None = None


def verify_release(
    source: Source,
    root: Descriptor,
    believed: Believed | None,
    *,
    shallow: bool = False,
    unpack: bool = False,
    revoked: frozenset[Digest] = frozenset(),
    jobs: int = 4,
    on_step: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Check everything below `root`, and with `believed` who signed it. `shallow` leaves out the blobs.

    Layers are unpacked where no signature vouches for their image, and with `unpack` all of them. `revoked` is refused beside
    what the trust says is. `on_step` hears of each step of this module's, with what it found.
    """
    result = Verification(root=root)

    def told(text: str) -> None:
        result.steps.append(text)
        on_step(text)

    once = source if isinstance(source, ReadOnce) else ReadOnce(source, quick=shallow)
    told(f"1. the digest is {root.digest}; no name is asked again")
    graph = _walked(once, root, result, jobs=jobs, referring=True)
    if shallow:
        result.unchecked.append("blobs: only manifests and signatures were read")
    told(f"2. {result.manifests} manifests were read; {_count(result, 'fault')} in their bytes, sizes and digests")
    report = _judged(once, root, believed, result, shallow=shallow, jobs=jobs)
    if shallow:
        told(f"3. every child and referrer was met; no blob was read: {_count(result, 'fault')} up to here")
    else:
        vouched = frozenset() if unpack or report is None or result.faults else report.vouched
        _read_blobs(once, list(graph.values()), vouched, result, jobs=jobs)
        told(f"3. every child and referrer was met, {result.blobs} blobs were hashed: {_count(result, 'fault')} up to here")
    _tell_signatures(told, believed, result)
    _refuse_revoked(graph, revoked | (believed.trust.revoked if believed else frozenset()), result)
    told(f"6. the time of keys and what is revoked were looked at: {_count(result, 'fault')} in all")
    return result


def verify_graph(
    source: Source, root: Descriptor, *, jobs: int = 4, shallow: bool = False, referring: bool = False
) -> Verification:
    """Check everything below `root`; with `shallow` no blobs, and so nothing of what an image's config says.

    With `referring` also the artifacts that refer to something of it, and that no release pins.
    """
    result = Verification(root=root)
    graph = _walked(source if isinstance(source, ReadOnce) else ReadOnce(source), root, result, jobs=jobs, referring=referring)
    if not shallow:
        _read_blobs(source, list(graph.values()), frozenset(), result, jobs=jobs)
    return result


def _walked(once: ReadOnce, root: Descriptor, result: Verification, *, jobs: int, referring: bool) -> dict[Digest, Placed]:
    """Every manifest from `root` down that can be read, and what refers to it. The first that leads to one names its platform."""
    once.ahead(root, jobs, referring=lambda: referring and not is_release(once.manifest(root)))
    found: dict[Digest, Placed] = {}
    subjects: dict[Digest, Digest] = {}
    seen: dict[Digest, Descriptor] = {}
    queue = [root]
    while queue:
        descriptor = queue.pop()
        if seen.setdefault(descriptor.digest, descriptor) is not descriptor:
            _compare(seen[descriptor.digest], descriptor, result)
            continue
        try:
            manifest = once.manifest(descriptor)
            children, subject = manifest.manifests, manifest.subject
            _ = manifest.blobs  # its descriptors are checked as they are read
        except NexusError as error:
            result.faults.append(f"manifest {descriptor.digest}: {error.what}")
            continue
        found[descriptor.digest] = Placed(descriptor=descriptor, manifest=manifest)
        if subject is not None:
            subjects[descriptor.digest] = subject.digest
        result.manifests += 1
        queue += children
        referring = referring and not is_release(manifest)
        if referring:
            queue += _artifacts(once, descriptor.digest, result)
    for artifact, about in subjects.items():
        if about not in found:
            result.faults.append(f"artifact {artifact} refers to {about}, which is not in it")
    return found


def _compare(one: Descriptor, other: Descriptor, result: Verification) -> None:
    """Two descriptors of one manifest have to say one size."""
    if one.size != other.size:
        result.faults.append(f"manifest {one.digest} is said to have {one.size} bytes and {other.size} bytes")


def _artifacts(source: Source, digest: Digest, result: Verification) -> list[Descriptor]:
    """The artifacts of ours that refer to a manifest."""
    try:
        return [one for one in source.referrers(digest) if source.manifest(one).artifact_type in ARTIFACT_TYPES]
    except NexusError as error:
        result.faults.append(f"what refers to {digest} cannot be read: {error.what}")
        return []


def _read_blobs(source: Source, placed: list[Placed], vouched: frozenset[Digest], result: Verification, *, jobs: int) -> None:
    images = {one.descriptor.digest for one in placed if one.config is not None}
    found = check_blobs(source, placed, unpack=images - vouched, jobs=jobs)
    result.blobs, result.size = found.count, found.size
    result.faults += found.faults
    if images & vouched:
        result.unchecked.append(
            f"the unpacked layers of {len(images & vouched)} signed images: that they fit their configs is the signer's word"
        )


def _refuse_revoked(graph: dict[Digest, Placed], revoked: frozenset[Digest], result: Verification) -> None:
    """Whatever is revoked of what was read; a manifest that is signed is named by its own report already."""
    known = {one.subject.digest for one in result.signatures.checked} if result.signatures else set()
    for digest, one in graph.items():
        if digest in revoked and digest not in known:
            result.faults.append(f"manifest {digest} is revoked")
        result.faults += [f"blob {blob.digest} of {digest} is revoked" for blob in one.manifest.blobs if blob.digest in revoked]


def _count(result: Verification, word: str) -> str:
    count = len(result.faults)
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"


def _judged(
    source: Source, root: Descriptor, believed: Believed | None, result: Verification, *, shallow: bool, jobs: int
) -> SignatureReport | None:
    """Judge what is signed, as far as anything is trusted."""
    if believed is None or not believed.trust.of_manifests:
        result.unchecked.append("signatures: no key was given")
    else:
        _judge(source, root, believed, result, shallow=shallow, jobs=jobs)
    if believed is not None:
        _judge_charts(source, root, believed, result)
    return result.signatures


def _tell_signatures(told: Callable[[str], None], believed: Believed | None, result: Verification) -> None:
    report = result.signatures
    if report is None:
        charts = f"{len(result.charts)} charts have a good provenance file; " if result.charts else ""
        told(f"4. and 5. {charts}no other signature and no statement was judged: no key was given")
    else:
        signed = sum(bool(one.signers) for one in report.checked)
        charts = f"; {len(result.charts)} charts by OpenPGP" if result.charts else ""
        told(
            f"4. {signed} of {len(report.checked)} manifests are signed by a trusted key, over the digests that were read{charts}"
        )
        said = sum(len(one.statements) for one in report.checked)
        built = sum(bool(one.builders) for one in report.checked)
        expected = f"; {built} manifests were built by who was expected" if believed and believed.trust.builders else ""
        told(f"5. {said} statements of trusted keys are of the types that they are said to be{expected}")


def _judge_charts(source: Source, root: Descriptor, believed: Believed, result: Verification) -> None:
    try:
        subjects = [one for one in subjects_of(source, root, believed.repository) if one.is_chart]
    except NexusError as error:
        result.faults.append(f"the charts could not be judged: {error.what}")
        return
    if believed.trust.certificates:
        from nexus_oci.pipeline.verify_openpgp import charts_verified

        result.charts, faults = charts_verified(source, subjects, believed.trust, believed.prefix, believed.now)
        result.faults += faults
    elif any(layer.media_type == media_types.HELM_PROVENANCE for one in subjects for layer in one.manifest.layers):
        result.unchecked.append("the chart's provenance file: no OpenPGP certificate was given")


def _judge(source: Source, root: Descriptor, believed: Believed, result: Verification, *, shallow: bool, jobs: int) -> None:
    from nexus_oci.pipeline.verify_signatures import verify_signatures

    try:
        report = verify_signatures(
            source,
            root,
            believed.trust,
            believed.locate,
            repository=believed.repository,
            prefix=believed.prefix,
            tag=believed.tag,
            now=believed.now,
            shallow=shallow,
            jobs=jobs,
        )
    except NexusError as error:
        result.faults.append(f"the signatures could not be judged: {error.what}")
        return
    result.signatures = report
    result.faults += report.faults
