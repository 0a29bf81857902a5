"""Signs a release: every manifest of it, in a store or in a registry, and the list of the files beside the store.

Each manifest gets both forms: the image under the tag `sha256-<hex>.sig` that podman, skopeo and older cosigns read, and the
sigstore bundle that refers to it. What is there already, by the same key and over the same bytes, is left alone: signing twice
adds nothing. Signatures by others stay.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus_oci.errors import StoreError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.attached import Attached, in_registry, in_store, read_attached
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.subjects import RELEASES, Subject, place_of, repository_names, signed_names, store_repository, subjects_of
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import Sink
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.cosign import decoded, payload_for, sign_file, sign_payload, signature_tag, store_signatures, verifies
from nexus_oci.trust.dsse import SIGNATURE, sign_statement, statement, store_bundle
from nexus_oci.trust.keys import Signer

SUMS = "SHA256SUMS"
SUMS_SIGNATURE = f"{SUMS}.sig"
"""The detached signature of the list of files, beside it."""
NO_PREFIX = (
    "no registry is known, so the signatures name repositories alone: podman and skopeo check that name. "
    "--identity HOST/NAMESPACE says where the release will be."
)
"""What a user should hear where a store is signed without a prefix."""
_NO_TIME = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What signing did: the root, how many manifests it covers, and how many signatures were added to those that were there."""

    root: Descriptor
    manifests: int
    added: int
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Fresh:
    """What a subject lacked: the image of all its signatures, and a bundle."""

    image: Descriptor | None
    bundle: Descriptor | None

    @property
    def added(self) -> int:
        return (self.image is not None) + (self.bundle is not None)


def sign_store(store: Store, root: Descriptor, signer: Signer, *, prefix: str = "") -> Signed:
    """Sign everything of a release, or image, in a store, and `SHA256SUMS` beside the store if it is there.

    `prefix` is the HOST/NAMESPACE that the signatures name; without one they name repositories alone.
    """
    end = StoreEnd(store)
    locate = in_store(store)
    repository = store_repository(store.tags(), root)
    subjects = subjects_of(end, root, repository)
    created = _created(subjects)
    names: dict[str, Descriptor] = {}
    bundles: list[Descriptor] = []
    added = 0
    for subject in subjects:
        attached = read_attached(end, locate, subject.digest, only_signatures=True)
        fresh = _freshly(store, subject, attached, signer, signed_names(prefix, subject), created)
        added += fresh.added
        if fresh.image is not None:
            tag = signature_tag(subject.digest)
            names |= {tag if name == RELEASES else f"{name}:{tag}": fresh.image for name in subject.repositories}
        if fresh.bundle is not None:
            bundles.append(fresh.bundle)
    if added:
        store.replace_tags(names, bundles, keep_untagged=True)
    return Signed(root=root, manifests=len(subjects), added=added, files=_sign_sums(store.root.parent, signer))


def sign_in_registry(reference: Reference, access: Access, signer: Signer, *, jobs: int = 8) -> Signed:
    """Sign everything of a release, or image, in a registry: in its repository, and wherever a release's friendly names are.

    The reference is resolved to a digest once; what is signed is what that digest names.
    """
    client = access.client(reference.host)
    from nexus_oci.registry.end import RegistryEnd

    home = RegistryEnd(client, reference.repository)
    root = home.resolve(reference.target)
    prefix, repository = place_of(reference, home.manifest(root))
    subjects = subjects_of(home, root, repository, reference.tag if reference.digest is None else None)
    created = _created(subjects)
    with _scratch() as store:
        source = StoreEnd(store)

        def sign(subject: Subject) -> int:
            names = repository_names(prefix, subject)
            added = 0
            for place in dict.fromkeys((f"{prefix}/{repository}", *names)):
                end = RegistryEnd(client, Reference.parse(place).repository)
                if end.repository == home.repository or end.has(subject.manifest.descriptor):
                    fresh = _freshly(
                        store,
                        subject,
                        read_attached(end, in_registry(end), subject.digest, only_signatures=True),
                        signer,
                        signed_names(prefix, subject),
                        created,
                    )
                    _publish(source, end, subject, fresh)
                    added += fresh.added
            return added

        added = sum(Crew(jobs).map(sign, subjects))
    client.close()
    return Signed(root=root, manifests=len(subjects), added=added)


def _publish(source: StoreEnd, end: Sink, subject: Subject, fresh: _Fresh) -> None:
    if fresh.bundle is not None:
        copy_graph(source, end, fresh.bundle, jobs=1)
    if fresh.image is not None:
        copy_graph(source, end, fresh.image, tags=[signature_tag(subject.digest)], jobs=1)


def _freshly(
    store: Store, subject: Subject, attached: Attached, signer: Signer, references: Sequence[str], created: str
) -> _Fresh:
    """Sign what the signer has not signed yet. Signatures that could not be read are not kept."""
    key = signer.public
    wanted = [payload_for(subject.digest, reference) for reference in references]
    held = {signature.payload for signature in attached.simple if signature.payload in wanted and verifies(signature, key)}
    lacking = [payload for payload in wanted if payload not in held]
    image = None
    if lacking:
        image = store_signatures(store, [*attached.simple, *(sign_payload(signer, payload) for payload in lacking)])
    bundle = None
    if not any(one.verified_by(key) and one.signs(subject.digest) for one in attached.bundles):
        body = statement([subject.digest], SIGNATURE, {})
        bundle = store_bundle(store, sign_statement(signer, body), subject.manifest.descriptor, SIGNATURE, created)
    return _Fresh(image=image, bundle=bundle)


def _created(subjects: Sequence[Subject]) -> str:
    """When the release was made, as its index says: the same each time, unlike the time of day."""
    return subjects[0].manifest.annotations.get(media_types.CREATED, _NO_TIME)


@contextlib.contextmanager
def _scratch() -> Iterator[Store]:
    """A store for what is on its way to a registry."""
    with tempfile.TemporaryDirectory(prefix="nexus-oci-sign-") as folder:
        yield Store.create(Path(folder) / "oci")


def _sign_sums(folder: Path, signer: Signer) -> tuple[Path, ...]:
    """Write the signature of the list of files beside it; nothing where there is no list, or where the signature is right."""
    target = folder / SUMS_SIGNATURE
    try:
        data = (folder / SUMS).read_bytes()
    except FileNotFoundError:
        return ()
    with contextlib.suppress(OSError, VerificationError):
        if signer.public.verify(decoded(target.read_bytes(), "the signature"), data):
            return (target,)
    text = sign_file(signer, data)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        Path(file.name).replace(target)
    except OSError as error:
        raise StoreError(f"cannot write {target}", why=error.strerror or str(error)) from error
    return (target,)
