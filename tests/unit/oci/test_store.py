"""The store: whole or absent, verified on the way in and out, readable whoever made it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_oci.errors import NotFoundError, StoreError, VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Algorithm, Descriptor, Manifest, digest_of

TEXT = "text/plain"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "oci")


def damage(store: Store, blob: Descriptor, data: bytes) -> None:
    store.path(blob.digest).write_bytes(data)


def index(note: str = "") -> Manifest:
    return Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [], "annotations": {"note": note}})


def layout(root: Path, *entries: dict[str, object]) -> Path:
    """A layout as another tool makes it, with no folder of ours."""
    (root / "blobs" / "sha256").mkdir(parents=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return root


def test_a_blob_comes_back_as_it_went_in(store: Store) -> None:
    with store.writer() as writer:
        for part in (b"one ", bytearray(b"two "), memoryview(b"three")):
            writer.write(part)
        blob = writer.commit(TEXT)
    assert blob == Descriptor(media_type=TEXT, digest=digest_of(b"one two three"), size=13)
    assert store.read(blob) == b"one two three"
    assert list(store.scratch.iterdir()) == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_both_kinds_of_digest_are_kept(store: Store, algorithm: Algorithm) -> None:
    raw = index().raw
    expected = Descriptor(media_type=media_types.INDEX, digest=digest_of(raw, algorithm), size=len(raw))
    with store.writer(algorithm) as writer:
        writer.write(raw)
        assert writer.commit(media_types.INDEX, expected=expected) == expected
    assert store.intact(expected)
    assert store.put_manifest(store.manifest(expected)).digest == expected.digest


def test_bytes_that_are_not_what_was_expected_are_not_kept(store: Store) -> None:
    expected = Descriptor(media_type=TEXT, digest=digest_of(b"good"), size=4)
    with store.writer() as writer, pytest.raises(VerificationError, match="not what its digest says"):
        writer.write(b"evil")
        writer.commit(TEXT, expected=expected)
    assert list((store.root / "blobs" / "sha256").iterdir()) == []
    assert list(store.scratch.iterdir()) == []


@pytest.mark.parametrize("data", [b"dat", b"data!", b"xxxx", b""])
def test_a_damaged_blob_is_named_and_never_handed_out_as_whole(store: Store, data: bytes) -> None:
    blob = store.put(b"data", TEXT)
    damage(store, blob, data)
    assert not store.intact(blob)
    with pytest.raises(VerificationError, match=str(blob.digest)):
        store.read(blob)


def test_a_damaged_blob_is_replaced_by_the_next_write(store: Store) -> None:
    blob = store.put(b"data", TEXT)
    damage(store, blob, b"dat")
    assert store.put(b"data", TEXT) == blob
    assert store.read(blob) == b"data"


def test_an_untouched_blob_is_known_without_reading_it_and_a_touched_one_is_read_again(store: Store) -> None:
    blob = store.put(b"data", TEXT)
    first = store.path(blob.digest).stat()
    assert store.put(b"data", TEXT) == blob
    assert store.path(blob.digest).stat().st_ino == first.st_ino
    os.utime(store.path(blob.digest))
    assert store.intact(blob)
    assert store.path(blob.digest).stat().st_mtime == first.st_mtime


def test_a_reader_asked_for_nothing_gives_nothing(store: Store) -> None:
    with store.open_blob(store.put(b"data", TEXT)) as reader:
        assert (reader.read(0), reader.read(2), reader.read(), reader.read(1)) == (b"", b"da", b"ta", b"")


def test_a_missing_blob_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match="is not in the store"):
        store.open_blob(Descriptor(media_type=TEXT, digest=digest_of(b"x"), size=1))


def test_a_full_disk_is_told_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="no space left") as caught:
        store.put(b"data", TEXT)
    assert "free some space" in str(caught.value)
    with pytest.raises(StoreError, match=r"no space left while writing index.json"):
        store.tag("1.0.0", index().descriptor)
    assert list(store.scratch.iterdir()) == []
    assert store.entries() == ()


def test_what_a_killed_writer_left_is_swept_and_what_a_live_one_holds_is_not(store: Store) -> None:
    old = store.scratch / "left"
    old.write_bytes(b"x")
    held, young = store.writer(), store.writer()
    held.write(b"x")
    (busy,) = (path for path in store.scratch.iterdir() if path != old and path.stat().st_size)
    for path in (old, busy):
        os.utime(path, (1, 1))
    Store.create(store.root)
    assert not old.exists()
    assert len(list(store.scratch.iterdir())) == 2
    held.discard()
    young.discard()


def test_tags_move_and_others_stay(store: Store) -> None:
    first, second, other = (store.put_manifest(index(note)) for note in ("1", "2", "3"))
    store.tag("a", first)
    store.tag("b", first)
    store.replace_tags({"a": second}, (other,))
    assert {name: entry.digest for name, entry in store.tags().items()} == {"a": second.digest, "b": first.digest}
    assert store.resolve("a").digest == second.digest
    assert store.resolve(other.digest).digest == other.digest
    assert store.resolve(f"oci@{other.digest}").digest == other.digest


def test_entries_without_a_tag_stay_when_a_tag_is_written_and_go_when_they_are_replaced(store: Store) -> None:
    first, second, third = (store.put_manifest(index(note)) for note in ("1", "2", "3"))
    store.replace_tags({}, (first,))
    store.tag("a", second)
    assert {entry.digest for entry in store.entries()} == {first.digest, second.digest}
    store.replace_tags({}, (third,), keep_untagged=True)
    assert {entry.digest for entry in store.entries()} == {first.digest, second.digest, third.digest}
    store.replace_tags({}, (third,))
    assert {entry.digest for entry in store.entries()} == {second.digest, third.digest}


def test_an_unknown_tag_says_what_there_is(store: Store) -> None:
    store.tag("1.0.0", store.put_manifest(index()))
    with pytest.raises(NotFoundError, match="it has 1.0.0"):
        store.resolve("2.0.0")


def test_the_index_is_the_same_whatever_the_order_of_writing(tmp_path: Path) -> None:
    texts = []
    for name, order in (("a", (1, 2, 3)), ("b", (3, 1, 2))):
        store = Store.create(tmp_path / name)
        for number in order:
            store.tag(f"{number}", store.put_manifest(index(str(number))))
        texts.append((store.root / "index.json").read_bytes())
    assert texts[0] == texts[1]


def test_writers_in_several_processes_lose_no_tag(store: Store) -> None:
    store.put_manifest(index())
    code = (
        "import sys; from pathlib import Path; from nexus_oci.oci.store import Store; from nexus_oci.oci.values import *\n"
        "store = Store.open(Path(sys.argv[1])); root = Manifest.build({'schemaVersion': 2, 'manifests': []})\n"
        "[store.tag(f'{sys.argv[2]}-{n}', store.put_manifest(root)) for n in range(10)]"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, store.root, str(n)]) for n in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(store.tags()) == 30


def test_opening_a_layout_of_another_tool_writes_nothing_there(tmp_path: Path) -> None:
    raw = index("theirs").raw
    entry = {"mediaType": media_types.INDEX, "digest": digest_of(raw), "size": len(raw), "annotations": {"tool": "x"}}
    root = layout(tmp_path / "theirs", entry)
    (root / "blobs" / "sha256" / digest_of(raw).hex).write_bytes(raw)
    store = Store.open(root)
    (found,) = store.entries()
    assert store.manifest(found).annotations == {"note": "theirs"}
    assert store.intact(found)
    assert store.tags() == {}
    assert {path.name for path in root.iterdir()} == {"blobs", "index.json", "oci-layout"}


def test_a_layout_of_another_tool_can_be_written_to_and_keeps_its_entries(tmp_path: Path) -> None:
    theirs = {"mediaType": media_types.INDEX, "digest": digest_of(b"x"), "size": 1, "annotations": {"tool": "x"}}
    tagged = {**theirs, "digest": digest_of(b"y"), "annotations": {"tool": "y", media_types.REF_NAME: "v1"}}
    store = Store.open(layout(tmp_path / "theirs", theirs, tagged))
    store.tag("ours", store.put_manifest(index()))
    assert [dict(entry.annotations) for entry in store.entries() if entry.size == 1] == [tagged["annotations"], {"tool": "x"}]


def test_there_is_no_store_where_there_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no store"):
        Store.open(tmp_path)


def test_a_folder_of_something_else_is_not_made_a_store(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(StoreError, match="not an OCI image layout"):
        Store.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    with pytest.raises(StoreError, match="failed while making the store"):
        Store.create(tmp_path / "precious" / "oci")


def test_a_store_whose_making_was_interrupted_is_finished(tmp_path: Path) -> None:
    (tmp_path / "oci" / ".nexus").mkdir(parents=True)
    assert Store.create(tmp_path / "oci").entries() == ()


@pytest.mark.parametrize("text", ['{"imageLayoutVersion": "2.0.0"}', "[]", "{", ""])
def test_an_unknown_layout_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "oci-layout").write_text(text)
    with pytest.raises(StoreError, match="layout"):
        Store.open(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"manifests": 5}', '{"manifests": ' + "[" * 100_000])
def test_a_broken_index_is_named(store: Store, text: str) -> None:
    (store.root / "index.json").write_text(text)
    with pytest.raises(StoreError, match=r"index.json cannot be read"):
        store.entries()


def test_a_blob_too_large_for_memory_is_not_read_into_it(store: Store) -> None:
    with pytest.raises(StoreError, match="too large"):
        store.read(Descriptor(media_type=TEXT, digest=digest_of(b"x"), size=1 << 40))


def test_a_store_that_may_not_be_written_to_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(StoreError, match="failed while locking the store"):
        store.tag("a", index().descriptor)


def test_a_sweep_just_before_a_blob_is_named_leaves_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def swept(path: Path, target: Path) -> Path:
        Store.create(store.root)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", swept)
    with store.writer() as writer:
        writer.write(b"data")
        blob = writer.commit("x/y")
    assert store.read(blob) == b"data"
