"""The canonical archive: one tree, one sequence of bytes, that every reader understands."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.canonical import CanonicalWriter, arrange, encode_header, write_canonical
from nexus_oci.oci.tar import Source, TarReader, read_index
from nexus_oci.oci.tar_header import Entry, Kind

EPOCH = 1_700_000_000

Item = tuple[str, dict[str, Any]]


def rewritten(path: Path, **options: object) -> bytes:
    out = bytearray()
    with path.open("rb") as file:
        write_canonical(read_index(path), file.fileno(), out.extend, epoch=EPOCH, **options)  # type: ignore[arg-type]
    return bytes(out)


def read_again(header: bytes) -> Entry:
    return next(TarReader(Source([header]), allow_devices=True).entries())


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getmembers()


def make(path: Path, *items: Item, format_: int = tarfile.PAX_FORMAT) -> Path:
    """A tar made by Python, of the items in their order; `data` is a file's content, all else fields of a TarInfo."""
    with tarfile.open(path, "w", format=format_) as tar:
        for name, fields in items:
            info = tarfile.TarInfo(name)
            data = fields.pop("data", b"")
            assert isinstance(data, bytes)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return path


def folder(name: str, **fields: object) -> Item:
    return name, {"type": tarfile.DIRTYPE, "mode": 0o755, **fields}


def link(name: str, target: str, **fields: object) -> Item:
    return name, {"type": tarfile.LNKTYPE, "linkname": target, **fields}


ENTRIES = {
    "plain": Entry(name="a/b", kind=Kind.FILE, mode=0o4755, uid=1000, gid=2000, size=0, mtime=EPOCH),
    "folder": Entry(name="a", kind=Kind.DIRECTORY, mode=0o1777),
    "symlink": Entry(name="l", kind=Kind.SYMLINK, mode=0o777, target="x/y"),
    "absolute symlink": Entry(name="l", kind=Kind.SYMLINK, mode=0o777, target="/proc/mounts"),
    "100 characters": Entry(name="n" * 100, kind=Kind.FILE),
    "101 characters": Entry(name="n" * 101, kind=Kind.FILE),
    "folder of 100 characters": Entry(name="n" * 100, kind=Kind.DIRECTORY),
    "prefix": Entry(name="p" * 150 + "/" + "n" * 100, kind=Kind.FILE),
    "prefix too long": Entry(name="p" * 156 + "/" + "n" * 90, kind=Kind.FILE),
    "255 characters": Entry(name="/".join(["d" * 50] * 30) + "/" + "n" * 255, kind=Kind.FILE),
    "long folder": Entry(name="/".join(["d" * 40] * 9), kind=Kind.DIRECTORY),
    "unicode": Entry(name="größe/日本語", kind=Kind.FILE),
    "no unicode": Entry(name="caf\udce9", kind=Kind.FILE),
    "no unicode, long": Entry(name="caf\udce9" * 40, kind=Kind.FILE),
    "line break": Entry(name="a\nb" + "c" * 100, kind=Kind.FILE),
    "target of 100": Entry(name="l", kind=Kind.SYMLINK, mode=0o777, target="t" * 100),
    "target of 101": Entry(name="l", kind=Kind.SYMLINK, mode=0o777, target="t" * 101),
    "unicode target": Entry(name="l", kind=Kind.SYMLINK, mode=0o777, target="größe\udcff"),
    "8 GiB less one": Entry(name="b", kind=Kind.FILE, size=(8 << 30) - 1),
    "8 GiB": Entry(name="b", kind=Kind.FILE, size=8 << 30),
    "large ids": Entry(name="b", kind=Kind.FILE, uid=0o7777777 + 1, gid=(1 << 32) - 1),
    "late": Entry(name="b", kind=Kind.FILE, mtime=1 << 40),
    "xattrs": Entry(name="b", kind=Kind.FILE, xattrs=(("security.capability", bytes(range(20)) + b"\n=\0"), ("user.a", b"1"))),
    "device": Entry(name="null", kind=Kind.CHARACTER, mode=0o666, device=(1, 3)),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_a_header_says_all_of_its_entry(case: str) -> None:
    header = encode_header(ENTRIES[case])
    assert len(header) % 512 == 0
    found = read_again(header)
    assert found.offset == len(header)
    assert (*(getattr(found, name) for name in Entry.__slots__[:-1]),) == (
        *(getattr(ENTRIES[case], name) for name in Entry.__slots__[:-1]),
    )


@pytest.mark.parametrize("case", [case for case in ENTRIES if "GiB" not in case])
def test_python_reads_the_same_out_of_a_header(case: str) -> None:
    entry = ENTRIES[case]
    (found,) = members(encode_header(entry) + bytes(1024))
    assert (found.name, found.linkname) == (entry.name, entry.target)
    assert (found.mode, found.uid, found.gid, found.size, found.mtime) == (
        entry.mode, entry.uid, entry.gid, entry.size, entry.mtime,
    )  # fmt: skip
    assert (found.uname, found.gname) == ("", "")


@pytest.mark.parametrize("case", ["plain", "100 characters", "folder", "prefix", "target of 100", "8 GiB less one"])
def test_what_ustar_can_say_takes_one_block(case: str) -> None:
    assert len(encode_header(ENTRIES[case])) == 512


def test_marks_of_the_engine_are_left_out() -> None:
    noise = (
        ("security.selinux", b"x"),
        ("trusted.overlay.opaque", b"y"),
        ("user.overlay.origin", b"z"),
        ("user.e", b""),
    )
    assert len(encode_header(Entry(name="a", kind=Kind.FILE, xattrs=noise))) == 512


def test_entries_are_sorted_by_components_as_bytes(tmp_path: Path) -> None:
    wanted = ["A", "a", "a/b", "a/b/c", "a-b", "a.b", "ab", "b\udcff", "é"]
    kinds = dict.fromkeys(("a", "a/b"), tarfile.DIRTYPE)
    shuffled = wanted.copy()
    random.Random(3).shuffle(shuffled)
    path = make(tmp_path / "x.tar", *((name, {"type": kinds.get(name, tarfile.REGTYPE)}) for name in shuffled))
    found = [member.name for member in members(rewritten(path))]
    assert found == wanted


def test_missing_parents_are_made_and_present_ones_are_kept(tmp_path: Path) -> None:
    path = make(tmp_path / "x.tar", ("a/b/c/f", {}), ("a/g", {}), folder("a/b", mode=0o700, mtime=5), ("h/i", {}))
    found = [(member.name, oct(member.mode), int(member.mtime)) for member in members(rewritten(path)) if member.isdir()]
    assert found == [
        ("a", "0o755", EPOCH), ("a/b", "0o700", 5), ("a/b/c", "0o755", EPOCH), ("h", "0o755", EPOCH),
    ]  # fmt: skip


def test_times_are_clamped_or_fixed(tmp_path: Path) -> None:
    path = make(tmp_path / "x.tar", ("a", {"mtime": EPOCH + 9}), ("b", {"mtime": 77.9}), ("c", {"mtime": -5}))
    assert [member.mtime for member in members(rewritten(path))] == [EPOCH, 77, 0]
    assert [member.mtime for member in members(rewritten(path, fixed=True))] == [EPOCH] * 3


def test_ids_stay_and_names_go_unless_an_owner_is_given(tmp_path: Path) -> None:
    path = make(tmp_path / "x.tar", ("d/a", {"uid": 7, "gid": 8, "uname": "me", "gname": "us"}))
    kept = members(rewritten(path))
    assert [(member.uid, member.gid, member.uname, member.gname) for member in kept] == [(0, 0, "", ""), (7, 8, "", "")]
    assert {(member.uid, member.gid) for member in members(rewritten(path, owner=(65532, 65532)))} == {(65532, 65532)}


def test_the_first_name_of_a_file_carries_its_data(tmp_path: Path) -> None:
    items: list[Item] = [
        ("z", {"data": b"shared", "mode": 0o4755, "mtime": 3}), link("b", "z", mode=0), link("y", "b", mode=0),
        ("c", {"data": b"own"}),
    ]  # fmt: skip
    data = rewritten(make(tmp_path / "x.tar", *items))
    found = [(member.name, member.type, member.linkname, member.mode, member.mtime) for member in members(data)]
    assert found == [
        ("b", tarfile.REGTYPE, "", 0o4755, 3), ("c", tarfile.REGTYPE, "", 0o644, 0),
        ("y", tarfile.LNKTYPE, "b", 0o4755, 3), ("z", tarfile.LNKTYPE, "b", 0o4755, 3),
    ]  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        contents = [file.read() for name in "bcyz" if (file := tar.extractfile(name))]
    assert contents == [b"shared", b"own", b"shared", b"shared"]


def test_which_name_of_a_file_came_first_does_not_matter(tmp_path: Path) -> None:
    one = make(tmp_path / "1.tar", ("a", {"data": b"x"}), link("b", "a"), link("c", "a"))
    two = make(tmp_path / "2.tar", ("c", {"data": b"x"}), link("a", "c"), link("b", "a"))
    assert rewritten(one) == rewritten(two)


def test_the_order_and_the_format_of_the_archive_do_not_matter(tmp_path: Path) -> None:
    chance = random.Random(11)
    items: list[Item] = [folder("d"), folder("d/" + "e" * 120)]
    items += [(f"d/f{number}", {"data": chance.randbytes(number * 400)}) for number in range(20)]
    items += [("d/s", {"type": tarfile.SYMTYPE, "linkname": "f1", "mode": 0o777}), ("ü" * 60, {"data": b"y"})]
    found = set()
    for turn in range(6):
        chance.shuffle(items)
        format_ = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)[turn % 2]
        copies = [(name, dict(fields)) for name, fields in items]
        found.add(rewritten(make(tmp_path / "x.tar", *copies, format_=format_)))
    assert len(found) == 1


def test_rewriting_what_is_canonical_changes_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "x.tar", ("b/c", {"data": b"x" * 700}), link("a", "b/c"), ("é", {}), folder("e" * 200))
    once = rewritten(path)
    path.write_bytes(once)
    assert rewritten(path) == once


def test_whiteouts_and_set_user_id_are_kept(tmp_path: Path) -> None:
    path = make(tmp_path / "x.tar", ("d/.wh..wh..opq", {}), ("d/.wh.x", {}), ("su", {"mode": 0o6755}))
    assert [(member.name, member.mode) for member in members(rewritten(path))][1:] == [
        ("d/.wh..wh..opq", 0o644), ("d/.wh.x", 0o644), ("su", 0o6755),
    ]  # fmt: skip


def test_the_end_is_two_blocks_of_zeros_and_no_more(tmp_path: Path) -> None:
    data = rewritten(make(tmp_path / "x.tar", ("a", {"data": b"x"})))
    assert len(data) == 512 + 512 + 1024
    assert data[-1024:] == bytes(1024)


def test_data_that_is_shorter_or_longer_than_said_is_an_error() -> None:
    for pieces in ([b"1234"], [b"123", b"456"]):
        writer = CanonicalWriter(lambda _: None, epoch=0)
        with pytest.raises(ArchiveError, match="'x' changed while it was read"):
            writer.write(Entry(name="x", kind=Kind.FILE, size=5), pieces)


def test_arranging_leaves_the_data_with_the_first_name() -> None:
    file = Entry(name="z", kind=Kind.FILE, size=9, offset=512)
    first, last = arrange([file, Entry(name="a", kind=Kind.LINK, target="z")])
    assert (first.kind, first.size, first.offset) == (Kind.FILE, 9, 512)
    assert (last.kind, last.size, last.target) == (Kind.LINK, 0, "a")


def test_gnu_tar_unpacks_long_names_and_hard_links(tmp_path: Path) -> None:
    deep = "/".join(["d" * 60] * 5) + "/" + "n" * 200
    items: list[Item] = [(deep, {"data": b"deep"}), link("hard", deep), ("caf\udce9", {"data": b"latin"})]
    data = rewritten(make(tmp_path / "x.tar", *items))
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(["tar", "-xf", "-", "-C", out], input=data, capture_output=True, check=True)
    assert done.stderr == b""
    assert (out / deep).read_text() == "deep"
    assert (out / deep).stat().st_ino == (out / "hard").stat().st_ino
    assert (out / "caf\udce9").read_text() == "latin"
