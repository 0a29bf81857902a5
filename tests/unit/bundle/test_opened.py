from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus_oci.bundle.layout import INVENTORY, SIGNATURE, entry_name, header_of, padded
from nexus_oci.bundle.opened import Bundle, open_bundle
from nexus_oci.errors import NexusError, NotFoundError, VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.pipeline.bundle_checks import believe_bundle, check_bundle
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.verification import Trust, TrustedKey
from tests.support.bundles import Maker

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def trust(made: Maker) -> Trust:
    return Trust(keys=(TrustedKey(key=made.key.public, name="release.pub"),))


def whole_of(bundle: Bundle, blob: Descriptor) -> bytes:
    reader = bundle.open_blob(blob)
    return b"".join(iter(lambda: reader.read(1 << 16), b""))


def test_another_reader_finds_the_layout_with_the_inventory_first(made: Maker) -> None:
    root = made.release()
    path = made.bundle(root).files[0]
    with tarfile.open(path) as archive:
        names = archive.getnames()
        assert names[:5] == [INVENTORY, SIGNATURE, "oci-layout", "index.json", "manifest.json"]
        assert len(names) == len(set(names)) and all(entry.isreg() for entry in archive)
        archive.extractall(made.folder / "out", filter="data")
    copied = Store.open(made.folder / "out")
    assert copied.resolve("1.0.0").digest == root.digest
    assert StoreEnd(copied).manifest(root).descriptor.digest == root.digest


def test_a_bundle_is_a_source_of_the_whole_graph(made: Maker) -> None:
    root = made.release()
    with made.opened(root) as bundle:
        assert bundle.check_contents() == []
        target = Store.create(made.folder / "copy")
        copy_graph(bundle, StoreEnd(target), bundle.resolve("1.0.0"), tags=["1.0.0"], referrers=True)
        assert {one.digest for one in StoreEnd(target).referrers(root.digest)} == {
            one.digest for one in bundle.referrers(root.digest)
        }
        assert bundle.referrers(root.digest)


def test_content_can_be_read_at_any_place(made: Maker) -> None:
    with made.opened(made.release()) as bundle:
        blob = max(bundle.inventory.contents, key=lambda one: one.size)
        whole = whole_of(bundle, blob)
        assert digest_of(whole) == blob.digest
        assert bundle.read_range(blob, 100, 50) == whole[100:150]
        assert bundle.read_range(blob, blob.size - 5, 50) == whole[-5:] and bundle.read_range(blob, blob.size + 5, 50) == b""
        window = bundle.open_blob(blob, verify=False)
        window.seek(-3, io.SEEK_END)  # type: ignore[attr-defined]
        assert window.read() == whole[-3:]


def test_what_is_not_in_it_is_not_found(made: Maker) -> None:
    with made.opened(made.release()) as bundle:
        with pytest.raises(NotFoundError, match="'2.0.0' is not in"):
            bundle.resolve("2.0.0")
        stranger = Descriptor(media_type="x/y", digest=digest_of(b"stranger"), size=8)
        with pytest.raises(NotFoundError, match="is not in"):
            bundle.open_blob(stranger)
        known = bundle.inventory.contents[0]
        with pytest.raises(VerificationError, match="not as long"):
            bundle.open_blob(Descriptor(media_type=known.media_type, digest=known.digest, size=known.size + 1))


def test_a_flipped_bit_anywhere_is_found(made: Maker) -> None:
    path = made.bundle(made.release(size=3000)).files[0]
    whole = path.read_bytes()
    signature = whole.index(SIGNATURE.encode())
    offsets = {*range(0, 600, 37), *range(signature, signature + 700, 13), *range(0, len(whole), 997)}
    offsets |= set(range(len(whole) - 1100, len(whole), 101))
    with path.open("r+b", buffering=0) as file:
        for at in sorted(offsets):
            os.pwrite(file.fileno(), bytes([whole[at] ^ 1 << (at % 8)]), at)
            assert _found(made, path), f"byte {at}"
            os.pwrite(file.fileno(), whole[at : at + 1], at)
    assert not _found(made, path)


def _found(made: Maker, path: Path) -> bool:
    """Whether opening, the signature, or the digests say that something is wrong."""
    try:
        with open_bundle([path]) as bundle:
            believe_bundle(bundle, trust(made), NOW)
            return bool(bundle.check_contents(1))
    except VerificationError:
        return True


@pytest.mark.parametrize("cut", [1, 512, 1024, 5000, 1 << 30])
def test_a_truncated_bundle_is_refused(made: Maker, cut: int) -> None:
    path = made.bundle(made.release()).files[0]
    path.write_bytes(path.read_bytes()[:-cut] if cut < path.stat().st_size else b"")
    with pytest.raises(VerificationError, match=r"one\.nexus"):
        open_bundle([path])


def test_anything_after_the_end_is_refused(made: Maker) -> None:
    path = made.bundle(made.release()).files[0]
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(VerificationError, match="something was added"):
        open_bundle([path])


def _member(name: str, kind: bytes, target: str = "") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (_member("../outside", tarfile.REGTYPE), r"a file '\.\./outside'"),
        (_member("/etc/passwd", tarfile.REGTYPE), "a file '/etc/passwd'"),
        (_member("oci-layout", tarfile.SYMTYPE, "/etc/passwd"), "a symbolic link 'oci-layout'"),
        (_member("oci-layout", tarfile.LNKTYPE, "index.json"), "a hard link 'oci-layout'"),
        (_member("index.json", tarfile.REGTYPE), "a file 'index.json'"),
        (_member("oci-layout", tarfile.DIRTYPE), "a folder 'oci-layout"),
    ],
    ids=["dots", "absolute", "symbolic link", "hard link", "duplicate", "folder"],
)
def test_an_entry_that_the_inventory_does_not_list_is_named_and_refused(made: Maker, member: bytes, said: str) -> None:
    path = made.bundle(made.release()).files[0]
    whole = path.read_bytes()
    at = whole.index(header_of("oci-layout", 30))
    path.write_bytes(whole[:at] + member + whole[at + 512 :])
    with pytest.raises(VerificationError, match=said):
        open_bundle([path])


def test_an_inventory_of_another_bundle_is_refused(made: Maker) -> None:
    one, two = (made.bundle(made.release(version, app=version), f"{version}.nexus").files[0] for version in ("1.0.0", "2.0.0"))
    with open_bundle([one]) as bundle:
        head = padded(len(bundle.raw)) + 512
        assert not bundle.parts
    first, second = one.read_bytes(), two.read_bytes()
    with open_bundle([two]) as bundle:
        other = padded(len(bundle.raw)) + 512
    two.write_bytes(first[:head] + second[other:])
    with pytest.raises(NexusError), open_bundle([two]) as bundle:
        believe_bundle(bundle, trust(made), NOW)


def test_a_sparse_file_of_a_declared_size_is_refused_without_being_read(made: Maker) -> None:
    path = made.folder / "sparse.nexus"
    with path.open("wb") as file:
        file.write(header_of(INVENTORY, 8**11 - 1))
        file.truncate(1 << 40)
    with pytest.raises(VerificationError, match="is no bundle"):
        open_bundle([path])


@pytest.mark.parametrize("data", [b"", b"x", bytes(10240), header_of("oci-layout", 3) + bytes(2048)])
def test_other_files_are_no_bundles(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.nexus").write_bytes(data)
    with pytest.raises(VerificationError, match="is no bundle"):
        open_bundle([tmp_path / "x.nexus"])
    with pytest.raises(NotFoundError, match="there is no"):
        open_bundle([tmp_path / "y.nexus"])


def test_a_file_that_changes_while_it_is_used_is_hashed_again(made: Maker) -> None:
    path = made.bundle(made.release()).files[0]
    with open_bundle([path]) as bundle:
        assert bundle.check_contents() == []
        blob = max(bundle.inventory.contents, key=lambda one: one.size)
        place = path.read_bytes().index(whole_of(bundle, blob)[:100])
        with path.open("r+b") as file:
            file.seek(place + 5)
            file.write(b"changed")
        with pytest.raises(VerificationError, match="damaged"):
            whole_of(bundle, blob)


def test_everything_that_is_wrong_is_reported_at_once(made: Maker) -> None:
    path = made.bundle(made.release()).files[0]
    with open_bundle([path]) as bundle:
        places = [one for one in bundle.inventory.contents if not one.is_manifest][:3]
        data = bytearray(path.read_bytes())
        for one in places:
            data[
                bytes(data).index(bundle.read_range(one, 0, 64))
                if one.size > 64
                else bytes(data).index(header_of(f"blobs/sha256/{one.digest.hex}", one.size)) + 512
            ] ^= 1
    path.write_bytes(data)
    with open_bundle([path]) as bundle:
        report = check_bundle(bundle, trust(made), NOW)
    assert len(report.faults) == 3 and all(one.digest.hex in " ".join(report.faults) for one in places)


def test_a_size_that_is_wrong_within_the_padding_is_found_by_the_digest(made: Maker) -> None:
    root = made.release()
    with made.opened(root, signed=False) as bundle:
        inventory, path, start = bundle.inventory, made.folder / "one.nexus", padded(len(bundle.raw)) + 512
        blob = next(one for one in inventory.contents if not one.is_manifest and 0 < one.size % 512 < 511)
    contents = tuple(replace(one, size=one.size + 1) if one is blob else one for one in inventory.contents)
    raw = replace(inventory, contents=contents).to_bytes()
    assert padded(len(raw)) + 512 == start
    whole = path.read_bytes()
    at = whole.index(header_of(entry_name(blob.digest), blob.size))
    whole = whole[:at] + header_of(entry_name(blob.digest), blob.size + 1) + whole[at + 512 :]
    path.write_bytes(header_of(INVENTORY, len(raw)) + raw.ljust(padded(len(raw)), b"\0") + whole[start:])
    with open_bundle([path]) as bundle:
        faults = bundle.check_contents()
    assert len(faults) == 1 and blob.digest.hex in faults[0]
