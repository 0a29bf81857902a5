"""Digests, platforms, descriptors and manifests: what is read from outside is refused unless it is what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexus_oci.errors import VerificationError
from nexus_oci.oci import media_types
from nexus_oci.oci.values import (
    MAX_MANIFEST_SIZE,
    Descriptor,
    Digest,
    Manifest,
    Platform,
    canonical_json,
    digest_of,
)

SHA256 = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256", "sha256:", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "sha512:" + "a" * 64, "md5:" + "a" * 32, SHA256 + "\n",
        "sha256:../../" + "a" * 58, 5, None, b"sha256:",
    ],
)  # fmt: skip
def test_what_is_no_digest_is_refused(text: Any) -> None:
    with pytest.raises(VerificationError, match="is not a digest"):
        Digest(text)


def test_a_digest_is_of_either_algorithm() -> None:
    for algorithm, length in (("sha256", 64), ("sha512", 128)):
        digest = digest_of(b"x", algorithm)  # type: ignore[arg-type]
        assert (digest.algorithm, len(digest.hex), digest) == (algorithm, length, f"{algorithm}:{digest.hex}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
    ],
)
def test_names_of_one_platform_are_one(text: str, shown: str) -> None:
    assert str(Platform.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "linux", "linux/", "linux/amd64/v1/x", "Linux/amd64", "linux/../amd64"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a platform"):
        Platform.parse(text)


def test_a_descriptor_survives_json() -> None:
    descriptor = Descriptor(
        media_type=media_types.INDEX, digest=Digest(SHA256), size=7, annotations={"b": "2", "a": "1"},
        platform=Platform(os="linux", architecture="arm", variant="v7"), artifact_type=media_types.RELEASE,
    )  # fmt: skip
    assert Descriptor.from_json(json.loads(canonical_json(descriptor.to_json()))) == descriptor


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1}, {"size": "7"}, {"size": True}, {"size": 1.0}, {"size": None}, {"mediaType": None}, {"mediaType": ["x"]},
        {"digest": None}, {"digest": "x"}, {"platform": "linux"}, {"platform": {"os": "linux"}}, {"annotations": "x"},
        {"annotations": ["x"]}, {"artifactType": {}},
    ],
)  # fmt: skip
def test_a_malformed_descriptor_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match=r"malformed|not a digest"):
        Descriptor.from_json({"mediaType": media_types.LAYER, "digest": SHA256, "size": 7} | change)


@pytest.mark.parametrize("data", [None, [], "text", 5])
def test_what_is_no_descriptor_is_refused(data: Any) -> None:
    with pytest.raises(VerificationError, match="malformed"):
        Descriptor.from_json(data)


def test_a_manifest_keeps_its_bytes() -> None:
    raw = b'{ "manifests": [],\n "schemaVersion": 2 }'
    manifest = Manifest.parse(raw)
    assert (manifest.raw, manifest.descriptor.digest, manifest.is_index) == (raw, digest_of(raw), True)


def test_a_manifest_is_known_by_the_digest_it_was_asked_for_by() -> None:
    manifest = Manifest.parse(b'{"schemaVersion":2,"layers":[]}', algorithm="sha512")
    assert manifest.descriptor.digest == digest_of(manifest.raw, "sha512")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no schemaVersion 2"),
        (b'{"schemaVersion":1}', "no schemaVersion 2"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', "an image and an index at once"),
        (b'{"schemaVersion":2,"manifests":[],"config":{}}', "an image and an index at once"),
        (b'{"schemaVersion":2,"manifests":5}', "malformed"),
        (b'{"schemaVersion":2,"layers":{}}', "malformed"),
        (b'{"schemaVersion":2,"subject":"x"}', "malformed"),
        (b'{"schemaVersion":2,"config":[]}', "malformed"),
        (b'{"schemaVersion":2,"annotations":[]}', "malformed"),
        (b'{"schemaVersion":2,"mediaType":[]}', "malformed"),
        (b" " * (MAX_MANIFEST_SIZE + 1), "bytes"),
    ],
)
def test_hostile_manifest_bytes_are_refused(raw: bytes, message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        Manifest.parse(raw)


def test_a_manifest_must_be_what_it_was_served_as() -> None:
    raw = canonical_json({"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": []})
    with pytest.raises(VerificationError, match="served as"):
        Manifest.parse(raw, media_types.MANIFEST)


def test_children_of_the_wrong_kind_are_refused_when_they_are_read() -> None:
    manifest = Manifest.parse(b'{"schemaVersion":2,"manifests":["x", 5]}')
    with pytest.raises(VerificationError, match="malformed"):
        _ = manifest.manifests


def test_equal_data_is_one_text() -> None:
    assert canonical_json({"b": [1, "ü"], "a": None}) == '{"a":null,"b":[1,"ü"]}'.encode()
    assert Manifest.build({"manifests": [], "schemaVersion": 2}).raw == Manifest.build({"schemaVersion": 2, "manifests": []}).raw
