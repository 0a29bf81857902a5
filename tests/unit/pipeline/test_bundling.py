from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus_oci.bundle.opened import Bundle
from nexus_oci.errors import ArchiveError, NotFoundError, UsageError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.bundle_checks import believe_bundle, check_bundle
from nexus_oci.pipeline.carried_image import origin_in_layout, read_archive
from nexus_oci.pipeline.load import MissingBaseError, load_to_store
from nexus_oci.pipeline.site_inventory import read_site_inventory, store_inventory
from nexus_oci.release.image import store_image
from nexus_oci.trust.keys import generate
from nexus_oci.trust.verification import Trust, TrustedKey
from tests.support.bundles import PLATFORMS, PREFIX, Maker, image_layer, maker

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def made(tmp_path: Path) -> Maker:
    return maker(tmp_path)


def trusted(made: Maker, **limits: object) -> Trust:
    return Trust(keys=(TrustedKey(key=made.key.public, name="release.pub", **limits),))  # type: ignore[arg-type]


def kinds(bundle: Bundle) -> dict[str, int]:
    """How many manifests and blobs there are of each media type, or artifact type."""
    found: dict[str, int] = {}
    for one in bundle.inventory.contents:
        kind = bundle.manifest(one).artifact_type if one.is_manifest else one.media_type
        found[kind or one.media_type] = found.get(kind or one.media_type, 0) + 1
    return found


def test_it_carries_everything_that_refers_to_the_release(made: Maker) -> None:
    with made.opened(made.release()) as bundle:
        found = kinds(bundle)
        # Of index, two images, two artifacts, chart, SBOM and release: all but the SBOM are signed, in both forms.
        assert found["application/vnd.dev.sigstore.bundle.v0.3+json"] == 2 * 7
        assert found["application/spdx+json"] == 2
        assert found[media_types.ARTIFACTS["deb"][0]] == 2 and found[media_types.HELM_CHART] == 1
        names = bundle.inventory.names
        assert {"1.0.0", "engine:1.0.0", "charts/demo:1.0.0"} < set(names)
        assert sum(name.endswith(".sig") for name in names) == 7
        assert bundle.inventory.prefix == PREFIX


def test_other_tools_documents_name_what_can_run(made: Maker) -> None:
    with made.opened(made.release()) as bundle:
        index = json.loads(bundle.read_file("index.json"))
        docker = json.loads(bundle.read_file("manifest.json"))
    full = {
        one["annotations"][media_types.CONTAINERD_NAME]
        for one in index["manifests"]
        if media_types.CONTAINERD_NAME in one.get("annotations", {})
    }
    assert full == {f"{PREFIX}/engine:1.0.0"}
    named = {one["annotations"].get(media_types.REF_NAME) for one in index["manifests"] if "annotations" in one}
    assert named == {"1.0.0", "engine:1.0.0", None}
    assert [one["RepoTags"] for one in docker] == [[f"{PREFIX}/engine:1.0.0"]]


def test_the_image_for_docker_is_chosen(made: Maker) -> None:
    root = made.release()
    configs = set()
    for platform in ("linux/amd64", "linux/arm64"):
        with made.opened(root, docker_platform=Platform.parse(platform)) as bundle:
            entry = json.loads(bundle.read_file("manifest.json"))[0]
            config = next(one for one in bundle.inventory.contents if one.digest.hex == entry["Config"].rpartition("/")[2])
            assert json.loads(bundle.read_range(config, 0, config.size))["architecture"] == platform.rpartition("/")[2]
            configs.add(entry["Config"])
    assert len(configs) == 2


def test_one_platform_leaves_the_others_out_and_still_verifies(made: Maker) -> None:
    root = made.release()
    with made.opened(root, platforms=(Platform.parse("linux/arm64"),)) as bundle:
        assert len(bundle.inventory.left_out) == 2
        assert bundle.manifest(root).raw == made.store.manifest(root).raw
        report = check_bundle(bundle, trusted(made), NOW, deep=True)
        assert report.faults == () and any("left out" in note for note in report.notes)
        assert kinds(bundle)[media_types.ARTIFACTS["deb"][0]] == 1
        target = Store.create(made.folder / "target")
        load_to_store(bundle, target)
        images = [one for one in target.manifest(target.resolve("engine:1.0.0")).manifests if target.has(one)]
        assert [str(one.platform) for one in images] == ["linux/arm64"]


def test_a_platform_that_nothing_is_for_is_refused(made: Maker) -> None:
    with pytest.raises(NotFoundError, match="nothing here is for linux/s390x") as refused:
        made.bundle(made.release(), platforms=(Platform.parse("linux/s390x"),))
    assert "linux/amd64, linux/arm64" in str(refused.value)


def test_a_delta_carries_the_layer_that_differs_and_the_manifests(made: Maker) -> None:
    made.release("1.0.0", app="old", signed=False)
    root = made.release("2.0.0", app="new", signed=False)
    with made.opened(root, since="1.0.0") as bundle:
        found = kinds(bundle)
        assert found.pop(media_types.LAYER_GZIP) == 2  # one for each platform
        assert found.pop(media_types.CONFIG) == 4  # manifests by their config's type, and the configs, which name the layers
        blobs = [
            one
            for one in bundle.inventory.contents
            if not one.is_manifest and one.media_type not in (media_types.LAYER_GZIP, media_types.CONFIG)
        ]
        assert {one.media_type for one in blobs} == {
            media_types.ARTIFACTS["deb"][1],
            media_types.HELM_CONFIG,
            media_types.HELM_CHART,
            "application/spdx+json",
        }
        needed = bundle.inventory.base.needed if bundle.inventory.base else ()
        assert {one.media_type for one in needed} == {media_types.LAYER_GZIP, media_types.EMPTY}
        assert json.loads(bundle.read_file("manifest.json")) == []


def test_a_delta_loads_where_its_base_is_and_nowhere_else(made: Maker) -> None:
    first, second = made.release("1.0.0", app="old"), made.release("2.0.0", app="new")
    site, empty = Store.create(made.folder / "site"), Store.create(made.folder / "empty")
    with made.opened(first) as bundle:
        load_to_store(bundle, site)
    with made.opened(second, "two.nexus", since="1.0.0") as bundle:
        assert check_bundle(bundle, trusted(made), NOW).faults == ()
        with pytest.raises(MissingBaseError) as refused:
            load_to_store(bundle, empty)
        needed = bundle.inventory.base.needed if bundle.inventory.base else ()
        assert {one.digest for one in refused.value.missing} == {one.digest for one in needed}
        assert all(one.digest in str(refused.value) for one in needed)
        assert empty.entries() == () and not list((empty.root / "blobs" / "sha256").iterdir())
        loaded = load_to_store(bundle, site)
        assert "2.0.0" in loaded.names
    with made.opened(second, "whole.nexus") as bundle:
        assert all(site.intact(one) for one in bundle.inventory.contents)
    assert site.resolve("1.0.0").digest == first.digest


def test_a_delta_from_a_sites_own_inventory(made: Maker) -> None:
    first, second = made.release("1.0.0", app="old"), made.release("2.0.0", app="new")
    site = Store.create(made.folder / "site")
    with made.opened(first) as bundle:
        load_to_store(bundle, site)
    (made.folder / "site.json").write_text(json.dumps(store_inventory(site)))
    held = read_site_inventory(made.folder / "site.json")
    with made.opened(first, "none.nexus", held=held) as bundle:
        assert all(one.is_manifest for one in bundle.inventory.contents)
    with made.opened(second, "two.nexus", held=held) as one, made.opened(second, "since.nexus", since="1.0.0") as two:
        assert one.inventory.contents == two.inventory.contents
        load_to_store(one, site)
    assert site.resolve("2.0.0").digest == second.digest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mediaType": "x"}', "not json"])
def test_what_is_no_inventory_of_a_site_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.json").write_text(text)
    with pytest.raises(UsageError, match="no inventory of a site"):
        read_site_inventory(tmp_path / "site.json")


def test_loading_twice_adds_nothing(made: Maker) -> None:
    site = Store.create(made.folder / "site")
    with made.opened(made.release()) as bundle:
        load_to_store(bundle, site)
        before = {path: path.stat().st_ino for path in site.root.rglob("*") if path.is_file() and ".nexus" not in path.parts}
        again = load_to_store(bundle, site)
        assert sum(report.blobs_sent for report in again.reports) == 0
    after = {path: path.stat().st_ino for path in site.root.rglob("*") if path.is_file() and ".nexus" not in path.parts}
    assert before.keys() == after.keys()
    assert {path for path in before if before[path] != after[path]} <= {site.root / "index.json"}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"not_after": datetime(2025, 1, 1, tzinfo=UTC)}, "expired"),
        ({"repositories": ("somewhere/*",)}, "is for the repositories"),
    ],
)
def test_a_key_counts_within_its_limits_only(made: Maker, limits: dict[str, object], said: str) -> None:
    with made.opened(made.release()) as bundle:
        assert believe_bundle(bundle, trusted(made, repositories=("releases",)), NOW).name == "release.pub"
        with pytest.raises(VerificationError, match="does not count") as refused:
            believe_bundle(bundle, trusted(made, **limits), NOW)
        assert said in str(refused.value)


def test_another_key_or_none_is_refused(made: Maker) -> None:
    root = made.release()
    other = Trust(keys=(TrustedKey(key=generate().public, name="other.pub"),))
    with made.opened(root) as bundle, pytest.raises(VerificationError, match="not signed by a key that is trusted here"):
        believe_bundle(bundle, other, NOW)
    with made.opened(root, signed=False) as bundle, pytest.raises(VerificationError, match="is not signed"):
        believe_bundle(bundle, trusted(made), NOW)


def test_a_revoked_bundle_is_refused(made: Maker) -> None:
    root = made.release()
    with made.opened(root) as bundle:
        for digest in (bundle.digest, root.digest):
            trust = Trust(keys=trusted(made).keys, revoked=frozenset({digest}))
            with pytest.raises(VerificationError, match="is revoked"):
                believe_bundle(bundle, trust, NOW)


def test_a_release_without_signatures_stands_by_the_bundles_own(made: Maker) -> None:
    with made.opened(made.release(signed=False)) as bundle:
        report = check_bundle(bundle, trusted(made), NOW)
    assert report.faults == () and any("is not signed" in note for note in report.notes)


def test_parity_without_parts_is_refused(made: Maker) -> None:
    with pytest.raises(UsageError, match="--parity needs --part-size"):
        made.bundle(made.release(), parity="10%")


def _saved(config: dict[str, object], layers: dict[str, bytes]) -> bytes:
    """What an old `docker save` writes."""
    buffer = io.BytesIO()
    manifest = [{"Config": "config.json", "RepoTags": ["example.org/registry:2"], "Layers": list(layers)}]
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in {
            **layers,
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def test_a_registry_image_out_of_a_saved_archive(tmp_path: Path) -> None:
    tar, packed = bytes(10240), gzip.compress(bytes(20480), mtime=0)
    diff_ids = ["sha256:" + hashlib.sha256(data).hexdigest() for data in (tar, bytes(20480))]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    (tmp_path / "saved.tar").write_bytes(_saved(config, {"a/layer.tar": tar, "b/layer.tar": packed}))
    found = origin_in_layout(read_archive(tmp_path / "saved.tar", tmp_path / "oci"))
    assert list(found.names) == ["registry:2"]
    manifest = found.source.manifest(found.root)
    assert [layer.media_type for layer in manifest.layers] == [media_types.LAYER_GZIP] * 2
    assert manifest.layers[1].digest.hex == hashlib.sha256(packed).hexdigest()
    (tmp_path / "changed.tar").write_bytes(_saved(config, {"a/layer.tar": bytes(512), "b/layer.tar": packed}))
    with pytest.raises(ArchiveError, match="holds no image") as refused:
        read_archive(tmp_path / "changed.tar", tmp_path / "other")
    assert "not what the image's config says" in str(refused.value)


def test_a_registry_image_out_of_an_archived_layout(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "layout")
    image = store_image(store, platform=PLATFORMS[0], config={}, layers=[image_layer(store, "registry", 500)], labels={}, epoch=1)
    store.replace_tags({"2": image})
    with tarfile.open(tmp_path / "layout.tar", "w") as archive:
        for name in ("oci-layout", "index.json", "blobs"):
            archive.add(store.root / name, arcname=name)
    found = origin_in_layout(read_archive(tmp_path / "layout.tar", tmp_path / "read"))
    assert found.root.digest == image.digest and list(found.names) == ["registry:2"]
    for junk in (b"", b"no tar", _saved({}, {})):
        (tmp_path / "junk.tar").write_bytes(junk)
        with pytest.raises(ArchiveError, match="holds no image"):
            read_archive(tmp_path / "junk.tar", tmp_path / "junk")


def test_a_registry_image_comes_along_for_docker(made: Maker) -> None:

    layout = Store.create(made.folder / "registry")
    image = store_image(
        layout,
        platform=Platform.parse("linux/amd64"),
        config={},
        layers=[image_layer(layout, "registry", 500)],
        labels={},
        epoch=1,
    )
    layout.replace_tags({"registry:2": image})
    with made.opened(made.release(), registry_image=origin_in_layout(layout)) as bundle:
        tags = [tag for one in json.loads(bundle.read_file("manifest.json")) for tag in one["RepoTags"]]
        assert f"{PREFIX}/registry:2" in tags and bundle.resolve("registry:2").digest == image.digest
        assert check_bundle(bundle, trusted(made), NOW).faults == ()
        site = Store.create(made.folder / "site")
        assert "registry:2" not in load_to_store(bundle, site).names
