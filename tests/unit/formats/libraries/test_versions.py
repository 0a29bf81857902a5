"""Versions in the words of library ecosystems, ordered by their own comparison where there is one in Python."""

from __future__ import annotations

import itertools

import pytest
from packaging.version import Version

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.libraries.versions import maven_version, npm_version, nuget_version, python_version

ORDERED = [
    "0.9.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0-beta.1", "1.0.0-beta.11", "1.0.0-dev.1",
    "1.0.0-dev.12", "1.0.0-rc.1", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.0.1-dev.4", "1.0.1", "1.1.0", "1.10.0", "2.0.0-rc.1", "2.0.0",
]  # fmt: skip


def test_pep_440_orders_them_as_semver_does() -> None:
    found = [Version(python_version(version)) for version in ORDERED]
    assert all(one < other for one, other in itertools.pairwise(found))
    assert [str(one) for one in found] == [python_version(version) for version in ORDERED]


def test_build_metadata_becomes_a_local_version() -> None:
    assert python_version("1.0.0-rc.1+Build-5.x") == "1.0.0rc1+build.5.x"
    assert Version("1.0.0") < Version(python_version("1.0.0+build.5")) < Version("1.0.1.dev0")


def test_a_commit_tells_versions_apart_and_orders_nothing() -> None:
    assert python_version("1.0.1-dev.4.g1a2b3c4d") == "1.0.1rc0.dev4"
    assert maven_version("1.0.1-dev.4.g1a2b3c4d") == "1.0.1-beta-99999-4"


@pytest.mark.parametrize("version", ["1.0.0-foo.1", "1.0.0-1", "1.0.0-rc.1.2", "1.0.0-rc.x"])
def test_what_an_ecosystem_cannot_order_is_refused_with_what_to_write(version: str) -> None:
    for said in (python_version, maven_version):
        with pytest.raises(DefinitionError) as caught:
            said(version)
        assert "1.0.0-rc.1" in str(caught.value.hint)


def test_npm_and_nuget_take_them_as_they_are_without_build_metadata() -> None:
    assert [npm_version(version) for version in ORDERED] == [nuget_version(version) for version in ORDERED] == ORDERED
    assert npm_version("1.0.0-rc.1+build.5") == nuget_version("1.0.0-rc.1+build.5") == "1.0.0-rc.1"
