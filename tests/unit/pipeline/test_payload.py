"""The files of formats, out of their stage's archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.payload import stage_files


def archive(**members: bytes | str | None) -> bytes:
    """A tar: bytes are files, a text is a link's target, None a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.type = {bytes: tarfile.REGTYPE, str: tarfile.SYMTYPE}.get(type(content), tarfile.DIRTYPE)
            info.linkname = content if isinstance(content, str) else ""
            info.size = len(content) if isinstance(content, bytes) else 0
            tar.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return stream.getvalue()


def extract(tmp_path: Path, data: bytes) -> dict[str, list[tuple[str, Descriptor]]]:
    store = Store.create(tmp_path / "oci")
    try:
        return stage_files(store, [data], folder="all", formats={"deb": "x/y", "rpm": "x/z"}, step="deb a")
    finally:
        assert list(store.scratch.iterdir()) == []


def test_each_format_gets_the_files_of_its_folder_in_order(tmp_path: Path) -> None:
    found = extract(tmp_path, archive(all=None, all__deb=None, all__deb__b=b"2", all__deb__a=b"1", all__rpm__c=b"data"))
    assert [(title, blob.media_type) for title, blob in found["deb"]] == [("a", "x/y"), ("b", "x/y")]
    assert [(title, blob.size, blob.media_type) for title, blob in found["rpm"]] == [("c", 4, "x/z")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive(all=None, all__deb__a=b"1"), "the stage 'rpm' of deb a holds no file"),
        (archive(all=None, all__deb__a="/etc/passwd"), "no plain file|leaves"),
        (archive(all=None, all__apk__a=b"1"), "'apk/a', which is no plain file of a format"),
        (archive(all=None, all__deb__sub__a=b"1"), "no plain file of a format"),
        (archive(all=None, all__deb=b"1"), "no plain file of a format"),
        (archive(all=None, all__deb__a=b""), "'deb/a', which is empty"),
        (b"not a tar at all" * 64, "deb a"),
        (archive(all=None, all__deb__a=b"1" * 2000)[:1600], "deb a"),
    ],
)
def test_anything_but_plain_files_of_the_formats_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        extract(tmp_path, data)
