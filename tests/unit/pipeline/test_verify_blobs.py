"""Blobs are read once; layers are unpacked where nobody vouches for their image, or where that is asked for."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Digest, Manifest, canonical_json, digest_of
from nexus_oci.pipeline.attached import in_store
from nexus_oci.pipeline.signing_release import sign_store
from nexus_oci.pipeline.verify import Believed, Verification, verify_release
from nexus_oci.release.assemble import Named, store_index, store_release
from nexus_oci.release.image import ImageLayer, store_image
from nexus_oci.transfer.ends import BlobStream
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.keys import generate
from nexus_oci.trust.verification import Trust, TrustedKey
from tests.unit.cli.conftest import AMD64

KEY = generate()


class Counting(StoreEnd):
    """A store that counts how often each blob is opened."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.opened: Counter[Digest] = Counter()

    def open_blob(self, descriptor: Descriptor, *, verify: bool = True) -> BlobStream:
        self.opened[descriptor.digest] += 1
        return super().open_blob(descriptor, verify=verify)


def made(store: Store, *diff_ids: Digest) -> Descriptor:
    """A release of one image, whose config says these diff_ids of its one layer."""
    packer = zlib.compressobj(wbits=31)
    layer = store.put(packer.compress(bytes(1024)) + packer.flush(), media_types.LAYER_GZIP)
    layers = [ImageLayer(descriptor=layer, diff_id=diff_id, created_by="x") for diff_id in diff_ids]
    image = store_image(store, platform=AMD64, config={}, layers=layers, labels={}, epoch=1)
    named = Named(descriptor=store_index(store, [image], {}), repository="engine", tag="1")
    root = store_release(store, images=[named], artifacts=[], charts=[], annotations={})
    store.replace_tags({"1": root, "engine:1": named.descriptor})
    return root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "oci")


def verified(source: StoreEnd, root: Descriptor, *, key: bool, unpack: bool = False) -> Verification:
    trust = Trust(keys=(TrustedKey(key=KEY.public, name="k"),))
    believed = Believed(trust=trust, now=datetime.now(UTC), locate=in_store(source.store), repository="releases")
    return verify_release(source, root, believed if key else None, unpack=unpack)


@pytest.mark.parametrize("key", [True, False])
def test_every_blob_is_opened_once(store: Store, key: bool) -> None:
    root = made(store, digest_of(bytes(1024)))
    sign_store(store, root, KEY)
    source = Counting(store)
    assert verified(source, root, key=key).faults == []
    assert set(source.opened.values()) == {1}


def test_layers_that_do_not_fit_their_config_are_found_where_nobody_vouches_for_them(store: Store) -> None:
    root = made(store, digest_of(b"other"))
    sign_store(store, root, KEY)
    source = StoreEnd(store)
    assert any("do not unpack to its config's diff_ids" in fault for fault in verified(source, root, key=False).faults)
    assert any("do not unpack" in fault for fault in verified(source, root, key=True, unpack=True).faults)
    found = verified(source, root, key=True)
    assert found.faults == []
    assert "the unpacked layers of 1 signed images: that they fit their configs is the signer's word" in found.unchecked


def test_a_signature_that_does_not_count_vouches_for_nothing(store: Store) -> None:
    root = made(store, digest_of(b"other"))
    sign_store(store, root, generate())
    faults = verified(StoreEnd(store), root, key=True).faults
    assert any("is not signed by a key that is trusted" in fault for fault in faults)
    assert any("do not unpack to its config's diff_ids" in fault for fault in faults)


def test_a_layer_that_appears_twice_is_unpacked_once_and_counts_twice(store: Store) -> None:
    diff_id = digest_of(bytes(1024))
    source = Counting(store)
    assert verified(source, made(store, diff_id, diff_id), key=False).faults == []
    assert set(source.opened.values()) == {1}


def test_a_config_may_say_anything_and_is_a_fault_where_it_is_none(store: Store) -> None:
    root = made(store, digest_of(bytes(1024)))
    image = store.manifest(store.manifest(root).manifests[0]).manifests[0]
    manifest = json.loads(store.manifest(image).raw)
    for document in ([], 5, None, {"rootfs": []}, {"rootfs": {"diff_ids": 7}}, {"rootfs": {"diff_ids": [1]}}, {"os": ["x"]}):
        config = store.put(canonical_json(document), media_types.CONFIG)
        changed = store.put_manifest(Manifest.build({**manifest, "config": config.to_json()}))
        found = verified(StoreEnd(store), changed, key=False)
        assert len(found.faults) == 1, (document, found.faults)
