"""`reproduce`: a clean clone gives the same digests, and of anything else it names exactly what is not the same."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest, canonical_json, digest_of
from tests.integration.conftest import Reference
from tests.integration.engines_support import small_project
from tests.integration.test_bad_packages import small as packages_of
from tests.support.openpgp_keys import armored, make_key
from tests.support.projects import Project

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.support.registry"]
PASSPHRASE = {"NEXUS_OCI_KEY_PASSPHRASE": "a passphrase"}
MODULE = "svc/__main__.py"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, native: str) -> Project:
    """A small engine with one dependency, in a git repository, built for one platform."""
    engine = "runtime: python, command: [python3, -m, svc], python: {requirements: requirements.txt, include: [svc]}"
    files = {"requirements.txt": "idna==3.10\n", MODULE: "import idna\n", ".gitignore": "dist/\n"}
    project = small_project(tmp_path_factory.mktemp("original") / "project", engine, files)
    project.commit()
    project.done("build", "--platform", native)
    return project


@pytest.fixture
def clone(original: Project, tmp_path: Path) -> Project:
    """A clean clone, without what was built."""
    subprocess.run(["git", "clone", "--quiet", str(original.root), str(tmp_path / "clone")], check=True)
    return Project(root=tmp_path / "clone")


def differences(clone: Project, original: Project) -> dict[str, Any]:
    """The report of a reproduction that must fail."""
    finished = clone.run("--json", "reproduce", str(original.dist), "--use-cache")
    assert finished.code == 4, finished.story()
    assert "was not reproduced" in finished.err
    report: dict[str, Any] = finished.data
    assert report["reproduced"] is False
    return report


def inputs(report: dict[str, Any]) -> set[str]:
    return {each["what"] for each in report["inputs"]}


def test_a_clean_clone_of_the_reference_gives_the_same_digest_without_any_cache(reference: Reference, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", str(reference.project.root), str(tmp_path / "clone")], check=True)
    clone = Project(root=tmp_path / "clone", environment=reference.project.environment)
    report = clone.done("--json", "reproduce", str(reference.dist)).data
    assert report == {
        "digest": reference.digest, "rebuilt": reference.digest, "reproduced": True,
        "inputs": [], "differences": [], "passed_over": [],
    }  # fmt: skip
    assert not (clone.root / "dist").exists()


def test_an_environment_variable_is_named_with_both_values(clone: Project, original: Project) -> None:
    clone.write("images/container.yaml", "distribution: container\nimage: {ports: [8080], environment: {GREETING: hello}}\n")
    report = differences(clone, original)
    assert {"definition", "source dirty"} <= inputs(report)
    (difference,) = report["differences"]
    assert difference["where"][-1] == "config"
    assert (difference["field"], difference["then"], difference["now"]) == ("config.Env", "", "GREETING=hello")


def test_times_of_files_in_a_clone_or_a_stage_change_nothing_that_is_released(
    clone: Project, original: Project, native: str
) -> None:
    os.utime(clone.root / MODULE, (86400, 86400))
    text = clone.template("python.Dockerfile.j2")
    start, end, rest = text.rpartition("{% endblock %}")
    clone.write("dockerfiles/python.Dockerfile.j2", f"{start}RUN touch -d @86400 /out/usr/lib/small/app/{MODULE}\n{end}{rest}")
    report = clone.done("--json", "reproduce", str(original.dist), "--use-cache").data
    assert report["reproduced"] is True
    assert inputs(report) == {f"Dockerfile container {native}"}


def test_the_time_of_one_file_that_was_changed_in_the_release_is_named(
    clone: Project, original: Project, native: str, tmp_path: Path
) -> None:
    project = original.copy(tmp_path / "doctored", with_dist=True)
    name = f"usr/lib/small/app/{MODULE}"
    doctor(project, name, mtime=86400)
    report = differences(clone, project)
    assert report["inputs"] == []
    (difference,) = report["differences"]
    assert difference["where"] == ["release", "container", native, "layer 2", name]
    assert (difference["field"], difference["then"]) == ("mtime", "86400")


def doctor(project: Project, name: str, *, mtime: int) -> None:
    """Change the time of one file in the last layer of the only image, and everything above it, provenance included."""
    store = Store.open(project.dist / "oci")
    release = store.tags()["1.0.0"]
    (index,) = store.manifest(release).manifests
    (image,) = store.manifest(index).manifests
    data = {**store.manifest(image).data}
    layer = Descriptor.from_json(data["layers"][-1])
    tar = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(gzip.decompress(store.read(layer)))) as before,
        tarfile.open(fileobj=tar, mode="w") as after,
    ):
        for member in before:
            member.mtime = mtime if member.name == name else member.mtime
            after.addfile(member, before.extractfile(member) if member.isreg() else None)
    config = json.loads(store.read(Descriptor.from_json(data["config"])))
    config["rootfs"]["diff_ids"][-1] = digest_of(tar.getvalue())
    data["config"] = store.put(canonical_json(config), data["config"]["mediaType"]).to_json()
    data["layers"] = [*data["layers"][:-1], store.put(gzip.compress(tar.getvalue()), layer.media_type).to_json()]
    new = replace(store.put_manifest(Manifest.build(data)), platform=image.platform)
    above = store.put_manifest(Manifest.build({**store.manifest(index).data, "manifests": [new.to_json()]}))
    above = replace(above, annotations=index.annotations)
    top = store.put_manifest(Manifest.build({**store.manifest(release).data, "manifests": [above.to_json()]}))
    store.tag("1.0.0", top)
    statement = json.loads((project.dist / "provenance.json").read_text())
    statement["subject"] = [{"digest": {"sha256": top.digest.hex}}]
    (project.dist / "provenance.json").write_text(json.dumps(statement))


def test_the_version_of_one_package_is_named_first(clone: Project, original: Project) -> None:
    clone.edit("requirements.txt", "3.10", "3.9")
    report = differences(clone, original)
    assert inputs(report) == {"source dirty", "context source", "context source/requirements.txt"}
    first, *rest = report["differences"]
    assert first["where"][-1] == "packages"
    assert (first["field"], first["then"], first["now"]) == ("pypi idna", "3.10", "3.9")
    assert rest
    told = ["/".join([*each["where"], each["field"]]) for each in rest]
    assert [place for place in told if "idna" not in place and "app/requirements.txt" not in place] == []


def test_a_changed_line_of_the_source_is_named(clone: Project, original: Project) -> None:
    clone.write(MODULE, "import idna\nprint('changed')\n")
    report = differences(clone, original)
    assert inputs(report) == {"source dirty", "context source"}
    assert [(each["where"][-1], each["field"], each["now"]) for each in report["differences"]] == [
        (f"usr/lib/small/app/{MODULE}", "size", "29"),
        (f"usr/lib/small/app/{MODULE}", "line 2", "print('changed')"),
    ]


def test_a_release_and_an_image_in_a_registry_are_reproduced_under_the_key_that_signed_their_provenance(
    clone: Project, original: Project, registry: str, tmp_path: Path
) -> None:
    project = original.copy(tmp_path / "signed", with_dist=True)
    for name in ("mine", "other"):
        project.done("keygen", "--output", str(tmp_path / name), **PASSPHRASE)
    project.done("attest", "--key", str(tmp_path / "mine.key"), "--type", "provenance", **PASSPHRASE)
    pushed = project.done("--json", "push", f"{registry}/team", "--plain-http").data
    for name in (pushed["release"], next(name for name in pushed["names"] if "/container:" in name)):
        command = ("reproduce", name, "--use-cache", "--plain-http", "--key")
        report = clone.done("--json", *command, str(tmp_path / "mine.pub")).data
        assert (report["reproduced"], report["inputs"]) == (True, [])
        message = clone.run(*command, str(tmp_path / "other.pub")).refused(4)
        assert "no provenance of" in message
        assert "signed by a key that was given" in message


def test_what_has_no_provenance_is_not_guessed_at(clone: Project, original: Project, tmp_path: Path) -> None:
    project = original.copy(tmp_path / "bare", with_dist=True)
    (project.dist / "provenance.json").unlink()
    message = clone.run("reproduce", str(project.dist)).refused(1)
    assert "has no provenance" in message
    assert "nexus-oci attest" in message


PACKAGES = "tar.gz, tar.zst, deb, rpm, apt, yum"


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A program in packages and repositories, signed with an OpenPGP key that the test forgets."""
    folder = tmp_path_factory.mktemp("packaged")
    project = packages_of(folder / "project", PACKAGES)
    project.write(".gitignore", "dist/\n")
    project.commit()
    (folder / "key").write_bytes(armored(make_key()))
    project.done("build", "--openpgp-key", str(folder / "key"))
    return project


def test_of_signed_packages_all_but_the_signatures_is_reproduced_by_who_has_not_the_key(
    packaged: Project, tmp_path: Path
) -> None:
    copy = packaged.copy(tmp_path / "clone")
    report = copy.done("--json", "reproduce", str(packaged.dist), "--use-cache").data
    assert report["reproduced"] is True
    assert report["digest"] != report["rebuilt"]
    assert inputs(report) == {"signer"}
    assert report["passed_over"] == ["apt", "prov", "yum", "signatures in rpm packages"]


def test_one_line_of_one_file_is_named_in_every_format_of_a_release_in_a_registry(
    packaged: Project, registry: str, tmp_path: Path
) -> None:
    copy = packaged.copy(tmp_path / "clone")
    name = packaged.done("--json", "push", f"{registry}/packaged", "--plain-http").data["release"]
    copy.write("engine/readme", "read it\n")
    provenance = ("--provenance", str(packaged.dist / "provenance.json"))
    finished = copy.run("--json", "reproduce", name, "--plain-http", "--use-cache", *provenance)
    assert finished.code == 4, finished.story()
    report: dict[str, Any] = finished.data
    top = "small-1.0.0-linux-amd64"
    readme = "usr/share/small/readme"
    told = {(*each["where"][2:], each["field"], each["then"], each["now"]) for each in report["differences"]}
    change = ("line 1", "read me", "read it")
    assert told == {
        (f"{top}.tar.gz", f"{top}/share/small/readme", *change),
        (f"{top}.tar.zst", f"{top}/share/small/readme", *change),
        ("small_1.0.0_amd64.deb", "data.tar.xz", readme, *change),
        ("small-1.0.0-1.x86_64.rpm", readme, *change),
    }


def test_the_time_of_one_file_in_a_package_is_named(packaged: Project, tmp_path: Path) -> None:
    """Times are those of the release, so that only what was changed after the build has another."""
    project = packaged.copy(tmp_path / "doctored", with_dist=True)
    copy = packaged.copy(tmp_path / "clone")
    store = Store.open(project.dist / "oci")
    release = store.tags()["1.0.0"]
    children = [child.to_json() for child in store.manifest(release).manifests]
    (number,) = [at for at, child in enumerate(children) if child["annotations"].get("dev.nexus-oci.format") == "tar.gz"]
    artifact = {**store.manifest(Descriptor.from_json(children[number])).data}
    (layer,) = artifact["layers"]
    name = "small-1.0.0-linux-amd64/share/small/readme"
    data = retimed(store.read(Descriptor.from_json(layer)), name, 86400)
    artifact["layers"] = [{**layer, "digest": digest_of(data), "size": len(data)}]
    store.put(data, layer["mediaType"])
    made = store.put_manifest(Manifest.build(artifact))
    children[number] |= {"digest": made.digest, "size": made.size}
    top = store.put_manifest(Manifest.build({**store.manifest(release).data, "manifests": children}))
    store.tag("1.0.0", top)
    statement = json.loads((project.dist / "provenance.json").read_text())
    statement["subject"] = [{"digest": {"sha256": top.digest.hex}}]
    (project.dist / "provenance.json").write_text(json.dumps(statement))
    (difference,) = differences(copy, project)["differences"]
    assert difference["where"][-2:] == ["small-1.0.0-linux-amd64.tar.gz", name]
    assert (difference["field"], difference["then"]) == ("mtime", "86400")


def retimed(archive: bytes, name: str, mtime: int) -> bytes:
    """The archive with another time of one file."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as before, tarfile.open(fileobj=tar, mode="w") as after:
        assert name in before.getnames()
        for member in before:
            member.mtime = mtime if member.name == name else member.mtime
            after.addfile(member, before.extractfile(member) if member.isreg() else None)
    return gzip.compress(tar.getvalue(), mtime=0)
