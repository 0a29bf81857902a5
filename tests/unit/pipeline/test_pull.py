"""Pull: files get the names that they were pushed with, and only names of files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nexus_oci.errors import NotFoundError, VerificationError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.pull import pull
from nexus_oci.release.assemble import BuiltFile, store_artifact, store_index, store_release
from nexus_oci.transfer.store_end import StoreEnd

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
SOURCE = Reference.parse("registry.example/team/releases:1.0.0")


def served(folder: Path, *titles: str) -> Any:
    """Access to a registry that is a store with a release of one deb a title."""
    store = Store.create(folder)
    index = store_index(store, [], {})
    files = [
        BuiltFile(distribution="runtime", platform=platform, format="deb", title=title, files=((title, store.put(title.encode(), "x/y")),))
        for title, platform in zip(titles, (AMD64, ARM64), strict=False)
    ]
    artifacts = [store_artifact(store, file, index, {}) for file in files]
    store.tag("1.0.0", store_release(store, images=[], artifacts=artifacts, charts=[], annotations={}))
    return SimpleNamespace(end=lambda _: StoreEnd(store))


def test_one_format_for_one_platform_is_just_that_file(tmp_path: Path) -> None:
    pulled = pull(SOURCE, tmp_path / "out", served(tmp_path / "r", "a.deb", "b.deb"), formats=["deb"], platforms=[ARM64])
    assert pulled.files == (tmp_path / "out" / "b.deb",)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"b.deb": b"b.deb"}


def test_what_is_not_offered_is_told_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no tar\.gz") as caught:
        pull(SOURCE, tmp_path / "out", served(tmp_path / "r", "a.deb"), formats=["tar.gz"])
    assert "deb for linux/amd64" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("title", ["../evil", "/etc/evil", "..", ".", "", "a/b", "nul\x00"])
@pytest.mark.parametrize("formats", [["deb"], []], ids=["one format", "all of it"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, title: str, formats: list[str]) -> None:
    with pytest.raises(VerificationError, match="no usable file name"):
        pull(SOURCE, tmp_path / "out", served(tmp_path / "r", title), formats=formats)
    assert not (tmp_path / "evil").exists()


def test_a_whole_release_comes_with_its_names_and_files(tmp_path: Path) -> None:
    pulled = pull(SOURCE, tmp_path / "out", served(tmp_path / "r", "a.deb", "b.deb"))
    assert Store.open(tmp_path / "out" / "oci").resolve("1.0.0").digest == pulled.root.digest
    assert pulled.files == tuple(tmp_path / "out" / "artifacts" / "runtime" / name for name in ("a.deb", "b.deb"))
