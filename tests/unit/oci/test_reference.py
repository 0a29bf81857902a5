"""References: the host is always written, and every part is checked before anybody is asked."""

from __future__ import annotations

import pytest

from nexus_oci.errors import UsageError
from nexus_oci.oci.reference import Reference, is_loopback

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "registry.example/team/runtime:1.0.0",
        "registry.example:5000/a",
        "localhost/a/b_c/d--e:latest",
        "[::1]:5000/a:x",
        f"registry.example/a@{DIGEST}",
        f"registry.example/a:1.0.0@{DIGEST}",
    ],
)
def test_a_reference_reads_back_as_it_was_written(text: str) -> None:
    assert str(Reference.parse(text)) == text


def test_the_digest_wins_over_the_tag() -> None:
    assert Reference.parse(f"registry.example/a:1@{DIGEST}").target == DIGEST
    assert Reference.parse("registry.example/a:1").target == "1"
    assert Reference.parse("registry.example/a").target == "latest"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no registry"),
        ("debian", "names no registry"),
        ("library/debian:12", "names no registry"),
        ("https://registry.example/a", "names no registry"),
        ("user:secret@registry.example/a", "names no registry"),
        ("registry.example/", "not a repository name"),
        ("registry.example/Team/a", "not a repository name"),
        ("registry.example/a//b", "not a repository name"),
        ("registry.example/../a", "not a repository name"),
        ("registry.example/" + "a" * 256, "not a repository name"),
        ("registry.example/a:", "not a tag"),
        ("registry.example/a:b/c", "not a tag"),
        ("registry.example/a:" + "x" * 129, "not a tag"),
        ("registry.example/a:x\n", "not a tag"),
        ("registry.example/a@", "ends in no digest"),
        ("registry.example/a@sha256:12", "ends in no digest"),
    ],
)
def test_the_wrong_part_of_a_reference_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Reference.parse(text)


def test_pinning_and_tagging_keep_the_repository() -> None:
    reference = Reference.parse(f"registry.example/a:1@{DIGEST}")
    assert str(reference.at(reference.digest)) == f"registry.example/a@{DIGEST}"  # type: ignore[arg-type]
    assert str(reference.tagged("2")) == "registry.example/a:2"
    assert str(reference.within("b/c")) == "registry.example/b/c"


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:80", "127.8.9.1", "[::1]", "[::1]:5000"])
def test_this_machine_is_known_by_name(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["127.example", "127.0.0.1.example:80", "localhost.example", "[::2]:5000", "10.0.0.1", "1270.0.0.1"]
)
def test_a_name_that_only_looks_like_this_machine_is_another(host: str) -> None:
    assert not is_loopback(host)
