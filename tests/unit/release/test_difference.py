"""Two builds of one thing, made here with one change each: the change is named, and nothing else."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, Platform
from nexus_oci.release.assemble import BuiltFile, Named, store_artifact, store_index, store_release
from nexus_oci.release.difference import Comparison, Difference, Side
from nexus_oci.transfer.store_end import StoreEnd

PLATFORM = Platform(os="linux", architecture="amd64")


def tar(files: Mapping[str, bytes], **changes: Mapping[str, Any]) -> bytes:
    """A tar of files; `changes` sets a field of a file's header, as in mode={"a": 0o600}."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            for key, values in changes.items():
                if name in values:
                    setattr(info, key, values[name])
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def deb(control: bytes, data: bytes) -> bytes:
    made = b"!<arch>\n"
    members = {"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(control, mtime=0), "data.tar.xz": lzma.compress(data)}
    for name, content in members.items():
        made += (
            f"{name:<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )
    return made


BINARY = bytes(range(256)) * 40
FILES = {"bin/tool": BINARY, "etc/x.conf": b"one\ntwo\nthree\n", "usr/share/x": b"1"}
PACKAGE = deb(tar({"control": b"Package: x\nVersion: 1.0\n"}), tar(FILES))


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a release is made of here."""

    layer: bytes = gzip.compress(tar(FILES), mtime=0)
    config: Mapping[str, Any] = field(default_factory=lambda: {"config": {"Env": ["A=1", "B=2"], "User": "65532"}})
    package: bytes = PACKAGE
    other: bytes = b"an rpm"
    notes: Mapping[str, str] = field(default_factory=lambda: {media_types.VERSION: "1.0.0"})
    chart: bool = False


def build(store: Store, content: Content) -> Descriptor:
    """The release index of an image, a Debian package and an rpm."""
    config = store.put(
        json.dumps({**content.config, "rootfs": {"diff_ids": [str(len(content.layer))]}}).encode(), media_types.CONFIG
    )
    layer = store.put(content.layer, media_types.LAYER_GZIP)
    manifest = {"schemaVersion": 2, "mediaType": media_types.MANIFEST, "config": config.to_json(), "layers": [layer.to_json()]}
    image = replace(store.put_manifest(Manifest.build(manifest)), platform=PLATFORM)
    index = store_index(store, [image], content.notes)
    artifacts = []
    for name, data in (("deb", content.package), ("rpm", content.other)):
        blob = store.put(data, media_types.ARTIFACTS[name][1])
        title = f"x.{name}"
        file = BuiltFile(distribution="runtime", platform=PLATFORM, format=name, title=title, files=((title, blob),))
        artifacts.append(store_artifact(store, file, index, {}))
    images = [Named(descriptor=index, repository="runtime", tag="1.0.0")]
    charts = [Named(descriptor=index, repository="charts/x", tag="1.0.0")] if content.chart else []
    return store_release(store, images=images, artifacts=artifacts, charts=charts, annotations={})


def compare(tmp_path: Path, now: Content, *, passed_over: frozenset[str] = frozenset()) -> list[Difference]:
    stores = [Store.create(tmp_path / name) for name in ("then", "now")]
    sides = [Side(source=StoreEnd(store)) for store in stores]
    roots = [build(store, content) for store, content in zip(stores, (Content(), now), strict=True)]
    return list(Comparison(then=sides[0], now=sides[1], passed_over=passed_over).run(*roots, "release"))


def layered(files: Mapping[str, bytes] = FILES, **changes: Mapping[str, Any]) -> Content:
    return Content(layer=gzip.compress(tar(files, **changes), mtime=0))


IMAGE = ("release", "runtime", "linux/amd64")
LAYER = (*IMAGE, "layer 1")
DEB = ("release", "deb runtime x.deb", "x.deb")


@pytest.mark.parametrize(
    ("now", "where", "field", "before", "after"),
    [
        (layered(mtime={"etc/x.conf": 5}), (*LAYER, "etc/x.conf"), "mtime", "0", "5"),
        (layered(mode={"bin/tool": 0o4755}), (*LAYER, "bin/tool"), "mode", "0644", "4755"),
        (layered(uid={"bin/tool": 7}), (*LAYER, "bin/tool"), "uid", "0", "7"),
        (layered({**FILES, "etc/x.conf": b"one\nTwo\nthree\n"}), (*LAYER, "etc/x.conf"), "line 2", "two", "Two"),
        (layered({**FILES, "usr/share/x": b"\0"}), (*LAYER, "usr/share/x"), "byte 0", "31", "00"),
        (layered({**FILES, "new": b""}), LAYER, "new", "", "there"),
        (layered({key: FILES[key] for key in ("bin/tool", "etc/x.conf")}), LAYER, "usr/share/x", "there", ""),
        (layered(dict(reversed(FILES.items()))), LAYER, "order of the files", "bin/tool", "usr/share/x"),
        (
            Content(layer=gzip.compress(tar(FILES), 1, mtime=0)), LAYER, "encoding", "the same files",
            "the same files, written or compressed otherwise",
        ),
        (
            Content(config={"config": {"Env": ["A=1", "B=3"], "User": "65532"}}), (*IMAGE, "config"), "config.Env",
            "B=2", "B=3",
        ),
        (Content(config={"config": {"Env": ["A=1", "B=2"]}}), (*IMAGE, "config"), "config.User", "65532", ""),
        (Content(notes={media_types.VERSION: "1.0.1"}), ("release", "runtime"), f"annotation {media_types.VERSION}", "1.0.0", "1.0.1"),
        (
            Content(package=deb(tar({"control": b"Package: x\nVersion: 1.1\n"}), tar(FILES))),
            (*DEB, "control.tar.gz", "control"), "line 2", "Version: 1.0", "Version: 1.1",
        ),
        (
            Content(package=deb(tar({"control": b"Package: x\nVersion: 1.0\n"}), tar(FILES, mode={"bin/tool": 0o755}))),
            (*DEB, "data.tar.xz", "bin/tool"), "mode", "0644", "0755",
        ),
        (Content(other=b"an RPM"), ("release", "rpm runtime x.rpm", "x.rpm"), "line 1", "an rpm", "an RPM"),
        (Content(chart=True), ("release",), "charts/x", "", "there"),
    ],
)  # fmt: skip
def test_one_change_is_named_and_nothing_else(tmp_path, now, where, field, before, after):
    assert compare(tmp_path, now) == [Difference(where=where, field=field, then=before, now=after)]


def test_what_is_the_same_has_no_differences(tmp_path):
    assert compare(tmp_path, Content()) == []


def test_a_binary_is_told_by_its_size_and_its_first_byte(tmp_path):
    changed = bytearray(BINARY + b"more")
    changed[1000] = 255
    size, byte = compare(tmp_path, layered({**FILES, "bin/tool": bytes(changed)}))
    assert (size.field, size.then, size.now) == ("size", "10240", "10244")
    assert (byte.field, byte.then[:5], byte.now[:5]) == ("byte 1000", "e8 e9", "ff e9")
    assert str(byte).startswith("release → runtime → linux/amd64 → layer 1 → bin/tool: byte 1000: e8 e9")


def test_formats_that_carry_signatures_can_be_passed_over(tmp_path):
    assert compare(tmp_path, Content(other=b"signed"), passed_over=frozenset({"rpm"})) == []


def test_many_files_that_changed_are_all_named_but_only_some_are_looked_into(tmp_path):
    files = {f"f{number:02}": b"then" for number in range(30)}
    then, now = (layered(dict.fromkeys(files, text)) for text in (b"then", b"NOW!"))
    stores = [Store.create(tmp_path / name) for name in ("a", "b")]
    roots = [build(store, content) for store, content in zip(stores, (then, now), strict=True)]
    sides = [Side(source=StoreEnd(store)) for store in stores]
    found = list(Comparison(then=sides[0], now=sides[1]).run(*roots, "release"))
    assert [item.where[-1] for item in found] == sorted(files)
    assert [item.field for item in found] == ["line 1"] * 20 + ["content"] * 10


def repository(store: Store, content: Content, readme: bytes) -> Descriptor:
    """A release with a repository that is made of its Debian package, and has a file of its own."""
    root = store.manifest(build(store, content))
    index = root.manifests[0]
    files = {
        "apt/pool/x.deb": store.put(content.package, media_types.ARTIFACTS["deb"][1]),
        "apt/README": store.put(readme, "text/plain"),
    }
    file = BuiltFile(distribution="runtime", platform=None, format="apt", title="apt", files=tuple(files.items()))
    made = store_artifact(store, file, index, {})
    children = [*(child.to_json() for child in root.manifests), made.to_json()]
    return store.put_manifest(Manifest.build({**root.data, "manifests": children}))


def test_a_repository_whose_packages_differ_is_not_told_file_by_file_and_else_is(tmp_path):
    stores = [Store.create(tmp_path / name) for name in "abc"]
    changed = Content(package=deb(tar({"control": b"Package: x\nVersion: 1.1\n"}), tar(FILES)))
    contents = [(Content(), b"one\n"), (changed, b"two\n"), (Content(), b"two\n")]
    roots = [repository(store, *content) for store, content in zip(stores, contents, strict=True)]
    sides = [Side(source=StoreEnd(store)) for store in stores]
    found = list(Comparison(then=sides[0], now=sides[1]).run(roots[0], roots[1], "release"))
    assert found == [
        Difference(where=(*DEB, "control.tar.gz", "control"), field="line 2", then="Version: 1.0", now="Version: 1.1"),
        Difference(where=("release", "apt runtime apt"), field="content", then="of the deb then", now="of the deb now"),
    ]
    found = list(Comparison(then=sides[0], now=sides[2]).run(roots[0], roots[2], "release"))
    where = ("release", "apt runtime apt", "apt/README")
    assert found == [Difference(where=where, field="line 1", then="one", now="two")]


def test_what_says_again_how_files_are_is_told_only_where_nothing_else_differs(tmp_path):
    files = {"p/SHA256SUMS": b"1  p/a\n", "p/manifest.json": b"1", "p/a": b"1\n", "manifest.json": b"1\n"}
    changed = {name: data.replace(b"1", b"2") for name, data in files.items()}
    then, now = layered(files), layered(changed)
    stores = [Store.create(tmp_path / name) for name in "ab"]
    roots = [build(store, content) for store, content in zip(stores, (then, now), strict=True)]
    sides = [Side(source=StoreEnd(store)) for store in stores]
    found = list(Comparison(then=sides[0], now=sides[1]).run(*roots, "release"))
    assert [item.where[-1] for item in found] == ["manifest.json", "p/a"]
    lone = [build(store, layered({**files, "p/SHA256SUMS": data})) for store, data in zip(stores, (b"1", b"2"), strict=True)]
    (only,) = Comparison(then=sides[0], now=sides[1]).run(*lone, "release")
    assert only.where[-1] == "p/SHA256SUMS"


def test_what_a_config_says_again_is_told_once(tmp_path):
    def config(base: str, **more: Any) -> dict[str, Any]:
        return {"config": {"Labels": {media_types.BASE_NAME: base, **more}}, "history": [{"created_by": base}]}

    stores = [Store.create(tmp_path / name) for name in "ab"]
    made = []
    for store, base in zip(stores, ("then", "now"), strict=True):
        content = replace(layered({**FILES, "etc/base": base.encode()}), config=config(base, own=base))
        image = store.manifest(build(store, content)).manifests[0]
        (child,) = store.manifest(image).manifests
        data = {**store.manifest(child).data, "annotations": {media_types.BASE_NAME: base}}
        made.append(store.put_manifest(Manifest.build(data)))
    sides = [Side(source=StoreEnd(store)) for store in stores]
    found = list(Comparison(then=sides[0], now=sides[1]).run(*made, "image"))
    assert [(item.where[-1], item.field) for item in found if item.field != "size"] == [
        ("image", f"annotation {media_types.BASE_NAME}"), ("config", "config.Labels.own"), ("etc/base", "line 1"),
    ]  # fmt: skip
