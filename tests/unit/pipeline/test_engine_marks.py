"""By what a program is known as the engine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nexus_oci.definition import load
from nexus_oci.definition.definition import Definition
from nexus_oci.pipeline.engine_marks import defined, marks_of, plain_name
from nexus_oci.pipeline.inspection import SeenFile
from tests.unit.policy_kit import ROOT, elf


@pytest.mark.parametrize(
    "path",
    ["bin/engine", "Engine.exe", "x.zip!win\\engine.exe", "engine-1.2.3", "engine_linux_amd64", "engine-v1.0.0-darwin-arm64", "engine-linux-x86_64-static"],
)  # fmt: skip
def test_a_name_is_what_is_left_without_version_and_platform(path: str) -> None:
    assert plain_name(path) == "engine"


@pytest.mark.parametrize(
    ("path", "name"), [("engine-client", "engine-client"), ("linux", "linux"), ("sdk/my-engine", "my-engine"), ("1.0", "1.0")]
)
def test_other_names_stay(path: str, name: str) -> None:
    assert plain_name(path) == name


def test_an_interpreter_is_no_engine_though_the_image_starts_it() -> None:
    configs = [
        {"config": {"Entrypoint": ["python3.13", "server.py"]}},
        {"config": {"Cmd": ["/usr/bin/shop", "serve"]}},
        {"config": None},
        {},
    ]
    assert marks_of(configs, [], None, ["A Shop", "Store"]).names == {"shop", "store"}


def test_the_checker_of_entitlements_is_no_engine_and_what_it_starts_is() -> None:
    configs = [{"config": {"Entrypoint": ["/usr/libexec/shop/entitlement", "--", "shop"], "Cmd": ["serve"]}}]
    assert marks_of(configs, [], None, []).names == {"shop"}


def test_modules_are_those_of_what_the_images_start() -> None:
    programs = [
        ("runtime", SeenFile(path="usr/bin/shop", mode=0o755, program=True, digest="1", module="shop.example/shop")),
        ("runtime", SeenFile(path="usr/bin/probe", mode=0o755, program=True, digest="2", module="other.example/probe")),
    ]
    marks = marks_of([{"config": {"Entrypoint": ["shop"]}}], programs, None, [])
    assert marks.modules == {"shop.example/shop"}
    assert marks.why(SeenFile(path="x", mode=0, program=True, digest="9", module="other.example/probe")) == ""
    assert "byte for byte" in marks.why(SeenFile(path="x", mode=0, program=True, digest="2"))


def project(folder: Path, engine: str) -> Definition:
    (folder / "images").mkdir()
    (folder / "images/nexus.yaml").write_text(
        f"engine: {{name: shop, version: 1.0.0, source: app, {engine}}}\nplatforms: [linux/amd64]\n"
    )
    (folder / "images/sdk.yaml").write_text("distribution: sdk\nimage: {files: {/sdk: sdk}}\n")
    return load(folder, defaults=ROOT)


def test_the_definition_tells_of_an_engine_that_is_not_in_the_release(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/go.mod").write_text("module shop.example/engine\n\ngo 1.24\n")
    marks = defined(project(tmp_path, "runtime: go, go: {binary: shopd}"))
    assert marks.names == {"shop", "shopd"}
    assert marks.modules == {"shop.example/engine"}


def test_programs_that_were_built_elsewhere_are_known_by_their_bytes(tmp_path: Path) -> None:
    tree = tmp_path / "app/tree/bin"
    tree.mkdir(parents=True)
    (tree / "server").write_bytes(elf(b"x"))
    (tree / "readme").write_text("x")
    engine = "runtime: binary, binary: {trees: {linux/amd64: tree}}, command: [server]"
    marks = defined(project(tmp_path, engine))
    assert marks.digests == {hashlib.sha256(elf(b"x")).hexdigest(): "bin/server of the engine's source"}
    assert marks.names == {"shop", "server"}


def test_a_source_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    assert defined(project(tmp_path, "runtime: go")).modules == frozenset()
