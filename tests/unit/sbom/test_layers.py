from __future__ import annotations

import hashlib

import pytest

from nexus_oci.errors import ArchiveError
from nexus_oci.sbom.layers import read_layer
from tests.unit.sbom.kit import tree


def paths(found) -> list[str]:
    return [file.path for file in found.files()]


def test_a_file_is_known_by_its_digests_and_size():
    (file,) = tree({"a": b"content"}).files()
    assert (file.size, file.in_base) == (7, False)
    assert file.sha1 == hashlib.sha1(b"content").hexdigest()
    assert file.sha256 == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize(
    ("lower", "upper", "left"),
    [
        ({"a/b": b"1", "a/c": b"2"}, {"a/.wh.b": b""}, ["a/c"]),
        ({"a/b": b"1", "c": b"2"}, {".wh.a": b""}, ["c"]),
        ({"a/b": b"1", "ab": b"2"}, {"a/.wh..wh..opq": b"", "a/new": b"3"}, ["a/new", "ab"]),
        ({"a/b": b"1"}, {"a": b"a file now"}, ["a"]),
        ({"a/b": b"1"}, {"a": "elsewhere"}, []),
        ({"a/b": b"1"}, {"a": None}, ["a/b"]),
        ({"a": b"1"}, {".wh.a": b"", "b": b"2"}, ["b"]),
    ],
)  # fmt: skip
def test_an_upper_layer_takes_away_and_replaces(lower, upper, left):
    assert paths(tree(lower, upper)) == left


def test_a_whiteout_says_nothing_about_its_own_layer():
    assert paths(tree({"a/x": b"1"}, {"a/.wh..wh..opq": b"", "a/y": b"2"})) == ["a/y"]


def test_the_files_of_the_base_are_told_from_those_that_replace_them():
    found = {file.path: file.in_base for file in tree({"a": b"1", "b": b"2"}, {"b": b"3", "c": b"4"}, base=1).files()}
    assert found == {"a": True, "b": False, "c": False}


def test_links_among_folders_are_followed_and_a_circle_ends():
    found = tree({"bin": "usr/bin", "usr/bin/tool": b"1", "abs": "/usr", "loop": "loop"})
    assert found.real("bin/tool") == "usr/bin/tool"
    assert found.real("abs/bin/tool") == "usr/bin/tool"
    assert found.real("usr/lib/../bin/tool") == "usr/bin/tool"
    assert "loop" in found.real("loop/x")


def test_what_is_no_tar_is_refused():
    with pytest.raises(ArchiveError, match="a layer"):
        read_layer([b"\1" * 1024], origin="a layer")
