"""Both forms, judged by the validators of those who define them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from nexus_oci.oci.values import digest_of
from nexus_oci.sbom.catalogue import catalogue
from nexus_oci.sbom.cyclonedx import cyclonedx_document
from nexus_oci.sbom.model import Base, Catalogue, Subject
from nexus_oci.sbom.spdx import spdx_document
from tests.unit.sbom.kit import go_program, jar, rust_program, tree
from tests.unit.sbom.test_debian import COPYRIGHT, RELEASE, stanza

CRATES = [{"name": "serde", "version": "1.0.219", "source": "crates.io"}]


def everything() -> Catalogue:
    """One of each kind, with all that makes documents invalid: odd names, licences of one's own, nothing known, no UTF-8."""
    lower = {
        "usr/lib/os-release": RELEASE,
        "var/lib/dpkg/status.d/libstdc++6": stanza("libstdc++6", "14.2.0-19", Source="gcc-14"),
        "var/lib/dpkg/status.d/x": stanza("x", Maintainer="A, B <odd>", Homepage="not a web page"),
        "usr/share/doc/x/copyright": COPYRIGHT.replace(b"Expat", b"BSD and GPL-2+ with odd exception"),
        "etc/passwd": b"root",
    }
    upper = {
        "app/a-1.dist-info/METADATA": b"Name: a\nVersion: 1\nLicense: Some words\nAuthor: B <b@b.example>, C <c@c.example>\n",
        "app/node_modules/@s/a/package.json": b'{"name": "@s/a", "version": "1.0.0"}',
        "bin/go": go_program("mod\tnexus.example\t(devel)\t", "dep\tgolang.org/x/sys\tv0.1.0\th1:x"),
        "bin/rust": rust_program(CRATES),
        "lib/x.jar": jar({"META-INF/maven/g/a/pom.properties": b"groupId=g\nartifactId=a\nversion=1\n"}),
        "caf\udce9 \u00e9": b"a name that is no UTF-8",
    }
    subject = Subject(
        name="nexus-engine-runtime",
        version="1.0.0+build",
        digest=digest_of(b"image"),
        kind="image",
        platform="linux/amd64",
        epoch=1760000000,
        licence="Apache-2.0",
        supplier="The Makers <makers@nexus.example>",
        base=Base(name="nexus-oci.local/static", digest=digest_of(b"base")),
    )
    return catalogue(subject, tree(lower, upper, base=1))


def nothing() -> Catalogue:
    """An artifact with neither files nor packages."""
    subject = Subject(name="x.tar", version="", digest=digest_of(b"file"), kind="artifact", platform="", epoch=0, note="how")
    return catalogue(subject, tree())


def only_files() -> Catalogue:
    return catalogue(nothing().subject, tree({"a": b"1"}))


@pytest.mark.parametrize("make", [everything, nothing, only_files])
def test_the_spdx_document_is_valid_after_it_was_written_and_read_again(make):
    text = json.dumps(spdx_document(make()))
    assert [
        str(message) for message in validate_full_spdx_document(JsonLikeDictParser().parse(json.loads(text)), "SPDX-2.3")
    ] == []


@pytest.mark.parametrize("make", [everything, nothing, only_files])
def test_the_cyclonedx_document_is_valid(make):
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(cyclonedx_document(make())))
    assert fault is None, fault


def test_the_spdx_document_says_what_contains_what():
    document = spdx_document(everything())
    names = {item["SPDXID"]: item.get("name") or item["fileName"] for key in ("packages", "files") for item in document[key]}
    related = {
        (names.get(each["spdxElementId"], "document"), each["relationshipType"], names[each["relatedSpdxElement"]])
        for each in document["relationships"]
    }
    assert ("document", "DESCRIBES", "nexus-engine-runtime") in related
    assert ("nexus-engine-runtime", "DESCENDANT_OF", "nexus-oci.local/static") in related
    assert ("nexus-oci.local/static", "CONTAINS", "libstdc++6") in related
    assert ("nexus-oci.local/static", "CONTAINS", "./etc/passwd") in related
    assert ("nexus-engine-runtime", "CONTAINS", "a") in related
    assert ("a", "CONTAINS", "./app/a-1.dist-info/METADATA") in related
    assert ("./bin/go", "STATIC_LINK", "golang.org/x/sys") in related
    assert ("nexus-engine-runtime", "CONTAINS", "./bin/go") in related
    purls = {item["name"]: [ref["referenceLocator"] for ref in item.get("externalRefs", ())] for item in document["packages"]}
    assert purls["libstdc++6"] == ["pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64&distro=debian-13&upstream=gcc-14"]
    assert document["creationInfo"]["created"] == "2025-10-09T08:53:20Z"


def test_the_cyclonedx_document_says_who_owns_which_file_and_what_the_image_stands_on():
    document = cyclonedx_document(everything())
    root = document["metadata"]["component"]
    assert [ancestor["name"] for ancestor in root["pedigree"]["ancestors"]] == ["nexus-oci.local/static"]
    parts = {part["name"]: part for part in document["components"]}
    places = [place["location"] for place in parts["x"]["evidence"]["occurrences"]]
    assert sorted(places) == ["usr/share/doc/x/copyright", "var/lib/dpkg/status.d/x"]
    assert parts["etc/passwd"]["type"] == "file"
    assert document["metadata"]["timestamp"] == "2025-10-09T08:53:20+00:00"


def test_the_same_content_gives_the_same_documents_in_another_process():
    program = "from tests.unit.sbom.test_documents import written; print(written())"
    root = Path(__file__).resolve().parents[3]
    others = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=root, env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert others == {written()}


def written() -> str:
    """Both documents of everything, as the program writes them: with sorted names."""
    return json.dumps([spdx_document(everything()), cyclonedx_document(everything())], sort_keys=True)
