"""Verification reads everything, tells every fault at once, and trusts nothing that it reads."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, Platform, canonical_json, digest_of
from nexus_oci.pipeline.verify import verify_graph
from nexus_oci.transfer.store_end import StoreEnd

AMD64 = Platform.parse("linux/amd64")
TAR = bytes(10240)


def packed(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "oci")


@pytest.fixture
def image(store: Store) -> Callable[..., Descriptor]:
    """Writes an index with one image; its parts can be replaced."""

    def make(config: Any = None, layer: bytes | None = None, **manifest: Any) -> Descriptor:
        default = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [digest_of(TAR)]}}
        blob = store.put(canonical_json(default if config is None else config), media_types.CONFIG)
        body = store.put(packed(TAR) if layer is None else layer, media_types.LAYER_GZIP)
        data = {"schemaVersion": 2, "mediaType": media_types.MANIFEST, "config": blob.to_json(), "layers": [body.to_json()]}
        found = store.put_manifest(Manifest.build(data | manifest))
        child = found.to_json() | {"platform": AMD64.to_json()}
        return store.put_manifest(Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [child]}))

    return make


def faults(store: Store, root: Descriptor) -> list[str]:
    return verify_graph(StoreEnd(store), root).faults


def test_a_whole_image_has_no_fault(store: Store, image: Callable[..., Descriptor]) -> None:
    found = verify_graph(StoreEnd(store), image())
    assert (found.faults, found.manifests, found.blobs) == ([], 2, 2)


def test_every_fault_is_told(store: Store, image: Callable[..., Descriptor]) -> None:
    root = image()
    for blob in (store.root / "blobs" / "sha256").iterdir():
        if blob.name != root.digest.hex and len(blob.read_bytes()) < 400 and b"layers" not in blob.read_bytes():
            blob.write_bytes(b"x")
    assert len(faults(store, root)) >= 2


def test_a_missing_child_is_a_fault(store: Store, image: Callable[..., Descriptor]) -> None:
    root = image()
    store.drop(store.manifest(root).manifests[0].digest)
    (fault,) = faults(store, root)
    assert "is not in the store" in fault


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"layer": packed(b"other")}, "do not unpack to its config's diff_ids"),
        ({"layer": packed(TAR)[:-9]}, "truncated"),
        ({"layer": b"no gzip"}, "damaged"),
        (
            {"config": {"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": [digest_of(TAR)]}}},
            "is not for linux/amd64",
        ),
        ({"config": []}, "config sha256"),
        ({"config": {"rootfs": 5}}, "config sha256"),
        ({"layers": [{"mediaType": 5}]}, "malformed"),
        ({"subject": {"mediaType": "x/y", "digest": digest_of(b"gone"), "size": 1}}, "which is not in it"),
        ({"subject": {"mediaType": "x/y"}}, "malformed"),
    ],
)
def test_a_part_that_is_not_what_it_should_be_is_told(
    store: Store, image: Callable[..., Descriptor], change: dict[str, Any], fault: str
) -> None:
    assert fault in "\n".join(faults(store, image(**change)))


def test_a_child_that_is_no_manifest_is_a_fault(store: Store) -> None:
    blob = store.put(b"text", "text/plain")
    root = store.put_manifest(Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [blob.to_json()]}))
    assert "not JSON" in "".join(faults(store, root))
