"""The one file of a format, out of its stage's archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.payload import single_file


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


def extract(tmp_path: Path, data: bytes) -> tuple[str, Descriptor]:
    store = Store.create(tmp_path / "oci")
    try:
        return single_file(store, [data], folder="deb", media_type="x/y", step="deb a")
    finally:
        assert list(store.scratch.iterdir()) == []


def test_the_file_gets_its_own_name(tmp_path: Path) -> None:
    title, blob = extract(tmp_path, archive(deb=None, deb__sub=None, **{"deb__sub__x_1.deb": b"data"}))
    assert (title, blob.size, blob.media_type) == ("x_1.deb", 4, "x/y")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive(deb=None), "holds no file"),
        (archive(deb=None, deb__a=b"1", deb__b=b"2"), "more than one file"),
        (archive(deb=None, deb__a="/etc/passwd"), "no plain file|leaves"),
        (b"not a tar at all" * 64, "deb a"),
        (archive(deb=None, deb__a=b"1" * 2000)[:1600], "deb a"),
    ],
)
def test_anything_but_one_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        extract(tmp_path, data)
