from __future__ import annotations

import gzip
import lzma

import pytest

from nexus_oci.errors import ArchiveError
from nexus_oci.sbom.archives import read_archive
from tests.unit.sbom.kit import tar

FILES = tar({"usr/bin/tool": b"1" * 3000, "usr/share/doc": None})


def deb(**members: bytes) -> bytes:
    """An ar archive, deb(5)."""
    made = b"!<arch>\n"
    for name, data in {"debian-binary": b"2.0\n", "control.tar.gz": b"odd", **members}.items():
        made += f"{name:<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return made


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("tar.gz", gzip.compress(FILES)),
        ("deb", deb(**{"data.tar.gz": gzip.compress(FILES)})),
        ("deb", deb(**{"data.tar.xz": lzma.compress(FILES)})),
        ("deb", deb(**{"data.tar": FILES})),
    ],
)
def test_the_files_of_an_archive_and_of_a_debian_package_are_read_however_they_arrive(kind, data):
    for size in (len(data), 7):
        found = read_archive(kind, [data[at : at + size] for at in range(0, len(data), size)], "it")
        assert sorted(found.nodes) == ["usr/bin/tool", "usr/share/doc"]
        assert found.nodes["usr/bin/tool"].file.size == 3000


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("deb", b"no archive at all", "is no Debian package"),
        ("deb", deb(), "has no data.tar"),
        ("deb", deb(**{"data.tar.zst": b"x"}), "only gzip and xz"),
        ("deb", deb(**{"data.tar.xz": lzma.compress(FILES)[:-30]}), "truncated|damaged"),
        ("deb", deb(**{"data.tar.xz": b"damaged"}), "damaged"),
        ("tar.gz", gzip.compress(FILES)[:-9], "truncated"),
    ],
)
def test_what_cannot_be_read_is_refused(kind, data, message):
    with pytest.raises(ArchiveError) as caught:
        read_archive(kind, [data], "it")
    assert caught.match(message)
