"""What the package stages are given: the context's files and the template's values, from a definition on disk."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.bases.values import LockedPackage
from nexus_oci.definition import load
from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.contexts import Stamp
from nexus_oci.pipeline.package_values import interpreter_version
from nexus_oci.pipeline.packagers import find_nfpm
from nexus_oci.pipeline.packaging import Packaging, Variant
from nexus_oci.render.context import ContextFile, from_tree, in_memory

ROOT = Path(__file__).parents[3]
NFPM = Path(sys.executable).parent / "nfpm"
NEXUS = """\
engine:
  name: shop
  version: 1.0.0
  source: source
  runtime: {runtime}
  command: [{command}]
  maintainer: Ann <ann@shop.example>
  licenses: Apache-2.0
  description: Sells things over the counter.
"""
RUNTIME = """\
distribution: runtime
platforms: [linux/amd64]
formats: [tar.gz, deb, rpm]
package:
"""


@pytest.fixture
def packaging(tmp_path: Path) -> Callable[..., Packaging]:
    """The packaging of a small definition with a `package:` block."""

    def make(package: str, *, runtime: str = "go", command: str = "shop", **settings: Any) -> Packaging:
        (tmp_path / "images").mkdir()
        (tmp_path / "images/nexus.yaml").write_text(NEXUS.format(runtime=runtime, command=command))
        (tmp_path / "images/runtime.yaml").write_text(RUNTIME + "".join(f"  {line}\n" for line in package.splitlines()))
        source = tmp_path / "source"
        for name in (
            "a.toml",
            "conf/b.toml",
            "conf/deep/c.toml",
            "doc/shop.8",
            "LICENSE",
            "NOTICE.md",
            "run.sh",
            "requirements.txt",
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(f"#!/bin/sh\n# {name}\n")
        definition = load(tmp_path, defaults=ROOT)
        distribution = definition.distribution("runtime")
        assert distribution is not None
        return Packaging(
            definition=definition,
            distribution=distribution,
            platform=Platform.parse("linux/amd64"),
            source=from_tree(source, "source"),
            stamp=Stamp(version="1.0.0", commit="c0ffee", epoch=1_767_225_600),
            **settings,
        )

    return make


def read(files: dict[str, ContextFile], name: str) -> Any:
    data = files[name].data
    assert data is not None
    return json.loads(data + b"[]}" if name.endswith(".head") else data)


def special(files: dict[str, ContextFile], packager: str) -> Any:
    return next(said["entries"] for said in read(files, "package/stage.json")["contents"] if said["packager"] == packager)


def test_files_of_every_format_are_there_once_and_others_in_their_formats_tree(packaging: Callable[..., Packaging]) -> None:
    block = (
        "files:\n  /etc/shop: conf\n  /opt/only: {source: a.toml, formats: [rpm]}\noverrides: {deb: {files: {/opt/deb: a.toml}}}"
    )
    files = packaging(block).files()
    assert {"package/tree/etc/shop/b.toml", "package/tree/etc/shop/deep/c.toml"} <= set(files)
    assert {name for name in files if "/opt/" in name} == {"package/trees/rpm/opt/only", "package/trees/deb/opt/deb"}
    assert "package/trees/deb/usr/share/doc/shop/copyright" in files
    assert "nexus/nexus_oci/staging/stage.py" in files


def test_what_is_said_of_a_path_reaches_the_stage_and_nfpm(packaging: Callable[..., Packaging]) -> None:
    files = packaging(
        'files:\n  /etc/shop: {source: conf, config: true, mode: "0640", group: shop}\n  /x: {kind: link, target: y}\n'
        '  /var/empty: {kind: directory, mode: "0700"}\n  /var/log/x: {kind: ghost}\n  /r: {source: a.toml, kind: doc, language: de}'
    ).files()
    entries = special(files, "rpm")
    assert entries["/etc/shop/b.toml"] == {"type": "config|noreplace", "owner": "root", "group": "shop", "mode": "0640"}
    assert (entries["/var/log/x"]["type"], entries["/r"]["language"], entries["/var/empty"]["mode"]) == ("ghost", "de", "0700")
    assert (files["package/tree/x"].link, files["package/tree/var/empty"].mode) == ("y", 0o700)
    assert "package/tree/var/log/x" not in files
    deb, rpm, tar = read(files, "package/stage.json")["layouts"]
    assert (deb["tree"], rpm["tree"], tar["tree"]) == ("/staged/deb", "/staged/rpm", "/staged/tar/shop-1.0.0-linux-amd64")
    assert "/var/log/x" not in rpm["files"]
    assert deb["files"]["/etc/shop/deep/c.toml"]["mode"] == "0640"


def test_the_next_version_differs_in_version_and_configuration_and_not_in_the_engine(packaging: Callable[..., Packaging]) -> None:
    made = packaging("files: {/etc/a: {source: a.toml, config: true}, /opt/a: a.toml}", variant=Variant(version="1.0.1"))
    files = made.files()
    before = (made.source["source/a.toml"].path or Path()).read_bytes()
    assert files["package/tree/etc/a"].data == before + b"\n"
    assert files["package/tree/opt/a"] == made.source["source/a.toml"]
    assert read(files, "package/deb/nfpm.head")["version"] == "1.0.1"
    assert [entry["file"] for entry in made.values()["packers"]] == ["shop_1.0.1_amd64.deb", "shop-1.0.1-1.x86_64.rpm"]


def test_the_stages_do_not_depend_on_which_formats_are_asked_for(packaging: Callable[..., Packaging]) -> None:
    whole = packaging("meta: {name: shop-all}")
    distribution = whole.distribution.model_copy(update={"formats": ("image", "deb")})
    part = Packaging(
        definition=whole.definition, distribution=distribution, platform=whole.platform, source=whole.source, stamp=whole.stamp
    )
    assert part.files() == whole.files()
    assert part.values() == whole.values()
    assert {entry["meta"] for entry in whole.values()["packers"]} == {"shop-all_1.0.0_amd64.deb", "shop-all-1.0.0-1.x86_64.rpm"}


def test_verified_files_are_packaged_like_others(packaging: Callable[..., Packaging]) -> None:
    policy = in_memory(b"{}")
    assert (
        packaging("section: net", added={"/usr/share/shop/policies/p.json": policy}).files()[
            "package/tree/usr/share/shop/policies/p.json"
        ]
        == policy
    )


def test_an_interpreter_is_asked_for_in_the_version_of_the_base(packaging: Callable[..., Packaging]) -> None:
    made = packaging("service: {}", runtime="python", command="python3, -m, shop", interpreter="3.13.5")
    deb = read(made.files(), "package/deb/nfpm.head")
    assert "python3 (>= 3.13~)" in deb["depends"]
    assert made.package("deb").service is not None
    assert made.package("deb").service.command == ("/usr/bin/shop",)  # type: ignore[union-attr]  # looked at above


def test_the_interpreters_version_is_that_of_debians_package() -> None:
    def locked(name: str, version: str) -> LockedPackage:
        return LockedPackage(name=name, version=version, architecture="amd64", filename="f", size=1, sha256="0" * 64)

    packages = [locked("libc6", "2.41-12"), locked("python3", "3.13.5-1"), locked("nodejs", "1:20.19.2+dfsg-1")]
    assert [interpreter_version(runtime, packages) for runtime in ("python", "node", "go")] == ["3.13.5", "20.19.2", ""]
    assert interpreter_version("python", packages[:1]) == ""


def test_fields_of_nfpm_bring_their_files(packaging: Callable[..., Packaging]) -> None:
    block = (
        "nfpm:\n  rpm: {scripts: {posttrans: run.sh}}\n  contents:\n    - {src: conf, dst: /opt/conf, type: tree}\n"
        "    - {src: '*.toml', dst: /opt/all, type: config}\n    - {src: run.sh, dst: /opt/bin/, file_info: {mode: 493}}\n"
        "    - {dst: /opt/rpm, src: a.toml, packager: rpm}\n    - {dst: /opt/link, src: ../x, type: symlink}"
    )
    files = packaging(block, nfpm=NFPM if NFPM.is_file() else None).files()
    rpm = read(files, "package/rpm/nfpm.head")
    assert rpm["rpm"]["scripts"] == {"posttrans": "/package/rpm/source/run.sh"}
    assert "package/rpm/source/run.sh" in files
    assert {
        "package/trees/deb/opt/conf/deep/c.toml",
        "package/trees/deb/opt/all/a.toml",
        "package/trees/deb/opt/bin/run.sh",
    } <= set(files)
    assert (files["package/trees/deb/opt/link"].link, files["package/trees/deb/opt/bin/run.sh"].mode) == ("../x", 0o755)
    assert "package/trees/rpm/opt/rpm" in files
    assert special(files, "deb")["/opt/all/a.toml"] == {"type": "config"}


@pytest.mark.skipif(not NFPM.is_file(), reason="nfpm is not installed")
def test_a_field_that_nfpm_does_not_have_is_told_with_its_line(packaging: Callable[..., Packaging]) -> None:
    made = packaging("nfpm:\n  deb:\n    compresion: xz", nfpm=NFPM)
    with pytest.raises(DefinitionError, match="package.nfpm is not what nfpm takes") as caught:
        made.files()
    assert "images/runtime.yaml:7:7: nfpm has no field 'compresion' here; did you mean 'compression'?" in caught.value.problems[0]


@pytest.mark.parametrize("block", ["nfpm: {scripts: {preinstall: none.sh}}", "nfpm: {contents: [{src: none, dst: /x}]}"])
def test_a_file_that_the_source_does_not_have_is_refused(packaging: Callable[..., Packaging], block: str) -> None:
    with pytest.raises(DefinitionError, match=r"'none(\.sh)?' is not in the engine's source"):
        packaging(block).files()


@pytest.mark.parametrize(
    ("title", "description", "synopsis"),
    [
        ("", "Sells things.", "Sells things"),
        ("SHOP", "SHOP: sells things.", "sells things"),
        (
            "",
            "Evaluates rules " + "and explains decisions, " * 6,
            "Evaluates rules and explains decisions, and explains decisions",
        ),
    ],
)
def test_a_synopsis_is_one_short_line_without_the_name(
    packaging: Callable[..., Packaging], title: str, description: str, synopsis: str
) -> None:
    made = packaging("section: net")
    engine = made.definition.engine.model_copy(update={"title": title, "description": description})
    distribution = made.distribution.model_copy(update={"description": ""})
    object.__setattr__(made.definition, "engine", engine)
    object.__setattr__(made, "distribution", distribution)
    first, *rest = made.package("deb").description.splitlines()
    assert first == synopsis
    assert rest


def test_a_missing_nfpm_is_told_with_all_that_asks_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DefinitionError, match="the definition asks for deb, rpm and apk, and nfpm is not installed"):
        find_nfpm(Platform.parse("linux/amd64"), ("deb", "rpm", "apk"))
