"""Pull: files get the names that they were pushed with, and only names of files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nexus_oci.errors import NotFoundError, UsageError, VerificationError
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
        BuiltFile(
            distribution="runtime",
            platform=platform,
            format="deb",
            title=title,
            files=((title, store.put(title.encode(), "x/y")),),
        )
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


def repositories(folder: Path, *contents: dict[str, str], distributions: tuple[str, ...] = ("runtime", "other")) -> Any:
    """Access to a release with one apt repository for each distribution: contents by path."""
    store = Store.create(folder)
    index = store_index(store, [], {})
    artifacts = []
    for distribution, content in zip(distributions, contents, strict=False):
        files = tuple((path, store.put(text.encode(), "text/plain")) for path, text in content.items())
        built = BuiltFile(distribution=distribution, platform=None, format="apt", title="apt", files=files)
        artifacts.append(store_artifact(store, built, index, {}))
    store.tag("1.0.0", store_release(store, images=[], artifacts=artifacts, charts=[], annotations={}))
    return SimpleNamespace(end=lambda _: StoreEnd(store))


TREE = {"apt/dists/stable/InRelease": "signed", "apt/dists/stable/by-hash/SHA256/ab": "signed", "apt/pool/main/a.deb": "deb"}


def test_a_repository_is_written_as_a_tree_whatever_platform_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    pulled = pull(SOURCE, out, repositories(tmp_path / "r", TREE), formats=["apt"], platforms=[ARM64])
    assert pulled.files == tuple(out / path for path in TREE)
    assert {str(p.relative_to(out)): p.read_text() for p in out.rglob("*") if p.is_file()} == TREE


def test_a_whole_release_brings_its_repositories_by_distribution(tmp_path: Path) -> None:
    pull(SOURCE, tmp_path / "out", repositories(tmp_path / "r", TREE, {"apt/README": "other"}))
    assert (tmp_path / "out/artifacts/runtime/apt/dists/stable/InRelease").read_text() == "signed"
    assert (tmp_path / "out/artifacts/other/apt/README").read_text() == "other"


def test_repositories_of_two_distributions_are_not_mixed(tmp_path: Path) -> None:
    access = repositories(tmp_path / "r", {"apt/README": "one"}, {"apt/README": "two"})
    with pytest.raises(UsageError, match="more than one apt/README"):
        pull(SOURCE, tmp_path / "out", access, formats=["apt"])
    pull(SOURCE, tmp_path / "out", access, formats=["apt"], distributions=["other"])
    assert (tmp_path / "out/apt/README").read_text() == "two"


@pytest.mark.parametrize(
    "path",
    ["../evil", "/evil", "apt/../../evil", "apt/./evil", "apt//evil", "apt", "apt/", "evil", "other/evil", "apt/a\\b", "apt/nul\x00", "apt/ok/below"],
)  # fmt: skip
@pytest.mark.parametrize("formats", [["apt"], []], ids=["one format", "all of it"])
def test_a_path_that_leaves_the_repository_is_refused_before_anything_is_written(
    tmp_path: Path, path: str, formats: list[str]
) -> None:
    with pytest.raises(VerificationError, match="no usable file name"):
        pull(SOURCE, tmp_path / "out", repositories(tmp_path / "r", {"apt/ok": "x", path: "evil"}), formats=formats)
    written = [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(tmp_path / "r")]
    assert [p for p in written if "oci" not in p.relative_to(tmp_path).parts] == []


@pytest.mark.parametrize("name", ["..", "../../evil", "/evil", ""])
def test_a_distribution_whose_name_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(VerificationError, match="its distribution is"):
        pull(SOURCE, tmp_path / "a" / "b" / "out", repositories(tmp_path / "r", TREE, distributions=(name,)))
    assert not list(tmp_path.rglob("evil"))
    assert not list(tmp_path.rglob("apt"))


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "apt").mkdir(parents=True)
    (tmp_path / "out" / "apt" / "dists").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"apt/dists is a link"):
        pull(SOURCE, tmp_path / "out", repositories(tmp_path / "r", TREE), formats=["apt"])
    assert list((tmp_path / "elsewhere").iterdir()) == []
