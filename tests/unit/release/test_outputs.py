"""dist/: the files of the release and their lists; what is not ours is never touched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_oci.errors import BuildError, StoreError, VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Platform
from nexus_oci.release.outputs import Output, copy_out, write_outputs

AMD64 = Platform.parse("linux/amd64")
Write = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "dist" / "oci")


@pytest.fixture
def write(store: Store) -> Write:
    """Writes the outputs of a build whose files have the contents given."""

    def run(files: dict[str, bytes]) -> None:
        image = Output(distribution="a", platform=None, format="image", path="oci:a:1", descriptor=store.put(b"i", "x/y"))
        outputs = [image] + [
            Output(distribution="a", platform=AMD64, format="deb", path=path, descriptor=store.put(data, "x/y"))
            for path, data in files.items()
        ]
        write_outputs(store, store.root.parent, outputs, {"commit": "c"})

    return run


def found(store: Store) -> set[str]:
    top = store.root.parent
    return {path.relative_to(top).as_posix() for path in top.rglob("*") if store.root not in path.parents and path != store.root}


def test_the_files_and_their_lists_are_written(store: Store, write: Write) -> None:
    write({"charts/c.tgz": b"2", "artifacts/a/x.deb": b"1"})
    top = store.root.parent
    assert found(store) == {
        "artifacts", "artifacts/a", "artifacts/a/x.deb", "charts", "charts/c.tgz", "SHA256SUMS", "manifest.json", "metadata.json",
    }  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=top, check=True)
    listed = [line.split("  ")[1] for line in (top / "SHA256SUMS").read_text().splitlines()]
    assert listed == ["artifacts/a/x.deb", "charts/c.tgz", "manifest.json", "metadata.json"]
    first, second, *_ = json.loads((top / "manifest.json").read_text())["outputs"]
    assert first["path"] == "oci:a:1"
    assert second == {
        "distribution": "a", "platform": "linux/amd64", "format": "deb", "path": "charts/c.tgz", "size": 1, "mediaType": "x/y",
        "digest": store.put(b"2", "x/y").digest,
    }  # fmt: skip
    assert json.loads((top / "metadata.json").read_text()) == {"commit": "c"}
    assert {oct(path.stat().st_mode & 0o777) for path in top.glob("*.json")} == {"0o644"}


def test_odd_names_can_be_checked_too(store: Store, write: Write) -> None:
    write({"artifacts/a/new\nline\\ ü.deb": b"1"})
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=store.root.parent, check=True)


def test_the_next_build_removes_what_only_the_last_one_made(store: Store, write: Write) -> None:
    write({"artifacts/a/1.deb": b"1", "artifacts/b/1.deb": b"1", "charts/c.tgz": b"1"})
    write({"artifacts/a/2.deb": b"2"})
    assert {name for name in found(store) if "/" in name} == {"artifacts/a", "artifacts/a/2.deb"}


def test_what_is_not_ours_stays(store: Store, write: Write) -> None:
    write({"artifacts/a/1.deb": b"1", "artifacts/a/mine.deb": b"1"})
    top = store.root.parent
    (top / "artifacts" / "a" / "mine.deb").write_bytes(b"signed by hand")
    (top / "artifacts" / "notes.txt").write_bytes(b"mine")
    (top / "charts").mkdir()
    write({})
    assert {name for name in found(store) if "/" in name} == {"artifacts/a", "artifacts/a/mine.deb", "artifacts/notes.txt"}
    assert (top / "charts").is_dir()


def test_a_list_that_was_tampered_with_removes_nothing_outside(store: Store, write: Write) -> None:
    write({"artifacts/a/1.deb": b"1"})
    top = store.root.parent
    (top.parent / "victim").write_bytes(b"1")
    (top / "victim").write_bytes(b"1")
    listing = (top / "manifest.json").read_text().replace("artifacts/a/1.deb", "artifacts/../../victim")
    (top / "manifest.json").write_text(listing)
    write({})
    (top / "manifest.json").write_text(listing.replace("artifacts/../../victim", "victim"))
    write({})
    assert (top.parent / "victim").exists()
    assert (top / "victim").exists()


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"name": "an extension of a browser"}', '{"outputs": [{}]}'])
def test_a_manifest_of_another_kind_is_not_replaced(store: Store, write: Write, text: str) -> None:
    path = store.root.parent / "manifest.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="was not written by this program"):
        write({"artifacts/a/1.deb": b"1"})
    assert path.read_text() == text


def test_a_file_that_is_right_is_left_alone_and_one_that_was_changed_is_written_again(store: Store, write: Write) -> None:
    write({"artifacts/a/1.deb": b"1", "artifacts/a/2.deb": b"2"})
    top = store.root.parent / "artifacts" / "a"
    before = (top / "1.deb").stat()
    (top / "2.deb").write_bytes(b"x")
    write({"artifacts/a/1.deb": b"1", "artifacts/a/2.deb": b"2"})
    after = (top / "1.deb").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert (top / "2.deb").read_bytes() == b"2"


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(store: Store, write: Write, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"1")
    (store.root.parent / "artifacts" / "a").mkdir(parents=True)
    (store.root.parent / "artifacts" / "a" / "1.deb").symlink_to(tmp_path / "elsewhere")
    write({"artifacts/a/1.deb": b"1"})
    assert not (store.root.parent / "artifacts" / "a" / "1.deb").is_symlink()
    write({"artifacts/a/1.deb": b"2"})
    assert (tmp_path / "elsewhere").read_bytes() == b"1"


def test_two_files_of_one_name_are_refused(store: Store) -> None:
    outputs = [
        Output(distribution="a", platform=AMD64, format="deb", path="artifacts/a/x.deb", descriptor=store.put(data, "x/y"))
        for data in (b"1", b"2")
    ]
    with pytest.raises(BuildError, match=r"two files of the release would be artifacts/a/x\.deb"):
        write_outputs(store, store.root.parent, outputs, {})
    assert found(store) == set()


def test_a_write_that_fails_leaves_nothing(store: Store, write: Write, tmp_path: Path) -> None:
    blob = store.put(b"data", "x/y")
    store.path(blob.digest).write_bytes(b"evil")
    with pytest.raises(VerificationError, match="damaged"):
        copy_out(store, blob, tmp_path / "out" / "x")
    assert list((tmp_path / "out").iterdir()) == []
    (store.root.parent / "metadata.json").mkdir()
    with pytest.raises(StoreError, match="cannot write .*metadata.json"):
        write({})
    assert not [name for name in found(store) if name.startswith(".")]


def test_a_file_where_a_folder_is_needed_is_told(store: Store, write: Write) -> None:
    (store.root.parent / "artifacts").write_text("x")
    with pytest.raises(StoreError, match=r"cannot write .*1\.deb"):
        write({"artifacts/a/1.deb": b"1"})
