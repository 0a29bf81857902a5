"""Packages of library ecosystems, read by each one's own tool where it is on the machine."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from nexus_oci.errors import ArchiveError, DefinitionError
from nexus_oci.formats.libraries import maven, npm, nuget, wheel
from nexus_oci.formats.libraries.members import Member

EPOCH = 1_700_000_000
ABOUT = wheel.About(
    name="Nexus.Engine-Client", version="1.2.0rc1", summary="Evaluates\nrules", description="# Nexus\n", author="A B <a@b.example>",
    url="https://nexus.example", licence="Apache-2.0", texts={"LICENSE": b"text"},
)  # fmt: skip
FILES = [
    Member(path="nexus_engine/__init__.py", data=b"VALUE = 5\n"),
    Member(path="nexus_engine/bin/engine", data=b"#!/bin/sh\necho engine\n", executable=True),
]
PACKAGE = npm.About(
    name="@nexus/engine", version="1.2.0-rc.1", description="Rules", licence="Apache-2.0", exports={"main": "index.js"}
)


def made_wheel(folder: Path, platform: str = "linux/amd64", files: list[Member] | None = None) -> Path:
    path = folder / wheel.file_name(ABOUT, platform)
    with path.open("wb") as out:
        wheel.write_wheel(out, ABOUT, platform, files or FILES, EPOCH)
    return path


def test_pip_installs_a_wheel_and_its_program_can_be_run(tmp_path: Path) -> None:
    machine = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine]
    made = made_wheel(tmp_path, machine)
    target = tmp_path / "site"
    words = [
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--disable-pip-version-check",
        "--quiet",
        "--target",
        target,
        made,
    ]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([target / "nexus_engine/bin/engine"], capture_output=True, check=True).stdout == b"engine\n"
    code = "import importlib.metadata as m, nexus_engine as n; print(n.VALUE, m.version('nexus-engine-client'), m.metadata('nexus-engine-client')['License-Expression'])"
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(target)}, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["5", "1.2.0rc1", "Apache-2.0"]


def test_a_wheel_is_the_same_twice_and_lists_everything_in_its_record(tmp_path: Path) -> None:
    first = made_wheel(tmp_path).read_bytes()
    assert made_wheel(tmp_path, files=FILES[::-1]).read_bytes() == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        record = archive.read("nexus_engine_client-1.2.0rc1.dist-info/RECORD").decode()
        assert {line.split(",")[0] for line in record.splitlines()} == set(archive.namelist())
        assert archive.namelist()[-1].endswith("RECORD")
        metadata = archive.read("nexus_engine_client-1.2.0rc1.dist-info/METADATA").decode()
    assert "Summary: Evaluates rules\n" in metadata  # a line break in a value would begin another field


def test_a_platform_without_a_tag_and_a_path_without_a_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no wheels for plan9/amd64"):
        wheel.file_name(ABOUT, "plan9/amd64")
    with pytest.raises(ArchiveError):
        made_wheel(tmp_path, files=[Member(path="nexus/aux.py", data=b"")])
    with pytest.raises(DefinitionError, match="no npm packages"):
        npm.platform_name(PACKAGE, "plan9/amd64")
    with pytest.raises(DefinitionError, match="no NuGet content"):
        nuget.native_path("plan9/amd64", "engine")


def test_npm_brings_the_package_of_this_platform_with_the_client(tmp_path: Path) -> None:
    client, program = npm.client_manifest(PACKAGE, ["linux/arm64", "linux/amd64"]), npm.platform_manifest(PACKAGE, "linux/amd64")
    optional = json.loads(client)["optionalDependencies"]
    assert optional == {"@nexus/engine-linux-arm64": "1.2.0-rc.1", "@nexus/engine-linux-x64": "1.2.0-rc.1"}
    assert json.loads(program)["cpu"] == ["x64"]
    files = [Member(path="bin/engine", data=b"x", executable=True), Member(path="index.js", data=b"")]
    one, two = io.BytesIO(), io.BytesIO()
    npm.write_package(one, client, files, EPOCH)
    npm.write_package(two, client, files[::-1], EPOCH)
    assert one.getvalue() == two.getvalue()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(one.getvalue()))) as archive:
        assert archive.getnames() == ["package/bin/engine", "package/index.js", "package/package.json"]
        assert stat.S_IMODE(archive.getmember("package/bin/engine").mode) == 0o755
    if shutil.which("npm"):
        path = tmp_path / npm.file_name(PACKAGE.name, PACKAGE.version)
        path.write_bytes(one.getvalue())
        told = subprocess.run(
            ["npm", "pack", "--dry-run", "--json", "--offline", path], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)[0]["id"] == "@nexus/engine@1.2.0-rc.1"


def test_a_nuget_package_has_the_parts_that_opc_asks_for() -> None:
    about = nuget.About(identifier="Nexus.Engine", version="1.2.0-rc.1", authors="A & B", description="<rules>", licence="MIT")
    files = [
        Member(path=nuget.native_path("linux/amd64", "engine"), data=b"elf", executable=True),
        Member(path=nuget.native_path("windows/amd64", "engine.exe"), data=b"MZ"),
    ]
    one, two = io.BytesIO(), io.BytesIO()
    nuget.write_package(one, about, files, EPOCH)
    nuget.write_package(two, about, files[::-1], EPOCH)
    assert one.getvalue() == two.getvalue()
    assert nuget.file_name(about) == "Nexus.Engine.1.2.0-rc.1.nupkg"
    with zipfile.ZipFile(one) as archive:
        types = ET.fromstring(archive.read("[Content_Types].xml"))
        named = {one.get("PartName") for one in types if one.get("PartName")}
        extensions = {one.get("Extension") for one in types if one.get("Extension")}
        for path in set(archive.namelist()) - {"[Content_Types].xml"}:
            assert f"/{path}" in named or path.rpartition(".")[2] in extensions, path
        relations = ET.fromstring(archive.read("_rels/.rels"))
        assert {str(one.get("Target"))[1:] for one in relations} <= set(archive.namelist())
        spec = ET.fromstring(archive.read("Nexus.Engine.nuspec"))
    assert spec.findtext(".//{*}authors") == "A & B"
    assert spec.findtext(".//{*}description") == "<rules>"


JAR = maven.About(
    group="example.nexus",
    artifact="engine",
    version="1.2.0-rc-1",
    name="Engine",
    licence="Apache-2.0",
    developer="A B <a@b.example>",
)


def test_a_jar_begins_with_its_manifest_whose_lines_java_can_read(tmp_path: Path) -> None:
    long = "ü" * 60
    one = io.BytesIO()
    classifier, place = maven.native_path("linux/amd64", "engine")
    files = [Member(path=place, data=b"elf"), Member(path="A.txt", data=b"")]
    maven.write_jar(one, {"Implementation-Title": long}, files, EPOCH)
    with zipfile.ZipFile(one) as archive:
        assert archive.namelist() == ["META-INF/MANIFEST.MF", "A.txt", "META-INF/native/linux-x86_64/engine"]
        manifest = archive.read("META-INF/MANIFEST.MF")
    assert all(len(line) <= 72 for line in manifest.split(b"\r\n"))
    assert manifest.replace(b"\r\n ", b"").decode().splitlines()[2] == f"Implementation-Title: {long}"
    assert classifier == "linux-x86_64"
    if shutil.which("jar"):
        (tmp_path / "x.jar").write_bytes(one.getvalue())
        told = subprocess.run(["jar", "tf", tmp_path / "x.jar"], capture_output=True, text=True, check=True)
        assert place in told.stdout.split()


def test_a_repository_has_each_file_at_its_coordinates_with_its_checksums() -> None:
    found = maven.repository_paths(JAR, {JAR.file_name(extension="pom"): maven.pom(JAR)})
    folder = "example/nexus/engine/1.2.0-rc-1"
    assert set(found) == {f"{folder}/engine-1.2.0-rc-1.pom{end}" for end in ("", ".sha1", ".sha256")}
    pom = ET.fromstring(found[f"{folder}/engine-1.2.0-rc-1.pom"])
    assert pom.findtext("{*}developers/{*}developer/{*}email") == "a@b.example"
    assert JAR.file_name("sources") == "engine-1.2.0-rc-1-sources.jar"
