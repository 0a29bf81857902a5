"""Images, indexes, artifacts and releases: small manifests that are the same whenever they are made from the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Platform
from nexus_oci.release.assemble import BuiltFile, Named, store_artifact, store_chart, store_index, store_release
from nexus_oci.release.image import ImageLayer, store_image, timestamp

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm/v7")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "oci")


def image(store: Store, platform: Platform = AMD64, **config: object) -> Descriptor:
    layer = store.put(b"layer", media_types.LAYER_GZIP)
    layers = [ImageLayer(descriptor=layer, diff_id=layer.digest, created_by="COPY rootfs")]
    return store_image(store, platform=platform, config=config, layers=layers, labels={media_types.VERSION: "1"}, epoch=1)


def test_an_image_says_what_it_is_and_nothing_of_its_build(store: Store) -> None:
    engine = {
        "User": "1:1",
        "Cmd": ["x"],
        "Hostname": "builder",
        "Image": "sha256:0",
        "OnBuild": None,
        "Labels": {"own": "1"},
        "Env": [],
    }
    manifest = store.manifest(image(store, ARM64, **engine))
    assert manifest.config is not None
    config = json.loads(store.read(manifest.config))
    assert config["config"] == {"User": "1:1", "Cmd": ["x"], "Labels": {"own": "1", media_types.VERSION: "1"}}
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm", "v7")
    assert config["created"] == config["history"][0]["created"] == timestamp(1) == "1970-01-01T00:00:01Z"
    assert config["rootfs"] == {"type": "layers", "diff_ids": [manifest.layers[0].digest]}
    assert manifest.annotations == {media_types.VERSION: "1"}


def test_an_index_lists_its_platforms_in_order(store: Store) -> None:
    images = [image(store, ARM64), image(store, AMD64)]
    one, two = (store_index(store, order, {"a": "1"}) for order in (images, images[::-1]))
    assert one == two
    assert [child.platform for child in store.manifest(one).manifests] == [AMD64, ARM64]


def test_an_artifact_refers_to_the_index_that_it_came_from(store: Store) -> None:
    index = store_index(store, [image(store)], {})
    blob = store.put(b"deb", media_types.ARTIFACTS["deb"][1])
    file = BuiltFile(distribution="runtime", platform=AMD64, format="deb", title="x.deb", files=(("x.deb", blob),))
    artifact = store.manifest(store_artifact(store, file, index, {media_types.VERSION: "1"}))
    assert artifact.subject == Descriptor(media_type=index.media_type, digest=index.digest, size=index.size)
    assert (artifact.artifact_type, artifact.config and artifact.config.media_type) == (
        media_types.ARTIFACTS["deb"][0],
        media_types.EMPTY,
    )
    assert [layer.annotations for layer in artifact.layers] == [{media_types.TITLE: "x.deb"}]
    assert artifact.annotations[media_types.PLATFORM] == "linux/amd64"


def test_a_folder_has_a_layer_for_each_file_named_by_its_path(store: Store) -> None:
    index = store_index(store, [image(store)], {})
    files = tuple((path, store.put(path.encode(), "x/y")) for path in ("apt/a", "apt/b/c"))
    folder = BuiltFile(distribution="runtime", platform=None, format="apt", title="apt", files=files)
    artifact = store.manifest(store_artifact(store, folder, index, {}))
    assert [layer.annotations[media_types.TITLE] for layer in artifact.layers] == ["apt/a", "apt/b/c"]
    assert media_types.PLATFORM not in artifact.annotations


def test_a_release_pins_everything_and_says_each_friendly_name(store: Store) -> None:
    index = store_index(store, [image(store)], {})
    chart = store_chart(store, config=b"{}", archive=b"tgz", annotations={})
    blob = store.put(b"deb", media_types.ARTIFACTS["deb"][1])
    artifact = store_artifact(
        store, BuiltFile(distribution="a", platform=AMD64, format="deb", title="x", files=(("x", blob),)), index, {}
    )
    arguments = {
        "images": [Named(descriptor=index, repository="engine", tag="1")], "artifacts": [artifact],
        "charts": [Named(descriptor=chart, repository="charts/engine", tag="1")], "annotations": {"a": "1"},
    }  # fmt: skip
    release = store_release(store, **arguments)  # type: ignore[arg-type]
    assert store_release(store, **arguments) == release  # type: ignore[arg-type]
    assert release.artifact_type == media_types.RELEASE
    children = store.manifest(release).manifests
    assert [child.digest for child in children] == [index.digest, chart.digest, artifact.digest]
    assert [child.annotations.get(media_types.REPOSITORY) for child in children] == ["engine", "charts/engine", None]
    assert children[2].annotations[media_types.FORMAT] == "deb"
