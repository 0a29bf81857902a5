"""Where a version comes from, and how versions on the way to the next one sort."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import semver

from nexus_oci.definition.engine_model import Engine
from nexus_oci.definition.source_control import SourceState, Tags
from nexus_oci.definition.version import resolve_version
from nexus_oci.errors import DefinitionError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT_SOURCE = {"git": "https://git.example/x", "commit": COMMIT}


def engine(version: object, source: object = ".") -> Engine:
    return Engine.model_validate({"name": "shop", "version": version, "source": source, "runtime": "go"})


def from_tags(
    *, here: tuple[str, ...] = (), before: str | None = None, distance: int = 0, dirty: bool = False, prefix: str = "v",
    shallow: bool = False,
) -> str:  # fmt: skip
    state = SourceState(commit=COMMIT, time=0, dirty=dirty, shallow=shallow)
    found = Tags(here=here, before=before, distance=distance)
    return resolve_version(
        engine({"git": "tag", "prefix": prefix}), Path("/nowhere"), lambda _: state, git_tags=lambda _, __: found
    )


def test_a_literal_is_the_version(tmp_path: Path) -> None:
    assert resolve_version(engine("1.2.3-rc.1+x"), tmp_path) == "1.2.3-rc.1+x"


def test_a_file_gives_the_version_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("1.2.3\n")
    assert resolve_version(engine({"file": "VERSION"}), tmp_path) == "1.2.3"


def test_the_file_of_a_git_source_is_in_its_checkout(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("4.5.6")
    assert resolve_version(engine({"file": "VERSION"}, GIT_SOURCE), Path("/nowhere"), checkout=tmp_path) == "4.5.6"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"v1.2.3\n", "VERSION:1:1: the file holds no version\n  why: 'v1.2.3' is no semantic version; leave out the 'v': 1.2.3"),
        (b"1.2\n", "'1.2' is no semantic version; it has three numbers: 1.2.0"),
        (b"1.2.3\n1.2.4\n", "is no semantic version; write MAJOR.MINOR.PATCH"),
        (b"", "'' is no semantic version"),
        (b"\xff", "it is not UTF-8 text"),
        (None, "the version file VERSION cannot be read\n  why: No such file or directory"),
    ],
)  # fmt: skip
def test_a_file_that_gives_no_version_is_named(tmp_path: Path, data: bytes | None, why: str) -> None:
    if data is not None:
        (tmp_path / "VERSION").write_bytes(data)
    with pytest.raises(DefinitionError) as caught:
        resolve_version(engine({"file": "VERSION"}), tmp_path)
    assert why in str(caught.value)


def test_a_clean_checkout_at_a_tag_has_the_tags_version() -> None:
    assert from_tags(here=("v1.2.3",), before="v1.2.3") == "1.2.3"
    assert from_tags(here=("shop/1.2.3",), before="shop/1.2.3", prefix="shop/") == "1.2.3"


def test_the_highest_of_several_tags_counts() -> None:
    assert from_tags(here=("v1.10.0", "v1.9.0", "v1.10.0-rc.1"), before="v1.9.0") == "1.10.0"


def test_versions_after_a_tag_say_how_far_and_from_what() -> None:
    assert from_tags(before="v1.2.3", distance=4) == "1.2.4-dev.4.g0123456"
    assert from_tags(before="v1.3.0-rc.1", distance=4) == "1.3.0-rc.1.dev.4.g0123456"
    assert from_tags(before="v1.2.3", distance=4, dirty=True) == "1.2.4-dev.4.g0123456.dirty"
    assert from_tags(here=("v1.2.3",), before="v1.2.3", dirty=True) == "1.2.4-dev.0.g0123456.dirty"
    assert from_tags(distance=7) == "0.0.0-dev.7.g0123456"


def test_versions_on_the_way_sort_between_the_tags() -> None:
    way: list[Callable[[], str]] = [
        lambda: from_tags(here=("v1.3.0-rc.1",), before="v1.3.0-rc.1"),
        lambda: from_tags(before="v1.3.0-rc.1", distance=2),
        lambda: from_tags(before="v1.3.0-rc.1", distance=10),
        lambda: from_tags(here=("v1.3.0-rc.2",), before="v1.3.0-rc.2"),
        lambda: from_tags(here=("v1.3.0",), before="v1.3.0"),
        lambda: from_tags(before="v1.3.0", distance=9),
        lambda: from_tags(before="v1.3.0", distance=11),
        lambda: from_tags(here=("v1.3.1",), before="v1.3.1"),
    ]
    versions = [semver.Version.parse(make()) for make in way]
    assert all(first < second for first, second in itertools.pairwise(versions))


def test_a_shallow_clone_without_a_tag_is_refused_and_not_guessed() -> None:
    with pytest.raises(DefinitionError, match=r"(?s)shallow clone.*git fetch --unshallow --tags"):
        from_tags(shallow=True, distance=1)
    assert from_tags(shallow=True, here=("v1.0.0",)) == "1.0.0"


def test_a_tag_that_is_no_version_is_named() -> None:
    with pytest.raises(DefinitionError, match=r"(?s)the tag 'v1.2' gives no version.*it has three numbers: 1.2.0"):
        from_tags(before="v1.2", distance=1)


def test_without_a_repository_the_message_says_why(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"(?s)git knows nothing.*is in no git repository.*version: 1.0.0"):
        resolve_version(engine({"git": "tag"}), tmp_path)
