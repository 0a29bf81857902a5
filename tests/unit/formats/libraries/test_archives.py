"""Archives of libraries: the same bytes each time, modes kept, and no path that a system cannot have."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from nexus_oci.errors import ArchiveError
from nexus_oci.formats.libraries.members import Member, checked, windows_faults
from nexus_oci.formats.libraries.zip_archive import write_zip

EPOCH = 1_700_000_000


def test_a_zip_is_the_same_whatever_order_its_members_came_in(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"program" * 10_000)
    members = [
        Member(path="b/program", file=tmp_path / "program", executable=True),
        Member(path="a.txt", data=b"text"),
        Member(path="ü", data=b""),
    ]
    one, two = io.BytesIO(), io.BytesIO()
    write_zip(one, checked(members), EPOCH)
    (tmp_path / "program").touch()
    write_zip(two, checked(members[::-1]), EPOCH)
    assert one.getvalue() == two.getvalue()
    with zipfile.ZipFile(one) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.txt", "b/program", "ü"]
        assert stat.S_IMODE(archive.getinfo("b/program").external_attr >> 16) == 0o755
        assert archive.getinfo("a.txt").date_time == (2023, 11, 14, 22, 13, 20)
        assert archive.read("b/program") == b"program" * 10_000


@pytest.mark.parametrize(
    "path", ["con", "a/NUL.txt", "COM1", "x/lpt9.log", "trailing.", "blank ", "a:b", "a\\b", "../x", "/x", "a//b", "x" * 270]
)
def test_a_path_that_windows_cannot_have_is_refused(path: str) -> None:
    assert windows_faults(path)
    with pytest.raises(ArchiveError):
        checked([Member(path=path, data=b"")])


@pytest.mark.parametrize("path", ["console", "a/null.txt", "com10", "b.c/d-e_f", "ä b/ü"])
def test_a_path_that_only_looks_like_one_is_taken(path: str) -> None:
    assert windows_faults(path) == []


def test_every_fault_is_told_at_once() -> None:
    members = [Member(path=path, data=b"") for path in ("a/Read", "a/read", "aux", "same", "same")]
    with pytest.raises(ArchiveError) as caught:
        checked(members)
    for words in ("differs from it by case", "name of a device", "there twice"):
        assert words in str(caught.value)


def test_the_folder_that_it_is_unpacked_into_takes_its_part_of_the_longest_path() -> None:
    path = "/".join(["x" * 40] * 5)
    assert windows_faults(path) == []
    assert windows_faults(path, room=80)
