"""Attests a release: what is inside each image and artifact, and how all of it was made, as signed in-toto statements.

Each statement is a sigstore bundle that refers to the manifest that it is about, in a store or a registry. A statement that is
there already, word for word and by the same key, is left alone: attesting twice adds nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from nexus_oci.oci import media_types
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.describe import FORMS, Describer, Description, document
from nexus_oci.pipeline.provenance import attached_statements
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.subjects import Subject, place_of, repository_names, store_repository, subjects_of
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.crew import Crew
from nexus_oci.transfer.ends import Source
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.dsse import sign_statement, statement, store_bundle
from nexus_oci.trust.keys import Signer
from nexus_oci.trust.provenance import PREDICATE as PROVENANCE

Kind = Literal["spdx", "cyclonedx", "provenance"]
KINDS: Final[tuple[Kind, ...]] = (*FORMS, "provenance")
_NO_TIME: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to attest, and by whom. `provenance` is the predicate; it is needed where `kinds` has it."""

    signer: Signer
    kinds: Sequence[Kind] = KINDS
    provenance: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Attested:
    """What attesting did: the root, how many manifests and statements there are, and how many statements are new."""

    root: Descriptor
    manifests: int
    statements: int
    added: int


@dataclass(frozen=True, kw_only=True)
class _Statement:
    """A statement ready to be signed: the manifest that it refers to, its type, and its bytes."""

    subject: Subject
    predicate_type: str
    body: bytes


def attest_store(store: Store, root: Descriptor, request: Request, on_subject: Callable[[Description], None]) -> Attested:
    """Attest everything of a release, or image, in a store. `on_subject` is told of each thing that was described."""
    end = StoreEnd(store)
    subjects = subjects_of(end, root, store_repository(store.tags(), root))
    created = _created(subjects)
    bundles: list[Descriptor] = []
    count = 0
    for statements in _statements(end, subjects, request, on_subject):
        count += len(statements)
        bundles += [
            _bundle(store, item, request.signer, created) for item in statements if not _is_said(end, item, request.signer)
        ]
    if bundles:
        store.replace_tags({}, bundles, keep_untagged=True)
    return Attested(root=root, manifests=len(subjects), statements=count, added=len(bundles))


def attest_in_registry(
    reference: Reference, access: Access, request: Request, on_subject: Callable[[Description], None], *, jobs: int = 8
) -> Attested:
    """Attest everything of a release, or image, in a registry: in its repository, and wherever a release's friendly names are."""
    client = access.client(reference.host)
    from nexus_oci.registry.end import RegistryEnd

    home = RegistryEnd(client, reference.repository)
    root = home.resolve(reference.target)
    prefix, repository = place_of(reference, home.manifest(root))
    subjects = subjects_of(home, root, repository)
    created = _created(subjects)
    crew = Crew(jobs)
    count = added = 0
    with tempfile.TemporaryDirectory(prefix="nexus-oci-attest-") as folder:
        store = Store.create(Path(folder) / "oci")
        source = StoreEnd(store)

        def publish(work: tuple[Sequence[_Statement], str]) -> int:
            statements, place = work
            subject = statements[0].subject
            end = RegistryEnd(client, Reference.parse(place).repository)
            if end.repository != home.repository and not end.has(subject.manifest.descriptor):
                return 0
            lacking = [item for item in statements if not _is_said(end, item, request.signer)]
            for item in lacking:
                copy_graph(source, end, _bundle(store, item, request.signer, created), jobs=1)
            return len(lacking)

        for several in _in_groups(_statements(home, subjects, request, on_subject), jobs):
            count += sum(map(len, several))
            added += sum(
                crew.map(
                    publish,
                    [
                        (statements, place)
                        for statements in several
                        for place in dict.fromkeys((f"{prefix}/{repository}", *repository_names(prefix, statements[0].subject)))
                    ],
                )
            )
    client.close()
    return Attested(root=root, manifests=len(subjects), statements=count, added=added)


def _in_groups(found: Iterator[list[_Statement]], size: int) -> Iterator[list[list[_Statement]]]:
    """What is found, some at a time, so that not all of a release's documents are in memory at once."""
    while several := list(islice(found, size)):
        yield several


def _is_said(source: Source, item: _Statement, signer: Signer) -> bool:
    """Whether the signer has attached that very statement already."""
    known = attached_statements(source, item.subject.digest, item.predicate_type)
    return any(bundle.payload == item.body and bundle.verified_by(signer.public) for bundle, _ in known)


def _bundle(store: Store, item: _Statement, signer: Signer, created: str) -> Descriptor:
    return store_bundle(store, sign_statement(signer, item.body), item.subject.manifest.descriptor, item.predicate_type, created)


def _statements(
    source: Source, subjects: Sequence[Subject], request: Request, on_subject: Callable[[Description], None]
) -> Iterator[list[_Statement]]:
    """For each subject that there is anything to say about, all that is said about it."""
    describer = Describer(source=source, subjects=subjects)
    forms = [form for form in FORMS if form in request.kinds]
    for subject in subjects:
        said: dict[str, Mapping[str, Any]] = {}
        found = describer.describe(subject) if forms else None
        if found is not None:
            on_subject(found)
            documents = [document(found.catalogue, form) for form in forms]
            said = {made.predicate_type: made.content for made in documents}
        if "provenance" in request.kinds and request.provenance is not None:
            said[PROVENANCE] = request.provenance
        about = found.about if found is not None else (subject.digest,)
        if said:
            yield [
                _Statement(subject=subject, predicate_type=kind, body=statement(about, kind, predicate))
                for kind, predicate in said.items()
            ]


def _created(subjects: Sequence[Subject]) -> str:
    """When the release was made, as its index says: the same each time, unlike the time of day."""
    return subjects[0].manifest.annotations.get(media_types.CREATED, _NO_TIME)
