"""Packages of macOS: written, read back by rules of their own, and refused where anything was changed."""

from __future__ import annotations

import gzip
import io
import plistlib
import stat
import struct
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nexus_oci.errors import ArchiveError, UsageError, VerificationError
from nexus_oci.formats.macos.bom import make_bom
from nexus_oci.formats.macos.checksum import Cksum
from nexus_oci.formats.macos.documents import Job, launchd_plist
from nexus_oci.formats.macos.fat_binary import join, slices_of
from nexus_oci.formats.macos.flat_package import Product, write_package
from nexus_oci.formats.macos.payload import write_payload
from nexus_oci.formats.macos.signature import ProductSigner, verify_product
from nexus_oci.formats.macos.tree import Entry, ordered
from nexus_oci.formats.macos.xar import read_xar, sign_xar
from tests.unit.formats.macos.bom_reader import read_bom
from tests.unit.formats.macos.kit import EPOCH, authority_and_signer, file_entry, link_entry, mach_o

PRODUCT = Product(
    identifier="example.nexus.engine",
    version="1.2.3",
    title="Engine & <more>",
    architectures=("arm64", "x86_64"),
    licence="MIT\n",
)
FILES = [
    file_entry("./usr/local/bin/engine", b"program" * 1000, 0o755),
    file_entry("./usr/local/etc/engine/a.toml", b"x = 1\n"),
    file_entry("./Library/LaunchDaemons/x.plist", b"<plist/>"),
    link_entry("./usr/local/bin/link", "engine"),
    file_entry("./usr/local/share/ä ü", b""),
]
SCRIPTS = {"preinstall": b"#!/bin/sh\nexit 0\n", "postinstall": b"#!/bin/sh\nexit 0\n"}


@pytest.fixture(scope="module")
def signed() -> tuple[object, ProductSigner]:
    return authority_and_signer()


def package(path: Path, signer: ProductSigner | None = None, files: list[Entry] | None = None) -> Path:
    with path.open("wb") as out:
        write_package(out, PRODUCT, files or FILES, SCRIPTS, EPOCH, signer)
    return path


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize(("data", "expected"), [(b"", 4294967295), (b"123456789", 930766865), (b"a" * 300, None)])
def test_the_checksum_is_that_of_posix(data: bytes, expected: int | None) -> None:
    checksum = Cksum()
    checksum.update(data)
    assert checksum.value == (posix_cksum(data) if expected is None else expected)


def posix_cksum(data: bytes) -> int:
    """The utility's own definition, bit by bit."""
    length, octets = len(data), b""
    while length:
        octets += bytes([length & 255])
        length >>= 8
    crc = 0
    for octet in data + octets:
        crc ^= octet << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7) & 0xFFFFFFFF if crc & 0x80000000 else crc << 1
    return crc ^ 0xFFFFFFFF


def test_a_universal_program_holds_its_slices_at_their_pages(tmp_path: Path) -> None:
    intel, arm = mach_o(tmp_path / "a", "x86_64", b"i" * 5000), mach_o(tmp_path / "b", "arm64", b"m" * 7000)
    with (tmp_path / "fat").open("wb") as out:
        placed = join([arm, intel], out)
    assert slices_of(tmp_path / "fat") == placed
    whole = (tmp_path / "fat").read_bytes()
    assert [one.architecture for one in placed] == ["x86_64", "arm64"]
    for one, source in zip(placed, (intel, arm), strict=True):
        assert whole[one.offset : one.offset + one.size] == source.read_bytes()
    assert placed[0].offset % 4096 == placed[1].offset % 16384 == 0


@pytest.mark.parametrize("change", ["another magic", "moved slice", "cut"])
def test_a_damaged_universal_program_is_refused(tmp_path: Path, change: str) -> None:
    with (tmp_path / "fat").open("wb") as out:
        join([mach_o(tmp_path / "a", "x86_64", b"i" * 5000), mach_o(tmp_path / "b", "arm64", b"m" * 7000)], out)
    data = bytearray((tmp_path / "fat").read_bytes())
    if change == "another magic":
        data[0] ^= 1
    elif change == "moved slice":
        data[16:20] = struct.pack(">I", 8192)
    else:
        del data[-100:]
    (tmp_path / "fat").write_bytes(data)
    with pytest.raises(ArchiveError):
        slices_of(tmp_path / "fat")


def test_only_programs_of_different_processors_are_joined(tmp_path: Path) -> None:
    (tmp_path / "elf").write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(ArchiveError, match="no program for macOS"):
        join([tmp_path / "elf"], io.BytesIO())
    one, two = mach_o(tmp_path / "a", "arm64"), mach_o(tmp_path / "b", "arm64")
    with pytest.raises(ArchiveError, match="one program of each processor"):
        join([one, two], io.BytesIO())


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([file_entry("./../x", b"")], "no path of a package"),
        ([file_entry("/x", b"")], "no path of a package"),
        ([file_entry("./a/./b", b"")], "no path of a package"),
        ([file_entry("./a", b""), file_entry("./a", b"")], "twice"),
        ([file_entry("./a", b""), file_entry("./a/b", b"")], "no folder"),
        ([Entry(path="./p", mode=stat.S_IFIFO | 0o644)], "no file, folder or symbolic link"),
    ],
)
def test_a_tree_that_no_package_can_have_is_refused(entries: list[Entry], message: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        ordered(entries)
    assert message in str(caught.value)


def test_a_bom_lists_every_path_with_mode_size_and_checksum(tmp_path: Path) -> None:
    entries = ordered(FILES)
    checksums = write_payload(entries, io.BytesIO(), EPOCH)
    listed = read_bom(make_bom(entries, checksums, EPOCH))
    assert {(path, mode, size) for path, mode, size, _ in listed} == {(e.path, e.mode, e.size) for e in entries}
    assert {path: checksum for path, _, _, checksum in listed if path == "./usr/local/bin/engine"} == {
        "./usr/local/bin/engine": posix_cksum(b"program" * 1000)
    }


def test_a_bom_of_many_paths_has_branches_and_stays_sorted() -> None:
    entries = ordered([file_entry(f"./d{n % 7}/f{n:05}", b"") for n in range(3000)])
    listed = read_bom(make_bom(entries, [0] * len(entries), EPOCH))
    assert [path for path, *_ in listed] == [entry.path for entry in entries]


def test_a_payload_that_changes_meanwhile_is_refused() -> None:
    entry = Entry(path="./a", mode=stat.S_IFREG | 0o644, size=5, open=lambda: io.BytesIO(b"four"))
    with pytest.raises(ArchiveError, match="changed while it was packed"):
        write_payload(ordered([entry]), io.BytesIO(), EPOCH)


def test_a_file_over_the_formats_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ArchiveError, match="too large"):
        write_payload(ordered([Entry(path="./a", mode=stat.S_IFREG | 0o644, size=1 << 33)]), io.BytesIO(), EPOCH)


def test_a_package_is_the_same_to_the_byte_whatever_order_its_files_came_in(
    tmp_path: Path, signed: tuple[object, ProductSigner]
) -> None:
    one = package(tmp_path / "one.pkg", signed[1])
    two = package(tmp_path / "two.pkg", signed[1], files=FILES[::-1])
    assert one.read_bytes() == two.read_bytes()


def test_a_package_signed_afterwards_is_the_one_that_was_signed_at_once(
    tmp_path: Path, signed: tuple[object, ProductSigner]
) -> None:
    at_once = package(tmp_path / "one.pkg", signed[1])
    for source in (package(tmp_path / "two.pkg"), at_once):
        with (tmp_path / "signed.pkg").open("wb") as out:
            sign_xar(source, out, signed[1])
        assert (tmp_path / "signed.pkg").read_bytes() == at_once.read_bytes()


def test_a_package_is_read_back_with_every_member(tmp_path: Path) -> None:
    path = package(tmp_path / "x.pkg")
    archive = read_xar(path)
    assert [one.path for one in archive.members] == [
        "Distribution", "component.pkg/Bom", "component.pkg/PackageInfo", "component.pkg/Payload", "component.pkg/Scripts",
        "Resources/LICENSE.txt",
    ]  # fmt: skip
    payload = archive.member("component.pkg/Payload")
    packed = path.read_bytes()[payload.offset : payload.offset + payload.size]
    assert b"./usr/local/bin/engine\0" in gzip.decompress(packed)
    assert b"Engine &amp; &lt;more&gt;" in path.read_bytes()


def test_a_signature_by_the_authority_is_accepted_and_another_authority_is_not(
    tmp_path: Path, signed: tuple[object, ProductSigner]
) -> None:
    authority, signer = signed
    archive = read_xar(package(tmp_path / "x.pkg", signer))
    assert verify_product(archive, [authority], now()) == signer.chain[0]
    with pytest.raises(VerificationError, match="is not signed"):
        verify_product(read_xar(package(tmp_path / "y.pkg")), [authority], now())
    with pytest.raises(VerificationError, match="not valid now"):
        verify_product(archive, [authority], now() + timedelta(days=200))
    other, _ = authority_and_signer()
    with pytest.raises(VerificationError):
        verify_product(archive, [other], now())


def test_every_flipped_byte_is_found(tmp_path: Path, signed: tuple[object, ProductSigner]) -> None:
    authority, signer = signed
    path = package(tmp_path / "x.pkg", signer)
    data = path.read_bytes()
    size = struct.unpack_from(">Q", data, 8)[0]
    unsigned = range(28 + size + 20 + 256, 28 + size + 20 + 256 + len(signer.cms(bytes(20))))
    places = [*range(0, len(data), 97), 28 + size + 3, 28 + size + 20 + 5]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        if place in unsigned:  # the CMS is Apple's second signature of the same digest; the first one is judged here
            continue
        with pytest.raises(VerificationError):
            verify_product(read_xar(path), [authority], now())
    path.write_bytes(data + b"x")
    with pytest.raises(VerificationError):
        read_xar(path)


def test_a_table_that_unpacks_to_too_much_or_declares_entities_is_refused(tmp_path: Path) -> None:
    for text in (b"<xar>" + b" " * (65 << 20), b'<!DOCTYPE x [<!ENTITY a "b">]><xar><toc>&a;</toc></xar>'):
        packed = zlib.compress(text)
        (tmp_path / "x.pkg").write_bytes(struct.pack(">4sHHQQI", b"xar!", 28, 1, len(packed), len(text), 1) + packed + bytes(20))
        with pytest.raises(VerificationError):
            read_xar(tmp_path / "x.pkg")


def test_a_key_or_certificate_that_cannot_sign_is_refused_before_anything_is_made() -> None:
    _, signer = authority_and_signer()
    other, _ = authority_and_signer()
    with pytest.raises(UsageError, match="not that of the key"):
        ProductSigner(key=signer.key, chain=[other])
    with pytest.raises(UsageError, match="not valid now"):
        ProductSigner(key=signer.key, chain=signer.chain, now=now() + timedelta(days=500))
    with pytest.raises(UsageError, match="cannot sign"):
        authority_and_signer(usage=False)
    with pytest.raises(UsageError, match="too weak"):
        authority_and_signer(key_bits=1024)


def test_the_job_is_what_launchd_reads() -> None:
    job = Job(label="example.engine", command=["/usr/local/bin/engine", "serve"], environment={"B": "2", "A": "1"})
    read = plistlib.loads(launchd_plist(job))
    assert (read["Label"], read["ProgramArguments"]) == ("example.engine", ["/usr/local/bin/engine", "serve"])
    assert read["EnvironmentVariables"] == {"A": "1", "B": "2"}
