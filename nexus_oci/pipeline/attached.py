"""The signatures attached to a manifest, in a store or a registry, as they were found: nothing of them is believed yet.

Whoever may write to the place may attach what he likes: how much of it is read has limits, and what is beyond them is a fault.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from nexus_oci.errors import NexusError, NotFoundError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.embedded import embedded
from nexus_oci.oci.hashing import hashed
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import MAX_MANIFEST_SIZE, Descriptor, Digest, Manifest
from nexus_oci.pipeline.subjects import ARTIFACT_TYPES
from nexus_oci.transfer.ends import Source
from nexus_oci.trust.cosign import SimpleSignature, signature_layers, signature_tag, signed_by_tag
from nexus_oci.trust.dsse import BUNDLE, PREDICATE, SIGNATURE, Bundle, read_bundle

if TYPE_CHECKING:
    from nexus_oci.trust.keyless import CertifiedBundle

_LARGEST_BUNDLE = 64 << 20
"""Bytes. A bundle may hold an SBOM that lists every file."""
_LARGEST_PAYLOAD = 64 << 10
_LARGEST_ENVELOPE = 1 << 20
_TOO_MANY = "let the registry's administrator remove what does not belong there"
MOST_SIGNATURES = 256
"""Signatures under one tag that are read. With more, none is: keys are few, and each payload is a question."""
MOST_REFERRERS = 1024
"""Manifests that may refer to one manifest. With more, none is read."""
Locate = Callable[[Digest], Sequence[Descriptor]]
"""Finds the images of signatures that stand under a manifest's `.sig` tags."""


@dataclass(kw_only=True)
class Attached:
    """Signatures as they were read; `faults` are those that could not be, `others` what is of a kind that is not judged here.

    `labels` are what the carriers of the bundles, in their order, say of the type of what is in them. `envelopes` are Notation's
    signatures, and `certified` are bundles with a certificate.
    """

    simple: list[SimpleSignature] = field(default_factory=list)
    bundles: list[Bundle] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    envelopes: list[bytes] = field(default_factory=list)
    certified: list[CertifiedBundle] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def read_attached(
    source: Source,
    locate: Locate,
    digest: Digest,
    *,
    only_signatures: bool = False,
    also: Container[str] = (),
    payloads: Mapping[Digest, bytes] = MappingProxyType({}),
) -> Attached:
    """Every signature attached to a manifest, under a tag or by reference. What cannot be read becomes a fault.

    With `only_signatures` bundles are left alone that are said to hold something else, such as an SBOM, but for the types in
    `also`; and what came embedded in what was read before is taken from there. `payloads` are payloads by their digests that
    need not be read to be known.
    """
    found = Attached()
    try:
        for descriptor in locate(digest):
            found.simple += [one for one in read_signatures(source, descriptor, payloads) if one not in found.simple]
    except NexusError as error:
        found.faults.append(f"the signatures of {digest} (tag) cannot be read: {_said(error)}")
    try:
        if only_signatures:
            _read_referrers(source, digest, found, lambda kind: kind == SIGNATURE or kind in also, quick=True)
        else:
            _read_referrers(source, digest, found, lambda _: True, quick=False)
    except NexusError as error:
        found.faults.append(f"the signatures of {digest} (referrers) cannot be read: {_said(error)}")
    return found


def read_signatures(
    source: Source, image: Descriptor, payloads: Mapping[Digest, bytes] = MappingProxyType({})
) -> list[SimpleSignature]:
    """The signatures in an image under a `.sig` tag; raises `VerificationError` where one is damaged, or there are too many.

    A payload that several keys signed is read once, and one in `payloads` not at all.
    """
    layers = signature_layers(source.manifest(image))
    if len(layers) > MOST_SIGNATURES:
        raise VerificationError(
            f"{image.digest} has {len(layers)} signatures", why=f"at most {MOST_SIGNATURES} are read", hint=_TOO_MANY
        )
    known = dict(payloads)
    for layer, _ in layers:
        if len(known.get(layer.digest, b"")) != layer.size:
            known[layer.digest] = read_blob(source, layer, limit=_LARGEST_PAYLOAD)
    return [SimpleSignature(payload=known[layer.digest], signature=signature) for layer, signature in layers]


def _read_referrers(source: Source, digest: Digest, found: Attached, wanted: Callable[[str], bool], *, quick: bool) -> None:
    listed = source.referrers(digest)
    if len(listed) > MOST_REFERRERS:
        raise VerificationError(
            f"{len(listed)} manifests refer to {digest}", why=f"at most {MOST_REFERRERS} are read", hint=_TOO_MANY
        )
    for descriptor in listed:
        label = descriptor.annotations.get(PREDICATE)
        if descriptor.artifact_type == BUNDLE and label and not wanted(label):
            found.others.append(f"a bundle of type {label} was not read")
            continue
        manifest = source.manifest(descriptor)
        label = manifest.annotations.get(PREDICATE)
        if manifest.subject is None or manifest.subject.digest != digest:
            found.others.append(f"{descriptor.digest} is listed among what refers to {digest}, and does not")
        elif manifest.artifact_type == BUNDLE and not wanted(label or SIGNATURE):
            found.others.append(f"a bundle of type {label} was not read")
        elif manifest.artifact_type == BUNDLE:
            _read_bundle(source, manifest, label, found, quick=quick)
        elif manifest.artifact_type == media_types.NOTATION:
            _read_envelope(source, manifest, found)
        elif manifest.artifact_type not in ARTIFACT_TYPES:
            found.others.append(f"{descriptor.digest}, which refers to {digest}, is of type {manifest.artifact_type}")


def _read_bundle(source: Source, manifest: Manifest, label: str | None, found: Attached, *, quick: bool) -> None:
    name = f"the bundle {manifest.descriptor.digest}"
    try:
        if len(manifest.layers) != 1:
            raise VerificationError(f"it has {len(manifest.layers)} layers")
        early = embedded(manifest.data["layers"][0]) if quick else None
        data = early or read_blob(source, manifest.layers[0], limit=_LARGEST_BUNDLE)
        bundle = read_bundle(data)
        certified = _read_certified(data) if bundle is None else None
    except NexusError as error:
        found.faults.append(f"{name} cannot be read: {error.what}")
        return
    if certified is not None:
        found.certified.append(certified)
    elif bundle is not None:
        found.bundles.append(bundle)
        found.labels.append(label)


def _read_certified(data: bytes) -> CertifiedBundle | None:
    from nexus_oci.trust.keyless import read_certified

    return read_certified(data)


def _read_envelope(source: Source, manifest: Manifest, found: Attached) -> None:
    name = f"the signature {manifest.descriptor.digest}, of Notation,"
    from nexus_oci.trust.notation import ENVELOPE

    kinds = [layer.media_type for layer in manifest.layers]
    if kinds != [ENVELOPE]:
        found.others.append(f"{name} is in another envelope than JWS: {', '.join(kinds)[:100] or 'none'}")
        return
    try:
        found.envelopes.append(read_blob(source, manifest.layers[0], limit=_LARGEST_ENVELOPE))
    except NexusError as error:
        found.faults.append(f"{name} cannot be read: {error.what}")


def _said(error: NexusError) -> str:
    return f"{error.what} ({error.why})" if error.why else error.what


def read_blob(source: Source, blob: Descriptor, *, limit: int = MAX_MANIFEST_SIZE) -> bytes:
    """A blob of up to `limit` bytes, hashed while it is read, whatever the source remembers; raises `VerificationError`."""
    if blob.size > limit:
        raise VerificationError(f"blob {blob.digest} is too large for a signature", why=f"it has {blob.size} bytes")
    try:
        with contextlib.closing(source.open_blob(blob, verify=False)) as stream:
            return b"".join(bytes(block) for block in hashed(stream, blob))
    except VerificationError as error:
        raise VerificationError(f"blob {blob.digest}: {error.what}", why=error.why) from None


def in_registry(source: Source) -> Locate:
    """Looks in one repository of a registry."""

    def locate(digest: Digest) -> Sequence[Descriptor]:
        with contextlib.suppress(NotFoundError):
            return [source.resolve(signature_tag(digest))]
        return []

    return locate


def in_store(store: Store) -> Locate:
    """Looks at every name of a store, as it is now."""
    found: defaultdict[Digest, dict[Digest, Descriptor]] = defaultdict(dict)
    for name, entry in store.tags().items():
        digest = signed_by_tag(name.rpartition(":")[2])
        if digest is not None:
            found[digest][entry.digest] = entry
    return lambda digest: list(found[digest].values()) if digest in found else []


def signature_names(store: Store) -> dict[str, Digest]:
    """Every name in a store under which signatures stand, and the manifest that they are of."""
    names = ((name, signed_by_tag(name.rpartition(":")[2])) for name in store.tags())
    return {name: digest for name, digest in names if digest is not None}


def surviving(
    store: Store, names: Mapping[str, Descriptor], artifacts: Iterable[Descriptor]
) -> tuple[list[Descriptor], list[str]]:
    """What stays of signatures when a store gets new names: the entries to keep without a name, and the names to take away.

    `artifacts` are the entries without a name that come with the new ones. A signature stays while a name leads to its subject.
    """
    signatures = signature_names(store)
    named = [entry for name, entry in {**store.tags(), **names}.items() if name not in signatures]
    reachable: set[Digest] = set()
    _reach(store, [*named, *artifacts], reachable)
    loose = {
        entry.digest: (entry, about)
        for entry in store.entries()
        if entry.is_manifest and (about := _about(store, entry)) is not None
    }
    kept: dict[Digest, Descriptor] = {}
    while fresh := [entry for entry, about in loose.values() if about in reachable and entry.digest not in kept]:
        kept |= {entry.digest: entry for entry in fresh}
        _reach(store, fresh, reachable)
    return list(kept.values()), [name for name, digest in signatures.items() if digest not in reachable]


def _about(store: Store, entry: Descriptor) -> Digest | None:
    """The subject of an entry that has no name and is none of a build's own artifacts."""
    if media_types.REF_NAME in entry.annotations or entry.artifact_type in ARTIFACT_TYPES:
        return None
    try:
        subject = store.manifest(entry).subject
    except NexusError:
        return None
    return subject.digest if subject else None


def _reach(store: Store, roots: Iterable[Descriptor], reachable: set[Digest]) -> None:
    pending = list(roots)
    while pending:
        descriptor = pending.pop()
        if descriptor.digest in reachable:
            continue
        reachable.add(descriptor.digest)
        if descriptor.is_index:
            with contextlib.suppress(NexusError):
                pending += store.manifest(descriptor).manifests
