"""Signs a release: every manifest of it, in a store or in a registry, and the list of the files beside the store.

By a key each manifest gets both forms: the image under the tag `sha256-<hex>.sig` that podman, skopeo and older cosigns read, and
the sigstore bundle that refers to it; other signatories have forms of their own (`signatories`). What is there already,
by the same signatory and of the same manifest, is left alone: signing twice adds nothing. Signatures by others stay.
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
from nexus_oci.pipeline.signatories import Fresh, KeySignatory, Signatory
from nexus_oci.pipeline.subjects import RELEASES, Subject, place_of, repository_names, signed_names, store_repository, subjects_of
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import Sink
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.cosign import decoded, sign_file, signature_tag
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


def sign_store(
    store: Store, root: Descriptor, signer: Signer | None, *, prefix: str = "", others: Sequence[Signatory] = ()
) -> Signed:
    """Sign everything of a release, or image, in a store, and with a key `SHA256SUMS` beside the store if it is there.

    `prefix` is the HOST/NAMESPACE that the signatures name; without one they name repositories alone. `others` sign the
    manifests too, in forms of their own.
    """
    signatories = _signatories(signer, others)
    end = StoreEnd(store)
    locate = in_store(store)
    repository = store_repository(store.tags(), root)
    subjects = subjects_of(end, root, repository)
    created = _created(subjects)
    names: dict[str, Descriptor] = {}
    referrers: list[Descriptor] = []
    added = 0
    for subject in subjects:
        attached = read_attached(end, locate, subject.digest, only_signatures=True)
        fresh = _freshly(store, subject, attached, signatories, signed_names(prefix, subject), created)
        added += fresh.added
        if fresh.image is not None:
            tag = signature_tag(subject.digest)
            names |= {tag if name == RELEASES else f"{name}:{tag}": fresh.image for name in subject.repositories}
        referrers += fresh.referrers
    if added:
        store.replace_tags(names, referrers, keep_untagged=True)
    files = _sign_sums(store.root.parent, signer) if signer is not None else ()
    return Signed(root=root, manifests=len(subjects), added=added, files=files)


def sign_in_registry(
    reference: Reference, access: Access, signer: Signer | None, *, others: Sequence[Signatory] = (), jobs: int = 8
) -> Signed:
    """Sign everything of a release, or image, in a registry: in its repository, and wherever a release's friendly names are.

    The reference is resolved to a digest once; what is signed is what that digest names. `others` are as in `sign_store`.
    """
    signatories = _signatories(signer, others)
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
                        signatories,
                        signed_names(prefix, subject),
                        created,
                    )
                    _publish(source, end, subject, fresh)
                    added += fresh.added
            return added

        added = sum(Crew(jobs).map(sign, subjects))
    client.close()
    return Signed(root=root, manifests=len(subjects), added=added)


def _signatories(signer: Signer | None, others: Sequence[Signatory]) -> tuple[Signatory, ...]:
    return (*([KeySignatory(signer=signer)] if signer is not None else []), *others)


def _publish(source: StoreEnd, end: Sink, subject: Subject, fresh: Fresh) -> None:
    for referrer in fresh.referrers:
        copy_graph(source, end, referrer, jobs=1)
    if fresh.image is not None:
        copy_graph(source, end, fresh.image, tags=[signature_tag(subject.digest)], jobs=1)


def _freshly(
    store: Store, subject: Subject, attached: Attached, signatories: Sequence[Signatory], names: Sequence[str], created: str
) -> Fresh:
    """What each has not signed yet, signed."""
    found = Fresh()
    for one in signatories:
        found += one.sign(store, subject, attached, names, created)
    return found


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
