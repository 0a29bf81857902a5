"""What is found in files, however they are wrapped."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable

import pytest

from nexus_oci.pipeline import inspection
from nexus_oci.pipeline.inspection import Inspector, Seen, SeenFile
from tests.unit.policy_kit import SECRET, Entry, capability, cpio, deb, elf, go_program, rpm, tar, zipped, zstd

WRAPS: dict[str, Callable[[bytes], bytes]] = {
    "x.tar": lambda data: tar({"in/file": data}),
    "x.tar.gz": lambda data: gzip.compress(tar({"in/file": data})),
    "x.tgz": lambda data: gzip.compress(tar({"package/file": data})),
    "x.tar.xz": lambda data: lzma.compress(tar({"in/file": data})),
    "x.tar.bz2": lambda data: bz2.compress(tar({"in/file": data})),
    "x.whl": lambda data: zipped({"shop/file": data}),
    "x.jar": lambda data: zipped({"lib/inner.jar": zipped({"file": data})}),
    "x.deb": lambda data: deb({"usr/bin/file": data}),
    "x.gz": gzip.compress,
    "x.xz": lzma.compress,
    "x.tar.zst": lambda data: zstd(tar({"in/file": data})),
    "x.zst in two frames": lambda data: zstd(data[:40]) + zstd(data[40:]),
    "x.cpio": lambda data: cpio({"./in/file": data}),
    "x.rpm": lambda data: rpm({"./usr/bin/file": data}, gzip.compress),
    "x.rpm of today": lambda data: rpm({"./usr/bin/file": data}, zstd),
    "self-extracting": lambda data: elf(b"stub") + zipped({"file": data}),
    "x.tar.gz in x.zip in x.deb": lambda data: deb({"a.zip": zipped({"b.tar.gz": gzip.compress(tar({"c/file": data}))})}),
}


def looked(name: str, data: bytes) -> Seen:
    seen = Seen()
    Inspector(seen=seen).look_at(name, [data[:1000], data[1000:]])
    return seen


@pytest.mark.parametrize("name", WRAPS)
def test_a_secret_is_found_inside_of(name: str) -> None:
    (found,) = looked(name, WRAPS[name](SECRET)).secrets
    assert found.kind == "a private key"
    assert found.path.startswith(f"{name}!")


@pytest.mark.parametrize("name", WRAPS)
def test_a_program_is_found_inside_of(name: str) -> None:
    programs = [
        file for file in looked(name, WRAPS[name](go_program("shop.example/engine"))).files if file.nested and file.program
    ]
    assert [file.module for file in programs] == ["shop.example/engine"]


@pytest.mark.parametrize(
    "head",
    [b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xca\xfe\xba\xbe"],
)
def test_a_program_of_any_system_is_one(head: bytes) -> None:
    (found,) = looked("x", head + bytes(100)).files
    assert found.program


def test_rights_are_found_in_modes_capabilities_and_hard_links() -> None:
    data = tar({
        "bin/plain": Entry(data=b"x", mode=0o755),
        "bin/su": Entry(data=b"x", mode=0o4755),
        "bin/wall": Entry(data=b"x", mode=0o2755),
        "bin/ping": Entry(data=b"x", mode=0o755, pax=capability()),
        "bin/again": Entry(link="bin/su", mode=0o4755),
    })  # fmt: skip
    found = {file.path.rpartition("/")[2]: file for file in looked("x.tar", data).files}
    assert found.keys() == {"su", "wall", "ping", "again"}
    assert found["ping"].capabilities and not found["su"].capabilities
    assert oct(found["wall"].mode) == "0o2755"


def test_the_mode_of_a_file_in_a_zip_counts() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("bin/su")
        info.external_attr = 0o104755 << 16
        archive.writestr(info, b"x")
    (found,) = looked("x.zip", out.getvalue()).files
    assert oct(found.mode) == "0o4755"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "the zstd data is damaged"),
        (zstd(bytes(range(256)) * 4000)[:-30], "the zstd data is cut"),
        (cpio({"x": b"y" * 100})[:-200], "the archive is cut"),
        (cpio({"x": b"y"}).replace(b"070701", b"070701zzzzzzzz", 1), "cannot be read"),
        (rpm({"x": b"y"}, lambda _: b"neither"), "the payload of the rpm package is of an unknown kind"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "7z is not unpacked here"),
        (b"\xed\xab\xee\xdb" + bytes(200), "a header of the rpm package cannot be read"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "OLE"),
        (gzip.compress(b"x" * 10_000)[:-12], "Compressed file ended"),
        (gzip.compress(tar({"x": bytes(5000)})[:2000]), "unexpected end of data"),
        (deb({"x": b"y"})[:-20], "damaged|ended|truncated|end of"),
    ],
)
def test_an_archive_that_cannot_be_looked_into_is_told_and_never_passed_over(data: bytes, why: str) -> None:
    import re

    told = [file.why for file in looked("x.bin", data).files if file.why]
    assert any(re.search(why, one) for one in told), told


def test_a_large_zstd_file_is_unpacked_to_its_last_byte() -> None:
    import random

    data = random.Random(7).randbytes(300_000) + bytes(3_000_000) + SECRET
    (found,) = looked("x.zst", zstd(data)).secrets
    assert found.path == "x.zst!x"


def test_without_libzstd_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from nexus_oci.pipeline import zstd as module

    data = zstd(b"x")
    monkeypatch.setattr(module, "_library", lambda: None)
    (found,) = looked("x.zst", data).files
    assert "zstd is not unpacked here" in found.why
    assert not module.is_there()


def test_an_encrypted_zip_is_not_looked_into() -> None:
    data = bytearray(zipped({"x": b"secret"}))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    (found,) = looked("x.zip", bytes(data)).files
    assert "encrypted" in found.why


def test_archives_in_archives_end_somewhere() -> None:
    data = b"core"
    for _ in range(inspection.DEEPEST + 2):
        data = gzip.compress(data)
    told = [file.why for file in looked("x.gz", data).files if file.why]
    assert told == [f"it is an archive that cannot be read: archives are in one another more than {inspection.DEEPEST} deep"]


def test_a_bomb_is_not_unpacked_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MOST_BYTES", 1 << 20)
    told = [file.why for file in looked("x.gz", gzip.compress(bytes(8 << 20))).files if file.why]
    assert len(told) == 1 and "it unpacks to more than" in told[0]


def test_too_many_files_are_not_counted_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MOST_FILES", 3)
    told = [file.why for file in looked("x.zip", zipped({f"{n}": b"x" for n in range(9)})).files if file.why]
    assert len(told) == 1 and "more than 3 files" in told[0]


def test_a_large_file_is_searched_to_its_end_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "HELD", 1 << 16)
    (found,) = looked("x.txt", b"a line\n" * 30_000 + SECRET).secrets
    assert found.line == 30_001


def test_plain_files_leave_nothing_behind() -> None:
    seen = looked("x.txt", b"hello\n")
    assert (seen.files, seen.secrets) == ([], [])


def test_a_program_is_told_with_the_digest_of_its_bytes() -> None:
    import hashlib

    data = elf(b"one")
    assert looked("x", data).files == [SeenFile(path="x", mode=0o644, program=True, digest=hashlib.sha256(data).hexdigest())]
