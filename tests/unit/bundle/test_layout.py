from __future__ import annotations

import io
import tarfile

import pytest

from nexus_oci.bundle.layout import END, entry_name, header_of, padded, place_entries
from nexus_oci.oci.tar_header import parse_header
from nexus_oci.oci.values import digest_of

LONG = entry_name(digest_of(b"x", "sha512"))


@pytest.mark.parametrize("name", ["oci-layout", entry_name(digest_of(b"x")), LONG], ids=["short", "blob", "long"])
@pytest.mark.parametrize("size", [0, 1, 512, 100_000])
def test_another_reader_reads_the_headers(name: str, size: int) -> None:
    archive = header_of(name, size) + bytes(padded(size)) + END
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        entry = found.next()
        assert entry is not None and entry.isreg()
        assert (entry.name, entry.size, entry.mode, entry.uid, entry.mtime) == (name, size, 0o644, 0, 315532800)
        assert found.next() is None


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 1 << 40], ids=["octal", "first in base 256", "a TiB"])
def test_sizes_from_8_gib_on_are_said_as_gnu_says_them(size: int) -> None:
    assert parse_header(header_of("x", size)).size == size
    assert tarfile.TarInfo.frombuf(header_of("x", size), "utf-8", "strict").size == size


def test_entries_follow_each_other_without_gaps() -> None:
    places, end = place_entries([("a", 3), (LONG, 512), ("b", 0)])
    assert [(place.header, place.offset, place.end) for place in places] == [
        (0, 512, 515),
        (1024, 2560, 3072),
        (3072, 3584, 3584),
    ]
    assert end == 3584 + len(END)
