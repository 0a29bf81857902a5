"""Verify: every digest and size of a release, recomputed; all faults are reported, not just the first.

1. The reference is resolved to a digest once. 2. Every manifest is read, and its raw bytes hashed. 3. Every blob below it is read
and hashed. 4. In an image, the config's platform is its descriptor's, and each layer's uncompressed digest is the config's
diff_id. 5. Artifacts refer to an index of the release. 6. Where keys are trusted, signatures are judged (`verify_signatures`), of
the very manifests that were read here. 7. Where OpenPGP certificates are trusted, so are the provenance files of charts
(`verify_openpgp`). Policies are not checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nexus_oci.errors import NexusError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.gzip import inflated
from nexus_oci.oci.store import VerifiedReader
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Digest, Manifest
from nexus_oci.pipeline.subjects import ARTIFACT_TYPES, is_release, subjects_of
from nexus_oci.transfer.ends import BlobStream, Source

if TYPE_CHECKING:
    from nexus_oci.pipeline.attached import Locate
    from nexus_oci.pipeline.verify_openpgp import CheckedChart
    from nexus_oci.pipeline.verify_signatures import SignatureReport
    from nexus_oci.trust.verification import Trust


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


@dataclass(frozen=True, kw_only=True)
class Believed:
    """What signatures are judged by: the keys, the moment, where signatures are found, and the names of what is signed.

    `repository` is the root's name below `prefix`, HOST/NAMESPACE, which is empty in a store.
    """

    trust: Trust
    now: datetime
    locate: Locate
    repository: str
    prefix: str = ""


def verify_release(
    source: Source,
    root: Descriptor,
    believed: Believed | None,
    *,
    shallow: bool = False,
    jobs: int = 4,
    on_step: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Check everything below `root`, and with `believed` who signed it. `shallow` leaves out the blobs.

    `on_step` hears of each step of this module's, with what it found.
    """
    once = ReadOnce(source)
    once.ahead(root, jobs)
    on_step(f"1. the digest is {root.digest}; no name is asked again")
    result = verify_graph(once, root, jobs=jobs, shallow=shallow, referring=True)
    on_step(f"2. {result.manifests} manifests were read and hashed")
    on_step(
        "3. and 4. no blob was read" if shallow else f"3. and 4. {result.blobs} blobs were read and hashed, and images compared"
    )
    on_step(f"5. artifacts and their subjects were compared: {len(result.faults)} faults up to here")
    if shallow:
        result.unchecked.append("blobs: only manifests and signatures were read")
    if believed is None or (believed.trust.certificates and not believed.trust.keys):
        result.unchecked.append("signatures: no key was given")
    else:
        _judge(once, root, believed, result, shallow=shallow, jobs=jobs)
        signed = sum(bool(one.signers) for one in result.signatures.checked) if result.signatures else 0
        on_step(f"6. {signed} manifests are signed by a trusted key: {len(result.faults)} faults in all")
    if believed is not None:
        _judge_charts(once, root, believed, result)
        on_step(f"7. {len(result.charts)} charts have a provenance file that is good: {len(result.faults)} faults in all")
    return result


def _judge_charts(source: Source, root: Descriptor, believed: Believed, result: Verification) -> None:
    from nexus_oci.pipeline.verify_openpgp import charts_verified, is_chart

    try:
        subjects = [one for one in subjects_of(source, root, believed.repository) if is_chart(one)]
    except NexusError as error:
        result.faults.append(f"the charts could not be judged: {error.what}")
        return
    if believed.trust.certificates:
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
            now=believed.now,
            shallow=shallow,
            jobs=jobs,
        )
    except NexusError as error:
        result.faults.append(f"the signatures could not be judged: {error.what}")
        return
    result.signatures = report
    result.faults += report.faults


class ReadOnce:
    """A source whose manifests are each read once: what is judged later is what was hashed before."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._manifests: dict[tuple[Digest, int], Manifest] = {}

    def ahead(self, root: Descriptor, jobs: int) -> None:
        """Read every manifest from `root` down, several at once. One that cannot be read is met again by whoever asks for it."""
        level, seen = [root], {root.digest}
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            while level:
                children = [child for found in pool.map(self._children, level) for child in found]
                level = list({child.digest: child for child in children if child.digest not in seen}.values())
                seen |= {child.digest for child in level}

    def _children(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        try:
            return self.manifest(descriptor).manifests
        except NexusError:
            return ()

    def resolve(self, name: str) -> Descriptor:
        """As the source."""
        return self._source.resolve(name)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """As the source, the first time."""
        key = descriptor.digest, descriptor.size
        if key not in self._manifests:
            self._manifests[key] = self._source.manifest(descriptor)
        return self._manifests[key]

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        """As the source."""
        return self._source.open_blob(descriptor, verify=verify)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """As the source."""
        return self._source.referrers(digest)


def verify_graph(
    source: Source, root: Descriptor, *, jobs: int = 4, shallow: bool = False, referring: bool = False
) -> Verification:
    """Check everything below `root`; with `shallow` no blobs, and so nothing of what an image's config says.

    With `referring` also the artifacts that refer to something of it, and that no release pins.
    """
    result = Verification(root=root)
    manifests: dict[Digest, Manifest] = {}
    platforms: dict[Digest, Descriptor] = {}
    subjects: dict[Digest, Digest] = {}
    queue = [root]
    while queue:
        descriptor = queue.pop()
        platforms.setdefault(descriptor.digest, descriptor)
        if descriptor.digest in manifests:
            continue
        try:
            manifest = source.manifest(descriptor)
            children, subject = manifest.manifests, manifest.subject
            _ = manifest.blobs  # its descriptors are checked as they are read
        except NexusError as error:
            result.faults.append(f"manifest {descriptor.digest}: {error.what}")
            continue
        manifests[descriptor.digest] = manifest
        if subject is not None:
            subjects[descriptor.digest] = subject.digest
        result.manifests += 1
        queue += children
        referring = referring and not is_release(manifest)
        if referring:
            queue += _artifacts(source, descriptor.digest, result)
    for artifact, about in subjects.items():
        if about not in manifests:
            result.faults.append(f"artifact {artifact} refers to {about}, which is not in it")
    if shallow:
        return result
    diff_ids = _check_blobs(source, manifests, result, jobs)
    for digest, manifest in manifests.items():
        _check_image(source, platforms[digest], manifest, diff_ids, result)
    return result


def _artifacts(source: Source, digest: Digest, result: Verification) -> list[Descriptor]:
    """The artifacts of ours that refer to a manifest."""
    try:
        return [one for one in source.referrers(digest) if source.manifest(one).artifact_type in ARTIFACT_TYPES]
    except NexusError as error:
        result.faults.append(f"what refers to {digest} cannot be read: {error.what}")
        return []


def _check_blobs(source: Source, manifests: dict[Digest, Manifest], result: Verification, jobs: int) -> dict[Digest, Digest]:
    """Read every blob once; returns blob digest → digest of what a gzip layer unpacks to."""
    blobs = {blob.digest: blob for manifest in manifests.values() for blob in manifest.blobs}
    diff_ids: dict[Digest, Digest] = {}

    def check(blob: Descriptor) -> tuple[Descriptor, Digest | None, str]:
        try:
            with _reader(source, blob) as reader:
                return blob, _read(reader, blob.media_type == media_types.LAYER_GZIP), ""
        except NexusError as error:
            return blob, None, f"blob {blob.digest}: {error}"

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for blob, diff_id, fault in pool.map(check, sorted(blobs.values(), key=lambda blob: -blob.size)):
            if fault:
                result.faults.append(fault)
                continue
            result.blobs += 1
            result.size += blob.size
            if diff_id is not None:
                diff_ids[blob.digest] = diff_id
    return diff_ids


def _reader(source: Source, blob: Descriptor) -> VerifiedReader:
    """A reader that hashes what it reads, whatever the source remembers of having verified it before."""
    return VerifiedReader(source.open_blob(blob, verify=False), blob, "it")


def _read(reader: VerifiedReader, unpack: bool) -> Digest | None:
    """Read to the verified end; with `unpack`, the digest of the uncompressed bytes. Memory stays small however they unpack."""
    digest = hashlib.sha256()
    for block in inflated(reader, "the layer") if unpack else reader:
        if unpack:
            digest.update(block)
    return Digest("sha256:" + digest.hexdigest()) if unpack else None


def _config(source: Source, config: Descriptor) -> Any:
    if config.size > MAX_MANIFEST_SIZE:
        raise VerificationError("it is too large to be a config", why=f"it has {config.size} bytes")
    with _reader(source, config) as reader:
        return json.loads(b"".join(reader))


def _check_image(
    source: Source, descriptor: Descriptor, manifest: Manifest, diff_ids: dict[Digest, Digest], result: Verification
) -> None:
    config = manifest.config
    if manifest.is_index or config is None or config.media_type != media_types.CONFIG:
        return
    try:
        document = _config(source, config)
        stated = (document.get("rootfs") or {}).get("diff_ids") or []
    except (NexusError, ValueError, AttributeError, RecursionError) as error:
        result.faults.append(f"config {config.digest}: {error}")
        return
    found = [diff_ids.get(layer.digest) for layer in manifest.layers]
    if None not in found and found != stated:
        result.faults.append(f"image {manifest.descriptor.digest}: its layers do not unpack to its config's diff_ids")
    platform = descriptor.platform
    if platform and (document.get("os"), document.get("architecture")) != (platform.os, platform.architecture):
        result.faults.append(f"image {manifest.descriptor.digest}: its config is not for {platform}")
