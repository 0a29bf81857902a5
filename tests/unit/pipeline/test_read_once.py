"""A source that is asked each question once, also where the answer is that something is missing or damaged."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_oci.errors import NotFoundError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest
from nexus_oci.pipeline.read_once import ReadOnce
from nexus_oci.pipeline.subjects import DEEPEST, subjects_of
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust import dsse
from tests.unit.cli.conftest import release


class Counting(StoreEnd):
    """A store that counts the questions, and answers like a registry."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.asked: Counter[str] = Counter()
        self.carried: dict[Digest, Manifest] = {}
        self.closed = False

    def manifest(self, descriptor: Descriptor) -> Manifest:
        self.asked[f"manifest {descriptor.digest}"] += 1
        return super().manifest(descriptor)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        self.asked[f"referrers {digest}"] += 1
        return super().referrers(digest)

    def read(self, name: str) -> Manifest:
        self.asked[f"read {name}"] += 1
        return self.store.manifest(self.store.resolve(name))

    def embedded(self, digest: Digest) -> Manifest | None:
        return self.carried.get(digest)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def source(tmp_path: Path) -> Counting:
    store = Store.create(tmp_path)
    release(store)
    return Counting(store)


def test_a_name_its_manifest_and_all_below_are_asked_for_once(source: Counting) -> None:
    once = ReadOnce(source)
    root = once.resolve("1.0.0")
    for _ in range(2):
        once.ahead(root, 4)
        assert once.manifest(root).descriptor.digest == root.digest
        assert once.resolve("1.0.0") == root
    assert set(source.asked.values()) == {1}
    assert f"manifest {root.digest}" not in source.asked
    assert len(source.asked) == 4
    once.close()
    assert source.closed


def test_what_is_not_there_is_asked_for_once(source: Counting) -> None:
    once = ReadOnce(source)
    gone = Descriptor(media_type=media_types.MANIFEST, digest=Digest("sha256:" + "0" * 64), size=1)
    for _ in range(3):
        with pytest.raises(NotFoundError, match="is not in the store"):
            once.manifest(gone)
        with pytest.raises(NotFoundError, match="is not in the store"):
            once.resolve("gone")
    assert source.asked == {f"manifest {gone.digest}": 1, "read gone": 1}


def test_threads_that_ask_at_once_get_one_answer(source: Counting) -> None:
    """Whatever comes first is what all of them judge."""
    once = ReadOnce(source)
    root = once.resolve("1.0.0")
    child = once.manifest(root).manifests[0]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: once.manifest(child), range(64)))
    assert len({id(manifest) for manifest in found}) == 1


def test_a_bundle_that_came_embedded_counts_where_that_is_enough_and_with_its_size(source: Counting) -> None:
    root = source.store.resolve("1.0.0")
    bundle = dsse.store_bundle(source.store, b"{}", root, dsse.SIGNATURE, "x")
    source.carried[bundle.digest] = carried = source.store.manifest(bundle)
    assert ReadOnce(source, quick=True).manifest(bundle) is carried
    assert not source.asked
    assert ReadOnce(source).manifest(bundle) is not carried
    other = Descriptor(media_type=bundle.media_type, digest=bundle.digest, size=bundle.size + 1)
    with pytest.raises(VerificationError):
        ReadOnce(source, quick=True).manifest(other)


def test_what_is_signed_is_never_taken_from_elsewhere(source: Counting) -> None:
    """An index of referrers may embed artifacts too: that the registry has them has to be seen."""
    root = source.store.resolve("1.0.0")
    deb = source.store.manifest(root).manifests[1]
    source.carried[deb.digest] = carried = source.store.manifest(deb)
    assert ReadOnce(source, quick=True).manifest(deb) is not carried
    assert source.asked == {f"manifest {deb.digest}": 1}


def test_indexes_may_nest_as_deep_as_the_limit(source: Counting) -> None:
    top = source.store.resolve("1.0.0")
    for _ in range(DEEPEST - 3):
        data = {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [top.to_json()]}
        top = source.store.put_manifest(Manifest.build(data))
    ReadOnce(source).ahead(top, 2)
    top = source.store.put_manifest(Manifest.build({**data, "manifests": [top.to_json()]}))
    with pytest.raises(VerificationError, match="more than 16 deep"):
        ReadOnce(source).ahead(top, 2)
    for _ in range(3):
        top = source.store.put_manifest(Manifest.build({**data, "manifests": [top.to_json()]}))
    with pytest.raises(VerificationError, match="more than 16 deep"):
        subjects_of(source, top, "engine")
