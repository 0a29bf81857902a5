"""What may be written down of an upload."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nexus_oci.oci.values import Descriptor, digest_of
from nexus_oci.registry.journal import Journal, Note, speaks_freely

BLOB = Descriptor(media_type="application/octet-stream", digest=digest_of(b"blob"), size=4)


@pytest.mark.parametrize(
    ("location", "free"),
    [
        ("https://registry.example/v2/team/app/blobs/uploads/1?_state=abc", True),
        ("https://registry.example/v2/team/app/blobs/uploads/1", True),
        ("https://storage.example/upload?X-Amz-Signature=abc", False),
        ("https://storage.example/upload?sig=abc", False),
        ("https://storage.example/upload?access_token=abc", False),
        ("https://storage.example/upload?AWSAccessKeyId=abc", False),
        ("https://ann:secret@registry.example/upload", False),
    ],
)
def test_an_address_that_opens_a_door_is_not_written_down(tmp_path: Path, location: str, free: bool) -> None:
    assert speaks_freely(location) is free
    journal = Journal(tmp_path, lambda: 1000.0)
    with journal.page("registry.example", "team/app", BLOB) as page:
        page.write(location, 2)
    with journal.page("registry.example", "team/app", BLOB) as page:
        assert page.read() == (Note(location=location, offset=2) if free else None)


def test_another_registry_repository_or_blob_has_another_page(tmp_path: Path) -> None:
    journal = Journal(tmp_path, lambda: 1000.0)
    with journal.page("registry.example", "team/app", BLOB) as page:
        page.write("https://registry.example/u", 2)
    other = Descriptor(media_type="application/octet-stream", digest=digest_of(b"other"), size=5)
    for host, repository, blob in (("other.example", "team/app", BLOB), ("registry.example", "team/b", BLOB)):
        with journal.page(host, repository, blob) as page:
            assert page.read() is None
    with journal.page("registry.example", "team/app", other) as page:
        assert page.read() is None
    assert len(list(tmp_path.iterdir())) == 1


def test_notes_that_nobody_came_back_for_are_swept_away(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("{}")
    os.utime(old, (1000, 1000))
    with Journal(tmp_path, lambda: 1000 + 8 * 24 * 3600.0).page("registry.example", "team/app", BLOB):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Journal(tmp_path / "file" / "below", lambda: 1000.0).page("registry.example", "team/app", BLOB) as page:
        page.write("https://registry.example/u", 2)
        assert page.read() is None
