"""What an SBOM of an artifact is read from, and what it must not claim."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from nexus_oci.errors import ArchiveError, NexusError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Platform, digest_of
from nexus_oci.pipeline.describe import Describer, Description, check_libraries, document
from nexus_oci.pipeline.subjects import subjects_of
from nexus_oci.release.assemble import BuiltFile, Named, store_artifact, store_index, store_release
from nexus_oci.release.image import ImageLayer, store_image
from nexus_oci.transfer.store_end import StoreEnd
from tests.unit.sbom.kit import go_program, tar
from tests.unit.sbom.test_debian import stanza

PLATFORM = Platform(os="linux", architecture="amd64")
NOTES = {media_types.VERSION: "1.0.0", media_types.TITLE: "The Engine", media_types.DISTRIBUTION: "runtime"}
BASE = {media_types.BASE_NAME: "base.example/static", media_types.BASE_DIGEST: digest_of(b"base")}
LOWER = {"var/lib/dpkg/status.d/libx": stanza("libx"), "etc/passwd": b"root"}
UPPER = {"usr/bin/engine": go_program("dep\tgolang.org/x/sys\tv0.1.0\th1:x")}


def layer(store: Store, data: bytes, created_by: str, media_type: str = media_types.LAYER_GZIP) -> ImageLayer:
    return ImageLayer(descriptor=store.put(gzip.compress(data), media_type), diff_id=digest_of(data), created_by=created_by)


def release(store: Store, artifacts: dict[str, tuple[str, bytes]], media_type: str = media_types.LAYER_GZIP) -> Descriptor:
    """A release of one image on a base, and artifacts: title → format and content."""
    layers = [layer(store, tar(LOWER), "base static base.example/static", media_type), layer(store, tar(UPPER), "COPY rootfs")]
    image = store_image(store, platform=PLATFORM, config={}, layers=layers, labels={**NOTES, **BASE}, epoch=1760000000)
    index = store_index(store, [image], NOTES)
    made = []
    for title, (name, data) in artifacts.items():
        blob = store.put(data, media_types.ARTIFACTS[name][1])
        file = BuiltFile(distribution="runtime", platform=PLATFORM, format=name, title=title, files=((title, blob),))
        made.append(store_artifact(store, file, index, NOTES))
    named = Named(descriptor=index, repository="runtime", tag="1.0.0")
    return store_release(store, images=[named], artifacts=made, charts=[], annotations=NOTES)


def described(store: Store, root: Descriptor) -> dict[str, Description]:
    end = StoreEnd(store)
    return {found.name: found for found in Describer(source=end, subjects=subjects_of(end, root, "releases")).descriptions()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "oci")


def packages(found: Description) -> list[str]:
    return [package.name for package in found.catalogue.packages]


def test_an_image_is_told_apart_from_its_base_by_its_history(store):
    (found,) = described(store, release(store, {})).values()
    assert found.name == "runtime-linux-amd64"
    assert {file.path: file.in_base for file in found.catalogue.files}["etc/passwd"] is True
    assert [(package.name, package.in_base) for package in found.catalogue.packages] == [
        ("libx", True), ("golang.org/x/sys", False), ("stdlib", False),
    ]  # fmt: skip
    subject = found.catalogue.subject
    assert (subject.name, subject.version, subject.epoch) == ("the-engine-runtime", "1.0.0", 1760000000)
    assert subject.base is not None
    assert subject.base.name == "base.example/static"


def test_a_package_that_cannot_be_read_is_described_by_the_archive_of_the_same_package(store):
    archives = {
        "engine-1.0.0-linux-amd64.tar.gz": ("tar.gz", gzip.compress(tar({"engine/bin/engine": UPPER["usr/bin/engine"], "engine/doc": b""}))),
        "engine-1.0.0-1.x86_64.rpm": ("rpm", b"an rpm"),
        "engine-meta-1.0.0-1.x86_64.rpm": ("rpm", b"an rpm with nothing in it"),
    }  # fmt: skip
    found = described(store, release(store, archives))
    shared = found["engine-1.0.0-1.x86_64.rpm"]
    assert packages(shared) == ["golang.org/x/sys", "stdlib"]
    assert shared.catalogue.subject.note == "read from engine-1.0.0-linux-amd64.tar.gz, which is made of the same files"
    assert shared.about == (shared.subject.digest, digest_of(b"an rpm"))
    meta = found["engine-meta-1.0.0-1.x86_64.rpm"].catalogue
    assert (meta.packages, [file.path for file in meta.files]) == ((), ["engine-meta-1.0.0-1.x86_64.rpm"])
    assert "are not read here" in meta.subject.note


def test_without_such_an_archive_it_is_described_by_what_the_image_adds_to_its_base(store):
    found = described(store, release(store, {"engine-1.0.0-1.x86_64.rpm": ("rpm", b"an rpm")}))["engine-1.0.0-1.x86_64.rpm"]
    assert packages(found) == ["golang.org/x/sys", "stdlib"]
    assert "read from the image" in found.catalogue.subject.note


def test_what_is_damaged_is_not_described(store):
    root = release(store, {"engine-1.0.0-linux-amd64.tar.gz": ("tar.gz", gzip.compress(tar(UPPER)))})
    path = store.path(store.manifest(store.manifest(root).manifests[1]).layers[0].digest)
    data = bytearray(path.read_bytes())
    data[-12] ^= 1
    path.write_bytes(data)
    with pytest.raises((VerificationError, ArchiveError), match="damaged"):
        described(store, root)


def test_a_layer_of_an_unknown_kind_is_refused(store):
    root = release(store, {}, media_types.LAYER_ZSTD)
    with pytest.raises(ArchiveError) as caught:
        described(store, root)
    assert caught.match(r"zstd, and only plain and gzip")


def test_where_the_libraries_are_not_installed_it_says_what_to_install(store, monkeypatch):
    (found,) = described(store, release(store, {})).values()
    for name, module in (("spdx_tools", "nexus_oci.sbom.spdx"), ("cyclonedx", "nexus_oci.sbom.cyclonedx")):
        with monkeypatch.context() as patch:
            for known in [key for key in sys.modules if key == module or key.partition(".")[0] == name]:
                patch.delitem(sys.modules, known)
            patch.delattr(f"nexus_oci.sbom.{module.rpartition('.')[2]}", raising=False)
            patch.setitem(sys.modules, name, None)
            with pytest.raises(NexusError) as caught:
                check_libraries()
            assert caught.match(r"nexus-oci\[sbom\]")
            with pytest.raises(NexusError, match=name):
                document(found.catalogue, "spdx" if name == "spdx_tools" else "cyclonedx")
