from __future__ import annotations

import io

import pytest

from nexus_oci.sbom.programs import parts_of
from tests.unit.sbom.kit import go_program, jar, rust_program, tree


def parts(name: str, data: bytes) -> list[tuple[str, str, str]]:
    return [
        (part.kind, f"{part.group}:{part.name}" if part.group else part.name, part.version)
        for part in parts_of(name, io.BytesIO(data))
    ]


def test_a_go_program_tells_its_modules_those_that_replaced_others_and_go_itself():
    program = go_program(
        "path\tnexus.example/cmd/engine",
        "mod\tnexus.example\t(devel)\t",
        "dep\tgolang.org/x/sys\tv0.30.0\th1:aGVsbG8=",
        "dep\texample.org/old\tv1.0.0\th1:aGVsbG8=",
        "=>\texample.org/fork\tv1.0.1\th1:aGVsbG8=",
        "build\t-compiler=gc",
    )
    assert parts("bin/engine", program) == [
        ("golang", "example.org/fork", "v1.0.1"),
        ("golang", "golang.org/x/sys", "v0.30.0"),
        ("golang", "nexus.example", ""),
        ("golang", "stdlib", "1.24.4"),
    ]


@pytest.mark.parametrize("wide", [True, False])
def test_a_rust_program_tells_the_crates_that_are_in_it_and_not_those_that_built_it(wide):
    crates = [
        {"name": "serde", "version": "1.0.219", "source": "crates.io"},
        {"name": "cc", "version": "1.2.0", "source": "crates.io", "kind": "build"},
        {"name": "engine", "version": "0.1.0", "source": "local", "root": True},
    ]
    assert parts("bin/engine", rust_program(crates, wide=wide)) == [("cargo", "engine", "0.1.0"), ("cargo", "serde", "1.0.219")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF",
        b"\x7fELF" + b"\xff" * 200,
        rust_program([])[:-80],
        rust_program("no list"),
        rust_program([{"name": "x"}]),
        go_program()[:40],
    ],
)
def test_a_damaged_program_has_no_parts_that_can_be_told(data):
    assert [part for part in parts("x", data) if part[0] == "cargo"] == []


def test_a_java_archive_tells_maven_coordinates_also_of_archives_in_it():
    inner = jar({"META-INF/maven/org.x/inner/pom.properties": b"#x\ngroupId=org.x\nartifactId=inner\nversion=2.0\n"})
    outer = jar({
        "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\nImplementation-Title: app\r\nImplementation-Version: 1.2\r\n\r\n",
        "BOOT-INF/lib/inner-2.0.jar": inner,
        "BOOT-INF/lib/plain-3.1.jar": jar({"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n"}),
    })  # fmt: skip
    assert parts("lib/app.jar", outer) == [("maven", "app", "1.2"), ("maven", "plain", "3.1"), ("maven", "org.x:inner", "2.0")]


@pytest.mark.parametrize(
    ("name", "manifest", "found"),
    [
        ("javax.inject-1.jar", None, ("javax.inject", "1")),
        ("guava-33.2.1-jre.jar", b"Bundle-SymbolicName: com.google.guava\nBundle-Version: 33.2.1.jre\n", ("guava", "33.2.1-jre")),
        ("log4j-1.2-api-2.17.1.jar", None, ("log4j-1.2-api", "2.17.1")),
        ("asm-9.7.jar", b"Bundle-SymbolicName: org.objectweb.asm\nBundle-Version: 9.7.0\n", ("asm", "9.7")),
        ("app.jar", b"Bundle-SymbolicName: org.x.app;singleton:=true\nBundle-Version: 1.2.3\n", ("org.x.app", "1.2.3")),
        ("app.jar", None, ("app", "")),
    ],
)
def test_a_java_archive_without_maven_s_files_is_known_by_its_name_then_by_its_manifest(name, manifest, found):
    members = {"META-INF/MANIFEST.MF": manifest} if manifest else {"A.class": b""}
    assert parts(f"lib/{name}", jar(members)) == [("maven", *found)]


def test_a_java_archive_that_runs_by_itself_has_a_script_in_front(tmp_path):
    data = b"#!/bin/sh\nexec java -jar $0\n" + jar({"META-INF/maven/g/a/pom.properties": b"groupId=g\nartifactId=a\nversion=1\n"})
    (part,) = tree({"lib/run.jar": data}).nodes["lib/run.jar"].parts
    assert (part.group, part.name, part.version) == ("g", "a", "1")


APACHE = b"<project><licenses><license><name>%s</name><url>%s</url></license></licenses></project>"


@pytest.mark.parametrize(
    ("pom", "manifest", "licence"),
    [
        (APACHE % (b"Apache License, Version 2.0", b""), b"", "Apache-2.0"),
        (APACHE % (b"Some words", b"https://www.apache.org/licenses/LICENSE-2.0.txt"), b"", "Apache-2.0"),
        (APACHE % (b"Some words", b"https://nexus.example/own"), b"", ""),
        (b"<project/>", b"Bundle-License: http://www.opensource.org/licenses/mit-license.php\n", "MIT"),
        (b"<project/>", b'Bundle-License: "Apache 2.0";link="http://www.apache.org/x"\n', "Apache-2.0"),
        (b"<project/>", b"Bundle-License: BSD-3-Clause;link=https://a.example, EPL-2.0\n", "BSD-3-Clause OR EPL-2.0"),
        (b"<project/>", b"", ""),
    ],
)
def test_a_java_archive_s_licence_is_its_project_s_else_its_manifest_s(pom, manifest, licence):
    archive = jar({
        "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n" + manifest,
        "META-INF/maven/g/a/pom.properties": b"groupId=g\nartifactId=a\nversion=1\n",
        "META-INF/maven/g/a/pom.xml": pom,
    })  # fmt: skip
    assert [part.licence for part in parts_of("lib/a.jar", io.BytesIO(archive))] == [licence]


def test_what_only_looks_like_a_java_archive_has_none():
    assert parts("lib/app.jar", b"PK\x03\x04 and then nothing") == []


def test_programs_are_looked_into_while_a_layer_is_read_and_forgotten_when_they_are_removed():
    program = go_program("mod\tnexus.example\tv1.0.0\t")
    assert tree({"bin/x": program}).nodes["bin/x"].parts
    assert "bin/x" not in tree({"bin/x": program}, {"bin/.wh.x": b""}).nodes
