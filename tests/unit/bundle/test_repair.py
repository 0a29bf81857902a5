from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from nexus_oci.bundle.opened import open_bundle
from nexus_oci.bundle.repair import PartStream, open_parts
from nexus_oci.errors import NexusError, UsageError, VerificationError
from tests.support.bundles import Maker


@pytest.fixture
def parts(made: Maker) -> tuple[bytes, list[Path]]:
    """The bytes of a bundle in one file, and the same in parts with two of parity."""
    root = made.release(size=20_000)
    whole = made.bundle(root).files[0].read_bytes()
    return whole, list(made.bundle(root, "cut.nexus", part_size=40_000, parity="2").files)


def read(paths: Sequence[Path]) -> tuple[bytes, PartStream]:
    stream = open_parts(paths)
    try:
        return stream.pread(stream.size, 0), stream
    finally:
        stream.close()


def spoil(path: Path, at: int, count: int = 1) -> None:
    data = bytearray(path.read_bytes())
    for place in range(at, at + count):
        data[place] ^= 0xFF
    path.write_bytes(data)


def test_parts_put_together_are_the_bundle(parts: tuple[bytes, list[Path]]) -> None:
    whole, paths = parts
    found, stream = read(paths)
    assert found == whole and not stream.report()
    header = stream.plan.header_length
    assert b"".join(path.read_bytes()[header:] for path in paths[: stream.plan.data]) == whole
    assert all(path.stat().st_size <= 40_000 for path in paths)


def test_any_parts_up_to_the_parity_can_be_lost(parts: tuple[bytes, list[Path]]) -> None:
    whole, paths = parts
    assert len(paths) > 4
    for lost in itertools.combinations(paths, 2):
        found, stream = read([path for path in paths if path not in lost])
        assert found == whole
        assert [line for line in stream.report() if "is missing" in line] and len(stream.missing) == 2


def test_names_and_order_do_not_matter(parts: tuple[bytes, list[Path]], tmp_path: Path) -> None:
    whole, paths = parts
    paths[0].rename(tmp_path / "kept")
    paths[1].rename(paths[0])
    (tmp_path / "kept").rename(paths[1])
    shuffled = [*paths]
    random.Random(1).shuffle(shuffled)
    assert read(shuffled)[0] == whole


def test_damaged_chunks_of_several_parts_are_repaired_and_named(parts: tuple[bytes, list[Path]]) -> None:
    whole, paths = parts
    header = open_parts(paths).plan.header_length
    spoil(paths[0], header + 10)
    spoil(paths[2], header + 11, 5000)
    spoil(paths[1], header + 12_300)
    found, stream = read(paths)
    assert found == whole
    report = "\n".join(stream.report())
    assert paths[0].name in report and paths[1].name in report and paths[2].name in report and "repaired" in report


def test_a_part_with_a_damaged_header_is_known_by_its_content(parts: tuple[bytes, list[Path]]) -> None:
    whole, paths = parts
    spoil(paths[1], 20)
    spoil(paths[3], 100)
    for path in paths[-2:]:
        path.unlink()
    found, stream = read(paths[:-2])
    assert found == whole
    assert sum("damaged header" in line for line in stream.report()) == 2


def test_damaged_parity_is_named_before_it_is_needed(parts: tuple[bytes, list[Path]]) -> None:
    _, paths = parts
    header = open_parts(paths).plan.header_length
    assert open_parts(paths).check_parity() == []
    spoil(paths[-1], header + 10)
    found = open_parts(paths).check_parity()
    assert len(found) == 1 and paths[-1].name in found[0] and "1 of its" in found[0]


def test_a_truncated_part_is_repaired(parts: tuple[bytes, list[Path]]) -> None:
    whole, paths = parts
    paths[1].write_bytes(paths[1].read_bytes()[:-9000])
    assert read(paths)[0] == whole


def test_too_many_lost_parts_are_named(parts: tuple[bytes, list[Path]]) -> None:
    _, paths = parts
    with pytest.raises(VerificationError, match="part 1 .*part 3 .*part 4 .*are missing") as refused:
        read([path for number, path in enumerate(paths, start=1) if number not in (1, 3, 4)])
    assert "parity replaces 2" in str(refused.value)


def test_too_much_damage_names_the_chunk_and_the_parts(parts: tuple[bytes, list[Path]]) -> None:
    _, paths = parts
    header = open_parts(paths).plan.header_length
    for path in paths[:3]:
        spoil(path, header + 4096)
    with pytest.raises(VerificationError, match="chunk 2 of part 1") as refused:
        read(paths)
    assert all(path.name in str(refused.value) for path in paths[:3])


def test_parts_without_parity_name_what_is_missing(made: Maker) -> None:
    paths = made.bundle(made.release(size=20_000), "cut.nexus", part_size=40_000).files
    with pytest.raises(VerificationError, match=r"part 2 \(cut.nexus.002\) is missing"):
        open_bundle([path for path in paths if not path.name.endswith("002")])


def test_parts_of_two_bundles_are_refused(made: Maker) -> None:
    one = made.bundle(made.release("1.0.0"), "a.nexus", part_size=90_000).files
    two = made.bundle(made.release("2.0.0", app="other"), "b.nexus", part_size=90_000).files
    with pytest.raises(VerificationError, match="different bundles"):
        open_bundle([one[0], *two[1:]])


def test_a_name_alone_stands_for_its_parts(parts: tuple[bytes, list[Path]], made: Maker) -> None:
    with open_bundle([made.folder / "cut.nexus"]) as bundle:
        assert bundle.check_contents() == []


def test_files_that_are_no_parts_are_refused(tmp_path: Path) -> None:
    for name in ("x.001", "x.002"):
        (tmp_path / name).write_bytes(b"x" * 5000)
    with pytest.raises(NexusError, match="no part of a bundle"):
        open_bundle([tmp_path / "x.001", tmp_path / "x.002"])


def test_parity_without_its_library_says_what_to_install(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    root = made.release()
    monkeypatch.setitem(sys.modules, "zfec", None)
    with pytest.raises(UsageError, match=r"parity needs zfec") as refused:
        made.bundle(root, "cut.nexus", part_size=60_000, parity="10%")
    assert "nexus-oci[parity]" in str(refused.value)
    assert not list(made.folder.glob("*cut.nexus*"))
