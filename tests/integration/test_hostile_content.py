"""Verification of what somebody hostile wrote stays bounded: each excess ends in one clear message, and soon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.values import MAX_MANIFEST_SIZE
from nexus_oci.pipeline import read_once
from nexus_oci.pipeline.attached import MOST_REFERRERS, MOST_SIGNATURES
from nexus_oci.trust import cosign, dsse
from tests.support.faulty_registry import answer
from tests.support.signed_field import Field, signed_field, verify
from tests.unit.cli.conftest import RunProgram
from tests.unit.cli.conftest import run as run

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with signed_field(tmp_path_factory.mktemp("signed"), api=True) as made:
        yield made


@pytest.fixture
def field(signed: Field) -> Iterator[Field]:
    with signed.restored():
        yield signed


def requests(field: Field) -> int:
    return len(field.registry.seen)


def nested(field: Field, depth: int) -> str:
    """An index inside an index, that many times."""
    digest = field.root
    for _ in range(depth):
        child = {"mediaType": media_types.INDEX, "digest": digest, "size": len(field.releases.manifests[digest][1])}
        digest = field.put({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [child]})
    return digest


def test_indexes_that_nest_deeply_are_refused(run: RunProgram, field: Field) -> None:
    field.releases.tags["1.0.0"] = nested(field, 200)
    code, said = verify(run, field)
    assert (code, "nests indexes more than 16 deep" in said) == (4, True), said
    assert requests(field) < 60


def test_more_manifests_than_a_release_can_have_are_refused(
    run: RunProgram, field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_once, "MOST_MANIFESTS", 100)
    child = {"mediaType": media_types.MANIFEST, "size": 100}
    children = [{**child, "digest": f"sha256:{number:064}"} for number in range(101)]
    field.releases.tags["1.0.0"] = field.put({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": children})
    code, said = verify(run, field)
    assert (code, "there are more than 100 manifests" in said) == (4, True), said
    assert requests(field) < 10


def test_more_bytes_of_manifests_than_a_release_can_have_are_refused(
    run: RunProgram, field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_once, "MOST_MANIFEST_BYTES", 1000)
    code, said = verify(run, field)
    assert (code, "have more than 1000 bytes in all" in said) == (4, True), said


@pytest.mark.parametrize("kind", ["release", "index"])
def test_a_manifest_without_an_end_is_refused(run: RunProgram, field: Field, kind: str) -> None:
    target = "1.0.0" if kind == "release" else field.kinds()[kind]
    body = b"{" + b" " * (MAX_MANIFEST_SIZE + 1)
    field.registry.fault("GET", f"manifests/{target}", answer(200, body, Content_Type=media_types.INDEX))
    code, said = verify(run, field)
    assert (code, "sends too much" in said) == (4, True), said


def test_an_index_that_is_said_to_be_its_own_child_is_refused(run: RunProgram, field: Field) -> None:
    """No index can name its own digest: who serves it under the child's is caught by that."""
    data = field.manifest(field.root)
    child = {"mediaType": media_types.INDEX, "digest": "sha256:" + "1" * 64, "size": 1000}
    root = field.put({**data, "manifests": [child]})
    field.releases.manifests[child["digest"]] = field.releases.manifests[root]  # type: ignore[index]
    field.releases.tags["1.0.0"] = root
    code, said = verify(run, field)
    assert (code, "is not what its digest says" in said) == (4, True), said
    assert requests(field) < 20


def test_a_child_of_two_sizes_is_refused(run: RunProgram, field: Field) -> None:
    data = field.manifest(field.root)
    data["manifests"].append({**data["manifests"][0], "size": 10**15})
    field.releases.tags["1.0.0"] = field.put(data)
    code, said = verify(run, field)
    assert (code, "is said to have" in said) == (4, True), said


def test_a_tag_with_thousands_of_signatures_is_refused(run: RunProgram, field: Field) -> None:
    root = field.root
    image = field.manifest(field.releases.tags[field.sig(root)])
    layer = image["layers"][0]
    image["layers"] = [{**layer, "digest": f"sha256:{number:064}"} for number in range(8000)]
    field.releases.tags[field.sig(root)] = field.put(image)
    code, said = verify(run, field)
    assert (code, f"has 8000 signatures (at most {MOST_SIGNATURES} are read)" in said) == (4, True), said
    assert requests(field) < 60


def test_a_manifest_with_thousands_of_referrers_is_refused(run: RunProgram, field: Field) -> None:
    root = field.root
    carrier = field.manifest(field.bundle(root))
    for number in range(MOST_REFERRERS):
        field.put({**carrier, "annotations": {**carrier["annotations"], "number": str(number)}})
    code, said = verify(run, field)
    assert (code, f"manifests refer to {root} (at most {MOST_REFERRERS} are read)" in said) == (4, True), said
    assert requests(field) < 60


def test_a_list_of_referrers_that_names_others_is_not_believed(run: RunProgram, field: Field) -> None:
    """The manifest itself, and what refers to another manifest."""
    kinds = field.kinds()
    listed = [kinds["release"], field.bundle(kinds["deb"]), field.bundle(kinds["release"])]
    entries = []
    for digest in listed:
        kind, raw = field.releases.manifests[digest]
        entries.append({"mediaType": kind, "digest": digest, "size": len(raw)})
    body = json.dumps({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": entries}).encode()
    field.registry.fault("GET", f"referrers/{field.root}", answer(200, body, Content_Type=media_types.INDEX))
    code, said = verify(run, field)
    assert code == 0, said
    for digest in listed[:2]:
        assert f"{digest} is listed among what refers to {field.root}, and does not" in said


def test_a_payload_and_a_bundle_that_are_too_large_are_not_read(run: RunProgram, field: Field) -> None:
    root = field.root
    image = field.manifest(field.releases.tags[field.sig(root)])
    image["layers"][0] |= {"digest": "sha256:" + "2" * 64, "size": 1 << 30}
    field.releases.tags[field.sig(root)] = field.put(image)
    carrier = field.manifest(field.bundle(root))
    carrier["layers"][0] |= {"digest": "sha256:" + "3" * 64, "size": 1 << 40}
    carrier["layers"][0].pop("data", None)
    field.put(carrier)
    code, said = verify(run, field)
    assert (code, said.count("is too large for a signature")) == (4, 2), said
    assert not [seen for seen in field.registry.seen if "2222" in seen.path or "3333" in seen.path]


def test_a_config_that_is_too_large_is_not_read(run: RunProgram, field: Field) -> None:
    image = field.manifest(field.kinds()["image"])
    image["config"] |= {"digest": "sha256:" + "4" * 64, "size": MAX_MANIFEST_SIZE + 1}
    field.releases.blobs[image["config"]["digest"]] = bytes(MAX_MANIFEST_SIZE + 1)
    field.releases.tags["1.0.0"] = field.put(image)
    code, said = verify(run, field)
    assert (code, "it is too large to be a config" in said) == (4, True), said


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b"[" * 100_000, b'{"dsseEnvelope": 5}', b'{"dsseEnvelope": {"signatures": 1}}', b"\xff\xfe"],
)
def test_a_bundle_of_another_shape_is_a_fault_and_no_crash(run: RunProgram, field: Field, body: bytes) -> None:
    field.carry(body, field.root)
    code, said = verify(run, field)
    assert (code, "unexpected" in said) == (4, False), said


@pytest.mark.parametrize(
    "change",
    [
        {"layers": [{"mediaType": cosign.PAYLOAD, "digest": "sha256:" + "5" * 64, "size": -1}]},
        {"layers": "many"},
        {"annotations": {dsse.PREDICATE: 5}},
        {"artifactType": 7},
        {"config": []},
    ],
)
def test_a_carrier_of_another_shape_is_a_fault_and_no_crash(run: RunProgram, field: Field, change: dict[str, Any]) -> None:
    field.releases.tags[field.sig(field.root)] = field.put({**field.manifest(field.bundle(field.root)), **change})
    code, said = verify(run, field)
    assert (code, "unexpected" in said) == (4, False), said
