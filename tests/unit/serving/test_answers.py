"""The read-only registry's answers, over a small release in a real store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, digest_of
from nexus_oci.pipeline.serving import StoreContent
from nexus_oci.serving.answers import Answer, Registry, Request
from tests.unit.cli.conftest import release


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / "oci")
    release(store)
    return store


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(StoreContent(store))


def ask(registry: Registry, target: str, method: str = "GET", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return registry.answer(Request(method=method, target=target, headers=named))


def content(registry: Registry, answer: Answer) -> bytes:
    """The bytes that would be sent."""
    if answer.blob is None:
        return answer.data
    stream = registry.content.open_from(answer.blob, answer.start)
    try:
        return stream.read(answer.length)
    finally:
        stream.close()


def document(answer: Answer) -> Any:
    return json.loads(answer.data)


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, document(answer)["errors"][0]["code"]


def artifact(store: Store) -> tuple[Manifest, Descriptor]:
    """The release's deb: its manifest, and the file."""
    entry = next(entry for entry in store.entries() if entry.artifact_type == media_types.ARTIFACTS["deb"][0])
    manifest = store.manifest(entry)
    return manifest, manifest.layers[0]


def test_the_ping_says_that_it_is_a_registry(registry: Registry) -> None:
    assert document(ask(registry, "/v2/")) == {}


def test_repositories_are_what_names_say_and_a_release_is_in_releases(registry: Registry) -> None:
    assert document(ask(registry, "/v2/_catalog"))["repositories"] == ["engine", "releases"]
    assert document(ask(registry, "/v2/releases/tags/list")) == {"name": "releases", "tags": ["1.0.0"]}


def test_a_namespace_stands_before_every_repository(store: Store) -> None:
    registry = Registry(StoreContent(store), "team/nexus")
    assert document(ask(registry, "/v2/_catalog"))["repositories"] == ["team/nexus/engine", "team/nexus/releases"]
    assert ask(registry, "/v2/team/nexus/engine/manifests/1.0.0").status == 200
    assert code(ask(registry, "/v2/engine/manifests/1.0.0")) == (404, "NAME_UNKNOWN")


def test_a_manifest_is_the_same_by_tag_and_by_digest_with_its_raw_bytes(registry: Registry, store: Store) -> None:
    index = store.resolve("engine:1.0.0")
    by_tag, by_digest = ask(registry, "/v2/engine/manifests/1.0.0"), ask(registry, f"/v2/engine/manifests/{index.digest}")
    assert content(registry, by_tag) == content(registry, by_digest) == store.manifest(index).raw
    assert by_tag.headers["Docker-Content-Digest"] == index.digest
    assert by_tag.headers["Content-Type"] == media_types.INDEX
    assert (by_tag.headers["Cache-Control"], by_digest.headers["Cache-Control"].split(",")[0]) == ("no-cache", "public")


def test_everything_below_a_release_is_in_its_repository_artifacts_too(registry: Registry, store: Store) -> None:
    manifest, blob = artifact(store)
    for repository in ("releases", "engine"):
        assert ask(registry, f"/v2/{repository}/manifests/{manifest.descriptor.digest}").status == 200
        assert content(registry, ask(registry, f"/v2/{repository}/blobs/{blob.digest}")) == b"deb 1.0.0"


def test_a_repository_holds_nothing_of_another(store: Store, registry: Registry) -> None:
    lonely = store.put_manifest(Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []}))
    store.replace_tags({**store.tags(), "other:1": lonely}, keep_untagged=True)
    _, blob = artifact(store)
    assert document(ask(registry, "/v2/_catalog"))["repositories"] == ["engine", "other", "releases"]
    assert code(ask(registry, f"/v2/other/blobs/{blob.digest}")) == (404, "BLOB_UNKNOWN")
    assert code(ask(registry, f"/v2/engine/manifests/{lonely.digest}")) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        ("bytes=0-2", 206, b"deb"),
        ("bytes=4-", 206, b"1.0.0"),
        ("bytes=-5", 206, b"1.0.0"),
        ("bytes=4-999", 206, b"1.0.0"),
        ("bytes=-999", 206, b"deb 1.0.0"),
        ("bytes=0-0,2-3", 200, b"deb 1.0.0"),
        ("bytes=5-2", 200, b"deb 1.0.0"),
        ("lines=1-2", 200, b"deb 1.0.0"),
    ],
)
def test_a_blob_is_served_in_the_range_that_is_asked_for(
    registry: Registry, store: Store, header: str, status: int, expected: bytes
) -> None:
    _, blob = artifact(store)
    answer = ask(registry, f"/v2/engine/blobs/{blob.digest}", range=header)
    assert (answer.status, content(registry, answer)) == (status, expected)
    assert answer.headers["Content-Length"] == str(len(expected))
    if status == 206:
        start = b"deb 1.0.0".index(expected)
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/9"


@pytest.mark.parametrize("header", ["bytes=9-", "bytes=-0", "bytes=100-200"])
def test_a_range_out_of_reach_is_416_with_the_size(registry: Registry, store: Store, header: str) -> None:
    answer = ask(registry, f"/v2/engine/blobs/{artifact(store)[1].digest}", range=header)
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */9")


def test_a_range_of_something_else_is_not_applied(registry: Registry, store: Store) -> None:
    url = f"/v2/engine/blobs/{artifact(store)[1].digest}"
    assert ask(registry, url, range="bytes=0-1", if_range='"sha256:other"').status == 200
    assert ask(registry, url, range="bytes=0-1", if_range=ask(registry, url).headers["ETag"]).status == 206


def test_what_the_client_has_is_not_sent_again_until_the_tag_moves(registry: Registry, store: Store) -> None:
    etag = ask(registry, "/v2/engine/manifests/1.0.0").headers["ETag"]
    again = ask(registry, "/v2/engine/manifests/1.0.0", if_none_match=f'"x", W/{etag}')
    assert (again.status, again.blob, again.data) == (304, None, b"")
    moved = store.put_manifest(Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []}))
    store.replace_tags({**store.tags(), "engine:1.0.0": moved}, keep_untagged=True)
    assert ask(registry, "/v2/engine/manifests/1.0.0", if_none_match=etag).headers["Docker-Content-Digest"] == moved.digest


def test_referrers_are_listed_with_type_and_annotations_and_filtered(registry: Registry, store: Store) -> None:
    index, (manifest, _) = store.resolve("engine:1.0.0"), artifact(store)
    listed = document(ask(registry, f"/v2/engine/referrers/{index.digest}"))["manifests"]
    assert [entry["digest"] for entry in listed] == [manifest.descriptor.digest]
    assert listed[0]["artifactType"] == manifest.artifact_type
    assert listed[0]["annotations"] == dict(manifest.annotations)
    filtered = ask(registry, f"/v2/engine/referrers/{index.digest}?artifactType=application%2Fx")
    assert document(filtered)["manifests"] == []
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert document(ask(registry, f"/v2/engine/referrers/{digest_of(b'unknown')}"))["manifests"] == []


def test_tags_come_in_pages_that_lead_to_each_other(store: Store, registry: Registry) -> None:
    index = store.resolve("engine:1.0.0")
    store.replace_tags({**store.tags(), **{f"engine:{n}.0.0": index for n in range(2, 8)}}, keep_untagged=True)
    seen: list[str] = []
    url = "/v2/engine/tags/list?n=3"
    while url:
        answer = ask(registry, url)
        seen += document(answer)["tags"]
        url = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert seen == [f"{n}.0.0" for n in range(1, 8)]
    assert document(ask(registry, "/v2/engine/tags/list?n=0"))["tags"] == []
    assert ask(registry, "/v2/engine/tags/list?n=-1").status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(registry: Registry, method: str) -> None:
    answer = ask(registry, "/v2/engine/manifests/1.0.0", method)
    assert code(answer) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v2/engine/manifests/2.0.0", (404, "MANIFEST_UNKNOWN")),
        ("/v2/engine/manifests/sha256:bad", (404, "MANIFEST_UNKNOWN")),
        ("/v2/engine/blobs/sha256:bad", (400, "DIGEST_INVALID")),
        ("/v2/nothing/tags/list", (404, "NAME_UNKNOWN")),
        ("/v2/engine/../../etc/passwd", (404, "NAME_UNKNOWN")),
        ("/", (404, "NAME_UNKNOWN")),
        ("/v2/engine/tags/list?" + "&".join("a=1" for _ in range(99)), (400, "UNSUPPORTED")),
    ],
)
def test_what_is_not_there_is_said_in_the_specifications_words(
    registry: Registry, target: str, expected: tuple[int, str]
) -> None:
    assert code(ask(registry, target)) == expected


def test_a_damaged_manifest_is_an_error_and_not_an_empty_list(registry: Registry, store: Store) -> None:
    path = store.path(store.resolve("engine:1.0.0").digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    assert code(ask(registry, "/v2/_catalog")) == (500, "UNKNOWN")


def test_a_signature_that_a_store_names_once_is_in_every_repository_of_its_subject(registry: Registry, store: Store) -> None:
    index = store.resolve("engine:1.0.0")
    tag = f"sha256-{index.digest.hex}.sig"
    signature = store.put_manifest(Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []}))
    other = store.put_manifest(Manifest.build({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [], "x": 1}))
    store.replace_tags({**store.tags(), f"engine:{tag}": signature, "other:1": other}, keep_untagged=True)
    for repository, status in (("engine", 200), ("releases", 200), ("other", 404)):
        assert ask(registry, f"/v2/{repository}/manifests/{tag}").status == status
