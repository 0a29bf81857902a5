"""Signing a store: every manifest, in both forms, once; and what a rebuild keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest
from nexus_oci.pipeline.attached import Attached, in_store, read_attached, signature_names, surviving
from nexus_oci.pipeline.signing_release import SUMS, SUMS_SIGNATURE, sign_store
from nexus_oci.pipeline.subjects import Subject, subjects_of
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.cosign import decoded, read_payload, signature_tag
from nexus_oci.trust.keys import generate
from tests.unit.cli.conftest import release

KEY, OTHER = generate(), generate()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "dist" / "oci")


@pytest.fixture
def root(store: Store) -> Descriptor:
    return release(store)


def subjects(store: Store, root: Descriptor) -> tuple[Subject, ...]:
    return subjects_of(StoreEnd(store), root, "releases")


def attached(store: Store, subject: Subject) -> Attached:
    return read_attached(StoreEnd(store), in_store(store), subject.digest)


def index(store: Store) -> bytes:
    return (store.root / "index.json").read_bytes()


def test_every_manifest_is_signed_in_both_forms(store: Store, root: Descriptor) -> None:
    signed = sign_store(store, root, KEY, prefix="registry.example/team")
    assert (signed.manifests, signed.added) == (4, 8)
    found = {subject.kind: subject for subject in subjects(store, root)}
    assert {kind: subject.repositories for kind, subject in found.items()} == {
        "release": ("releases",), "index": ("engine",), "image": ("engine",), "deb": ("engine",),
    }  # fmt: skip
    for subject in found.values():
        here = attached(store, subject)
        claims = [read_payload(one.payload) for one in here.simple]
        assert {claim.digest for claim in claims} == {subject.digest}
        place = f"registry.example/team/{subject.repositories[0]}"
        names = [place, f"{place}:1.0.0"] if subject.kind in ("index", "image") else [place]
        assert [claim.reference for claim in claims] == names
        (bundle,) = here.bundles
        assert bundle.signs(subject.digest)
        assert bundle.verified_by(KEY.public)


def test_the_names_of_signatures_are_those_that_push_gives_them(store: Store, root: Descriptor) -> None:
    sign_store(store, root, KEY)
    names = {name for name in store.tags() if name.endswith(".sig")}
    children = [subject.digest for subject in subjects(store, root)][1:]
    assert names == {signature_tag(root.digest), *(f"engine:{signature_tag(digest)}" for digest in children)}


def test_signing_twice_adds_nothing(store: Store, root: Descriptor) -> None:
    sign_store(store, root, KEY)
    before, blobs = index(store), sorted((store.root / "blobs" / "sha256").iterdir())
    assert sign_store(store, root, KEY).added == 0
    assert (index(store), sorted((store.root / "blobs" / "sha256").iterdir())) == (before, blobs)


def test_the_same_release_signed_elsewhere_has_the_same_signatures(tmp_path: Path, store: Store, root: Descriptor) -> None:
    twin = Store.create(tmp_path / "twin" / "oci")
    sign_store(twin, release(twin), KEY)
    sign_store(store, root, KEY)
    assert index(twin) == index(store)


def test_another_signer_comes_beside_the_first(store: Store, root: Descriptor) -> None:
    sign_store(store, root, KEY)
    assert sign_store(store, root, OTHER).added == 8
    for subject in subjects(store, root):
        here = attached(store, subject)
        names = len(subject.repositories) + len(subject.tagged)
        assert (len(here.simple), len(here.bundles)) == (2 * names, 2)


def test_a_damaged_signature_is_made_again(store: Store, root: Descriptor) -> None:
    sign_store(store, root, KEY)
    (image,) = in_store(store)(root.digest)
    payload = store.manifest(image).layers[0]
    store.path(payload.digest).write_bytes(b"x" * payload.size)
    assert attached(store, subjects(store, root)[0]).faults
    assert sign_store(store, root, KEY).added == 1
    assert not attached(store, subjects(store, root)[0]).faults


def test_the_list_of_files_is_signed_beside_the_store(store: Store, root: Descriptor) -> None:
    folder = store.root.parent
    (folder / SUMS).write_bytes(b"sums\n")
    (path,) = sign_store(store, root, KEY).files
    assert path == folder / SUMS_SIGNATURE
    assert KEY.public.verify(decoded(path.read_bytes(), "it"), b"sums\n")
    before = path.stat()
    sign_store(store, root, KEY)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def rebuilt(store: Store, version: str) -> Descriptor:
    """A release written over what the store has, as a build does it."""
    twin = Store.create(store.root.parent / "new")
    root = release(twin, version)
    for blob in (twin.root / "blobs" / "sha256").iterdir():
        store.put(blob.read_bytes(), "x")
    names = dict(twin.tags())
    artifacts = [entry for entry in twin.entries() if media_types.REF_NAME not in entry.annotations]
    kept, gone = surviving(store, names, artifacts)
    store.replace_tags(names, (*artifacts, *kept), without=gone)
    return root


def test_a_rebuild_of_the_same_keeps_every_signature(store: Store, root: Descriptor) -> None:
    sign_store(store, root, KEY)
    before = index(store)
    assert rebuilt(store, "1.0.0") == root
    assert index(store) == before


def test_another_version_beside_the_first_keeps_the_signatures_of_both(store: Store, root: Descriptor) -> None:
    sign_store(store, root, KEY)
    sign_store(store, rebuilt(store, "1.1.0"), KEY)
    assert sign_store(store, root, KEY).added == 0
    assert len(signature_names(store)) == 8


def test_signatures_go_with_what_they_signed(store: Store, root: Descriptor) -> None:
    sign_store(store, root, KEY)
    changed = Manifest.build({**store.manifest(root).data, "annotations": {"changed": "yes"}})
    names = {"1.0.0": store.put_manifest(changed)}
    artifacts = [entry for entry in store.entries() if entry.artifact_type == media_types.ARTIFACTS["deb"][0]]
    kept, gone = surviving(store, names, artifacts)
    assert gone == [signature_tag(root.digest)]
    about = [subject.digest for entry in kept if (subject := store.manifest(entry).subject)]
    assert (len(about), root.digest in about) == (3, False)
