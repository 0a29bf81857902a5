"""Layers out of an engine's image export, in each of the shapes that engines write."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_oci.errors import ArchiveError, VerificationError
from nexus_oci.oci import docker_archive
from nexus_oci.oci.docker_archive import layers_from_docker_archive, legacy_ids
from nexus_oci.oci.layer import Layer, Rewriting, store_layer
from nexus_oci.oci.store import Store

EPOCH = 1_700_000_000


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def layer_tar(name: str, size: int = 100) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = size, EPOCH + 5
        tar.addfile(info, io.BytesIO(name[:1].encode() * size))
    return buffer.getvalue()


TARS = [layer_tar("base", 3 << 20), layer_tar("middle"), layer_tar("last"), layer_tar("middle")]
DIFF_IDS = [f"sha256:{sha256(data)}" for data in TARS]


def archive(files: dict[str, bytes | str]) -> bytes:
    """An archive of files, and of links where the content is text, sorted by name as engines do."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def manifest(paths: list[str], images: int = 1) -> bytes:
    return json.dumps([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": paths}] * images).encode()


def legacy(created: str = "1970-01-01T00:00:00Z", *, json_files: bool = True, ids: list[str] | None = None) -> bytes:
    """Docker up to 24: folders by v1 id, a layer that comes twice as a link."""
    ids = ids or [*legacy_ids(DIFF_IDS, created), sha256(b"the whole configuration")]
    files: dict[str, bytes | str] = {"manifest.json": manifest([f"{name}/layer.tar" for name in ids])}
    for position, (name, data) in enumerate(zip(ids, TARS, strict=True)):
        first = DIFF_IDS.index(DIFF_IDS[position])
        files[f"{name}/layer.tar"] = data if first == position else f"../{ids[first]}/layer.tar"
        files[f"{name}/VERSION"] = b"1.0"
        about = {"id": name, "created": created if position < len(ids) - 1 else "2026-01-01T00:00:00Z"}
        if position:
            about["parent"] = ids[position - 1]
        if json_files:
            files[f"{name}/json"] = json.dumps(about).encode()
    files["repositories"] = b"{}"
    return archive(files)


def oci(compress: bool = False) -> bytes:
    """Docker 25 and later: content-addressed blobs, and, with containerd's store, compressed ones."""
    config, index = b'{"rootfs":{}}', b'{"schemaVersion":2}'
    files: dict[str, bytes | str] = {f"blobs/sha256/{sha256(data)}": data for data in (config, index)}
    paths = []
    for data in TARS:
        blob = gzip.compress(data, 1, mtime=0) if compress else data
        files[f"blobs/sha256/{sha256(blob)}"] = blob
        paths.append(f"blobs/sha256/{sha256(blob)}")
    files.update({"manifest.json": manifest(paths), "index.json": b"{}", "oci-layout": b"{}"})
    return archive(files)


def podman() -> bytes:
    files: dict[str, bytes | str] = {f"{sha256(data)}.tar": data for data in TARS}
    files |= {f"{number:064x}/layer.tar": f"../{sha256(data)}.tar" for number, data in enumerate(TARS)}
    files["manifest.json"] = manifest([f"{sha256(data)}.tar" for data in TARS])
    return archive(files)


SHAPES = {
    "legacy": legacy(),
    "legacy elsewhere": legacy("1970-01-01T01:00:00+01:00"),
    "legacy of another engine": legacy(ids=[f"{number:064x}" for number in (9, 3, 5, 1)]),
    "legacy without json": legacy(json_files=False),
    "oci": oci(),
    "oci compressed": oci(compress=True),
    "podman": podman(),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def expected(tmp_path: Path) -> list[Layer]:
    other = Store.create(tmp_path / "other")
    return [store_layer(other, [data], Rewriting(epoch=EPOCH)) for data in TARS]


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each blob that had to be read before it was known what it is."""
    seen: list[int] = []
    take = docker_archive._Export._take_unknown

    def counted(self: docker_archive._Export, data: Iterator[memoryview]) -> str | None:
        seen.append(1)
        return take(self, data)

    monkeypatch.setattr(docker_archive._Export, "_take_unknown", counted)
    return seen


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("told", [True, False])
def test_all_layers_come_in_order_from_any_shape(shape: str, told: bool, store: Store, expected: list[Layer]) -> None:
    data = SHAPES[shape]
    pieces = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
    diff_ids = DIFF_IDS if told else None
    layers = layers_from_docker_archive(pieces, store=store, epoch=EPOCH, diff_ids=diff_ids)
    assert layers == expected
    assert all(store.intact(layer.descriptor) for layer in layers)
    assert list(store.scratch.iterdir()) == []


@pytest.mark.parametrize("shape", ["legacy", "legacy elsewhere", "oci", "podman"])
def test_layers_are_known_by_their_place_before_they_are_read(
    shape: str, store: Store, unknown: list[int], expected: list[Layer]
) -> None:
    known = dict(zip(DIFF_IDS, expected, strict=True))
    data = SHAPES[shape]
    assert layers_from_docker_archive([data], store=store, epoch=EPOCH, diff_ids=DIFF_IDS, known=known) == expected
    blobs_of_json = 2 if shape == "oci" else 0
    may_be_out_of_reach = 1 if shape == "legacy elsewhere" else 0
    assert blobs_of_json <= len(unknown) <= blobs_of_json + may_be_out_of_reach
    assert list((store.root / "blobs" / "sha256").iterdir()) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_known_layers_are_not_made_again_where_their_place_is_not_known(shape: str, store: Store, expected: list[Layer]) -> None:
    known = {DIFF_IDS[0]: expected[0]}
    layers = layers_from_docker_archive([SHAPES[shape]], store=store, epoch=EPOCH, known=known)
    assert layers == expected
    assert not store.has(expected[0].descriptor)
    assert store.has(expected[1].descriptor)


def test_the_ids_are_those_that_docker_20_10_gives() -> None:
    """Taken from an export of an image of four layers by the real engine."""
    diff_ids = [
        "sha256:67fe6c3033640ef5a61e24bd54ad45c45670075ec90da76d416dfe496471ddcf",
        "sha256:0a08267f55a2d5f42e8cc0993fb5d833a989f00a6c845fb0192ffa7e9ac2ae80",
        "sha256:837dc38c7763d379e607d0d772f78aee5f4e3e93f6891b1c1d835cd56da6ef54",
        "sha256:837dc38c7763d379e607d0d772f78aee5f4e3e93f6891b1c1d835cd56da6ef54",
    ]
    assert legacy_ids(diff_ids) == [
        "c6281cbdfce3f7b563f36d228aff9e57190c50bd02e70ba9cda1a9d06ebcc82f",
        "3872e98947000eb3c40edbf2209c1b660385cf3a2e4d9796f989624e7996d539",
        "e164b36753132772c18530250120df0cb0545e4b70cefe1f39e13e81aed5a6aa",
    ]


def test_other_layers_than_the_engine_said_are_refused(store: Store) -> None:
    swapped = [DIFF_IDS[1], DIFF_IDS[0], *DIFF_IDS[2:]]
    with pytest.raises(VerificationError, match="the image x has other layers than the engine said"):
        layers_from_docker_archive([oci()], store=store, epoch=EPOCH, diff_ids=swapped, origin="the image x")


def test_an_export_that_lacks_a_layer_is_refused(store: Store) -> None:
    data = archive({"manifest.json": manifest(["a/layer.tar"])})
    with pytest.raises(ArchiveError, match=r"lacks a layer.*\n.*'a/layer\.tar' is not there"):
        layers_from_docker_archive([data], store=store, epoch=EPOCH)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no valid manifest.json"),
        ({"manifest.json": b"{"}, "no valid manifest.json"),
        ({"manifest.json": b"[]"}, "no valid manifest.json"),
        ({"manifest.json": b"{}"}, "no valid manifest.json"),
        ({"manifest.json": b"[" * 100_000}, "no valid manifest.json"),
        ({"manifest.json": manifest([], images=2)}, "holds 2 images"),
        ({"manifest.json": b" " * (5 << 20)}, "too large"),
        ({"../manifest.json": b"[]"}, r"with \.\."),
        ({f"blobs/sha256/{'0' * 64}": b"\x28\xb5\x2f\xfd" + bytes(600)}, "compressed with zstd"),
        ({f"blobs/sha256/{'0' * 64}": b"\x1f\x8b" + bytes(600)}, "gzip data of .* is damaged"),
        ({f"blobs/sha256/{'0' * 64}": gzip.compress(TARS[0])[:-100]}, "gzip data of .* is truncated"),
        ({f"blobs/sha256/{'0' * 64}": b"no tar"}, "malformed"),
    ],
)
def test_a_malformed_export_is_refused(files: dict[str, bytes | str], message: str, store: Store) -> None:
    with pytest.raises(ArchiveError, match=message):
        layers_from_docker_archive([archive(files)], store=store, epoch=EPOCH)
    assert list(store.scratch.iterdir()) == []


def test_a_hostile_layer_inside_an_export_is_refused(store: Store) -> None:
    evil = layer_tar("../escape")
    data = archive({f"{sha256(evil)}.tar": evil, "manifest.json": manifest([f"{sha256(evil)}.tar"])})
    for diff_ids in ([f"sha256:{sha256(evil)}"], None):
        with pytest.raises(ArchiveError, match=r"'\.\./escape'"):
            layers_from_docker_archive([data], store=store, epoch=EPOCH, diff_ids=diff_ids)
