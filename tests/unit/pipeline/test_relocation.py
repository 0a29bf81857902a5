from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, digest_of
from nexus_oci.pipeline.relocation import RELOCATION, Relocation, _overrides, relocate, store_relocation, values_file
from nexus_oci.transfer.store_end import StoreEnd
from tests.support.bundles import PREFIX, maker

DIGEST = digest_of(b"image")
IMAGES = {DIGEST: "engine"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"image": {"repository": "a.example/team/engine", "tag": "1"}}, {"image": {"repository": "b.example/site/engine"}}),
        ({"image": "a.example/team/engine:1@sha256:0"}, {"image": "b.example/site/engine:1@sha256:0"}),
        ({"image": {"registry": "a.example", "repository": "team/engine"}}, {"image": {"registry": "b.example", "repository": "site/engine"}}),
        ({"image": {"repository": "engine", "digest": DIGEST}}, {"image": {"repository": "b.example/site/engine"}}),
        (
            {"sidecars": [{"name": "x", "image": "docker.io/x"}, {"name": "y", "image": "a.example/team/y", "n": [1]}]},
            {"sidecars": [{"name": "x", "image": "docker.io/x"}, {"name": "y", "image": "b.example/site/y", "n": [1]}]},
        ),
        ({"image": "a.example/team-two/engine", "other": "docker.io/library/a.example/team"}, None),
        ({"replicas": 2, "on": True, "none": None, "list": [1, "x"]}, None),
        (None, None),
    ],
)  # fmt: skip
def test_values_that_name_images_are_overridden_and_no_others(values: Any, expected: Any) -> None:
    assert _overrides(values, "a.example/team", "b.example/site", IMAGES) == expected


def test_a_release_is_relocated_without_a_byte_of_it_changing(tmp_path: Path) -> None:
    made = maker(tmp_path)
    root = made.release()
    names = {name: one for name, one in made.store.tags().items() if "sha256-" not in name}
    found = relocate(StoreEnd(made.store), root, names, PREFIX, "site.example/nexus")
    assert found.values == {"charts/demo": {"image": {"repository": "site.example/nexus/engine"}}}
    assert found.names[f"{PREFIX}/engine:1.0.0"] == "site.example/nexus/engine:1.0.0"
    assert found.to_json()["signedIdentity"] == {"type": "remapIdentity", "prefix": "site.example/nexus", "signedPrefix": PREFIX}
    assert json.loads(values_file(found.values["charts/demo"])) == found.values["charts/demo"]


def test_the_record_refers_to_the_release_and_is_the_same_each_time(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "oci")
    subject = Descriptor(media_type="application/vnd.oci.image.index.v1+json", digest=DIGEST, size=5)
    relocation = Relocation(origin="a.example/t", place="b.example/s", release=DIGEST, names={}, values={"charts/x": {"a": "b"}})
    records = {store_relocation(store, relocation, subject, "2026-01-01T00:00:00Z").digest for _ in range(2)}
    assert len(records) == 1
    manifest: Manifest = store.manifest(store_relocation(store, relocation, subject, "2026-01-01T00:00:00Z"))
    assert manifest.artifact_type == RELOCATION and manifest.subject is not None and manifest.subject.digest == DIGEST
    assert [layer.annotations["org.opencontainers.image.title"] for layer in manifest.layers] == [
        "nexus-relocation.json",
        "x.nexus-values.yaml",
    ]
