"""What is pushed, and where to: told before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_oci.errors import NotFoundError, UsageError
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Manifest
from nexus_oci.pipeline.push import find_release, parse_destination


def add(store: Store, version: str, **extra: str) -> None:
    data = {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [], "annotations": {"v": version}} | extra
    store.tag(version, store.put_manifest(Manifest.build(data)))


def test_the_only_release_is_found_without_its_version(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    add(store, "engine")
    with pytest.raises(NotFoundError, match="the store has no release"):
        find_release(store, None)
    add(store, "1.0.0_5", artifactType=media_types.RELEASE)
    assert find_release(store, None)[1] == find_release(store, "1.0.0+5")[1] == "1.0.0_5"
    add(store, "2.0.0", artifactType=media_types.RELEASE)
    with pytest.raises(NotFoundError, match="several releases"):
        find_release(store, None)
    with pytest.raises(NotFoundError, match="no release 3"):
        find_release(store, "3")


@pytest.mark.parametrize("text", ["registry.example:5000/team", "registry.example/team/"])
def test_a_destination_is_a_host_and_a_namespace(text: str) -> None:
    assert parse_destination(text).repository == "team"


@pytest.mark.parametrize(
    "text", ["registry.example/team:1", "registry.example/team@sha256:" + "0" * 64, "registry.example", "team"]
)
def test_anything_else_is_no_destination(text: str) -> None:
    with pytest.raises(UsageError):
        parse_destination(text)
