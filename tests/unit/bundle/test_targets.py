from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nexus_oci.bundle import targets
from nexus_oci.bundle.targets import FileTarget
from nexus_oci.errors import StoreError, UsageError, VerificationError
from tests.support.bundles import Maker


def test_the_same_release_gives_the_same_bytes(made: Maker) -> None:
    root = made.release()
    one, two = (made.bundle(root, name).files[0].read_bytes() for name in ("a.nexus", "b.nexus"))
    assert one == two
    first = [path.read_bytes() for path in made.bundle(root, "c.nexus", part_size=60_000, parity="1").files]
    assert first == [path.read_bytes() for path in made.bundle(root, "c.nexus", part_size=60_000, parity="1").files]


def test_a_failure_leaves_nothing_behind_and_what_was_there_as_it_was(made: Maker) -> None:
    root = made.release()
    made.bundle(root)
    before = (made.folder / "one.nexus").read_bytes()
    damaged = max((made.store.root / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    for request in ({}, {"part_size": 60_000}):
        with pytest.raises(VerificationError, match="is damaged where the bundle is made from"):
            made.bundle(root, **request)
        assert [path.name for path in made.folder.iterdir() if "nexus" in path.name] == ["one.nexus"]
    assert (made.folder / "one.nexus").read_bytes() == before


def test_what_a_killed_run_left_is_taken_over(made: Maker) -> None:
    (made.folder / ".one.nexus.partial").write_bytes(b"left" * 1_000_000)
    root = made.release()
    assert made.bundle(root).files[0].read_bytes() == made.bundle(root, "two.nexus").files[0].read_bytes()
    assert not (made.folder / ".one.nexus.partial").exists()


def test_two_at_once_into_one_file_are_refused(tmp_path: Path) -> None:
    first = FileTarget(tmp_path / "x", 10)
    with pytest.raises(UsageError, match="being written by another process"):
        FileTarget(tmp_path / "x", 10)
    first.discard()
    FileTarget(tmp_path / "x", 10).discard()
    assert not list(tmp_path.iterdir())


def test_parts_of_an_earlier_run_with_more_of_them_go(made: Maker) -> None:
    root = made.release()
    many = made.bundle(root, part_size=40_000).files
    few = made.bundle(root, part_size=200_000).files
    assert len(few) < len(many)
    assert sorted(made.folder.glob("one.nexus*")) == sorted(few)


def test_parts_replace_the_file_of_their_name_and_leave_other_files_alone(made: Maker) -> None:
    root = made.release()
    whole = made.bundle(root).files[0]
    (made.folder / "one.nexus.999").write_bytes(b"notes of somebody")
    parts = made.bundle(root, part_size=200_000).files
    assert not whole.exists() and (made.folder / "one.nexus.999").read_bytes() == b"notes of somebody"
    assert made.bundle(root).files == (whole,) and all(part.exists() for part in parts)


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no space left") as refused:
        FileTarget(tmp_path / "x", 1 << 60)
    assert "are free in" in str(refused.value) and not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    root = made.release()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(targets.os, "copy_file_range", full)
    with pytest.raises(StoreError, match="no space left to write"):
        made.bundle(root)
    assert not list(made.folder.glob("*one.nexus*"))


def test_a_file_system_that_does_not_copy_by_itself_gives_the_same_bytes(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    root = made.release()
    expected = made.bundle(root).files[0].read_bytes()

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(targets.os, "copy_file_range", refuse)
    assert made.bundle(root, "two.nexus").files[0].read_bytes() == expected


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write"):
        FileTarget(tmp_path / "file" / "x", 10)
