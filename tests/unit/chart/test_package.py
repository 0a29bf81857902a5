"""Packaging a chart folder."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from nexus_oci.chart import PackagedChart, chart_tag, package_chart
from nexus_oci.chart.package import MAX_FILE_SIZE
from nexus_oci.errors import DefinitionError

EPOCH = 1_700_000_000
DIGEST = "sha256:" + "ab" * 32
SHIPPED = Path(__file__).parents[3] / "helm" / "nexus-engine"
FILES = {
    "Chart.yaml": "# A chart.\napiVersion: v2\nname: demo\nversion: 0.0.0 # release\nappVersion: 0.0.0\n",
    "values.yaml": "image:\n  # Where from.\n  repository: x\n  digest: ''\n",
    "values.schema.json": "{}\n",
    ".helmignore": "*.bak\ncache/\n",
    "templates/b.yaml": "b: 1\n",
    "templates/a.yaml": "a: 1\n",
    "templates/a/c.yaml": "c: 1\n",
    "templates/.hidden": "",
    "README.md": "Ünïcode\n",
    "README.md.bak": "old\n",
    "cache/x": "x\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    """A chart folder with these files, made in this order."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def package(folder: Path, *, version: str = "1.2.3", epoch: int = EPOCH) -> PackagedChart:
    """The folder packaged, with an image written in."""
    values = {"image": {"repository": "registry.example/ns/runtime", "digest": DIGEST}}
    return package_chart(folder, version=version, app_version="1.2.3", values=values, epoch=epoch)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Files made in here get their modes by `mask`."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_the_same_chart_gives_the_same_bytes_whatever_the_folder_looks_like(tmp_path: Path) -> None:
    with umask(0o077):
        first = write(tmp_path / "one", FILES)
    with umask(0o000):
        second = write(tmp_path / "two" / "other-name", dict(reversed(FILES.items())))
    (second / "Chart.yaml").chmod(0o755)
    for path in second.rglob("*"):
        os.utime(path, (1, 1))
    assert package(first) == package(second) == package(first)


def test_the_archive_has_helms_layout_and_no_trace_of_the_machine(tmp_path: Path) -> None:
    chart = package(write(tmp_path, FILES))
    assert (chart.name, chart.version, chart.file_name, chart.tag) == ("demo", "1.2.3", "demo-1.2.3.tgz", "1.2.3")
    assert chart.archive[:4] == b"\x1f\x8b\x08\x00", "gzip with a name or a comment"
    assert chart.archive[4:8] == bytes(4), "gzip with a time"
    with tarfile.open(fileobj=io.BytesIO(chart.archive)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [
        "demo/Chart.yaml",
        "demo/values.yaml",
        "demo/values.schema.json",
        "demo/.helmignore",
        "demo/README.md",
        "demo/templates/a.yaml",
        "demo/templates/a/c.yaml",
        "demo/templates/b.yaml",
    ]
    assert {(m.mtime, m.mode, m.uid, m.gid, m.uname, m.gname, m.isreg()) for m in members} == {(EPOCH, 0o644, 0, 0, "", "", True)}


def test_versions_and_image_are_written_in_and_comments_stay(tmp_path: Path) -> None:
    chart = package(write(tmp_path, FILES), version="1.2.3-rc.1+build.5")
    with tarfile.open(fileobj=io.BytesIO(chart.archive)) as tar:
        texts = {m.name: tar.extractfile(m).read().decode() for m in tar.getmembers()}  # type: ignore[union-attr]
    assert texts["demo/Chart.yaml"] == (
        '# A chart.\napiVersion: v2\nname: demo\nversion: "1.2.3-rc.1+build.5" # release\nappVersion: "1.2.3"\n'
    )
    assert texts["demo/values.yaml"] == (
        f'image:\n  # Where from.\n  repository: "registry.example/ns/runtime"\n  digest: "{DIGEST}"\n'
    )
    assert json.loads(chart.config) == yaml.safe_load(texts["demo/Chart.yaml"])
    assert chart.tag == "1.2.3-rc.1_build.5"


def test_the_source_folder_is_left_as_it_was(tmp_path: Path) -> None:
    package(write(tmp_path, FILES))
    assert {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()} == FILES


def test_the_epoch_changes_the_archive_and_not_its_content(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    early, late = package(tmp_path), package(tmp_path, epoch=EPOCH + 1)
    assert early.archive != late.archive
    assert early.config == late.config


def test_a_long_or_foreign_name_survives(tmp_path: Path) -> None:
    name = f"files/{'long-' * 30}/ü.txt"
    chart = package(write(tmp_path, FILES | {name: "x"}))
    with tarfile.open(fileobj=io.BytesIO(chart.archive)) as tar:
        assert f"demo/{name}" in tar.getnames()


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3.4", "01.2.3", "latest", "", "1.2.3 ", "1.2.3\n"])
def test_a_version_that_is_not_semantic_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(DefinitionError, match="is not a semantic version"):
        package(write(tmp_path, FILES), version=version)


def test_a_version_too_long_for_a_tag_is_refused() -> None:
    with pytest.raises(DefinitionError, match="cannot be a tag"):
        chart_tag("1.2.3-" + "a" * 123)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Chart.yaml", "apiVersion: v2\nname: demo\nappVersion: a\n", r"Chart\.yaml has no key version"),
        ("Chart.yaml", FILES["Chart.yaml"].replace("v2", "v1"), "apiVersion is 'v1'; only v2"),
        ("Chart.yaml", FILES["Chart.yaml"].replace("demo", "../Demo"), r"name is '\.\./Demo'"),
        ("Chart.yaml", FILES["Chart.yaml"] + "type: plugin\n", "type is 'plugin'"),
        ("Chart.yaml", FILES["Chart.yaml"] + "annotations: {day: 2026-01-01}\n", "a value cannot be JSON"),
        ("Chart.yaml", FILES["Chart.yaml"] + "dependencies: [{name: redis}]\n", "'redis' is not in charts/"),
        ("Chart.yaml", FILES["Chart.yaml"] + "annotations: !!python/none x\n", r"Chart\.yaml cannot be read"),
        ("values.yaml", "image: {repository: x}\n", r"values\.yaml has no key image\.digest"),
        ("values.yaml", "", r"values\.yaml is empty"),
        (".helmignore", "values.yaml\n", r"it has no values\.yaml, or \.helmignore leaves it out"),
    ],
)
def test_a_chart_that_helm_would_not_load_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        package(write(tmp_path, FILES | {name: text}))


def test_every_fault_of_chart_yaml_is_told_at_once(tmp_path: Path) -> None:
    text = "apiVersion: v1\nname: Demo\nversion: 1\nappVersion: 1\ntype: x\n"
    with pytest.raises(DefinitionError, match="is not right") as caught:
        package(write(tmp_path, FILES | {"Chart.yaml": text}))
    assert len(caught.value.problems) == 3


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="nowhere is not a folder"):
        package(tmp_path / "nowhere")


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "values.yaml").write_bytes(b"image: \xff\n")
    with pytest.raises(DefinitionError, match=r"values\.yaml is not UTF-8"):
        package(tmp_path)


def test_a_link_out_of_the_chart_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    chart = write(tmp_path / "chart", FILES)
    (chart / "templates" / "link.yaml").symlink_to(secret)
    with pytest.raises(DefinitionError, match=r"link\.yaml is neither a file nor a folder"):
        package(chart)


def test_an_ignored_link_does_no_harm(tmp_path: Path) -> None:
    chart = write(tmp_path, FILES)
    (chart / "link.bak").symlink_to("/")
    assert package(chart).name == "demo"


def test_a_file_larger_than_helm_loads_is_refused(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "core").write_bytes(bytes(MAX_FILE_SIZE + 1))
    with pytest.raises(DefinitionError, match="core makes the chart too large"):
        package(tmp_path)


def test_the_shipped_chart_packages_with_repository_and_digest_written_in() -> None:
    chart = package(SHIPPED)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(chart.archive))) as tar:
        text = tar.extractfile("nexus-engine/values.yaml").read().decode()  # type: ignore[union-attr]
    shipped = (SHIPPED / "values.yaml").read_text()
    assert yaml.safe_load(text)["image"]["digest"] == DIGEST
    assert [line for line in text.splitlines() if "#" in line] == [line for line in shipped.splitlines() if "#" in line]
    changed = [old for old, new in zip(shipped.splitlines(), text.splitlines(), strict=True) if old != new]
    assert changed == ["  repository: nexus-engine", '  digest: ""']
