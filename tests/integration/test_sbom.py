"""SBOMs and provenance of real releases: complete, the same twice, signed so that a reader of the specifications finds them true."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from packageurl import PackageURL

from tests.integration.conftest import Reference
from tests.integration.engines_support import engine_project
from tests.support.peers import real_cosign
from tests.support.projects import REPOSITORY, Layout, Project

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.support.registry"]

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PASSPHRASE = {"NEXUS_OCI_KEY_PASSPHRASE": "a passphrase"}
ARCHITECTURES = {"linux/amd64": "amd64", "linux/arm64": "arm64"}


def purls(document: dict[str, Any], kind: str) -> set[tuple[str, str]]:
    """Name and version of every package of one kind in an SPDX document."""
    found = set()
    for package in document["packages"]:
        for reference in package.get("externalRefs", ()):
            purl = PackageURL.from_string(reference["referenceLocator"])
            if purl.type == kind:
                found.add(("/".join(part for part in (purl.namespace, purl.name) if part), purl.version or ""))
    return found


def unpacked(store: Layout, layers: list[str]) -> Iterator[tuple[str, bytes]]:
    """The regular files of layers that remove nothing."""
    for digest in layers:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(store.blob(digest)))) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name, content.read()


@pytest.fixture(scope="module")
def described(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The reference project with SBOMs beside its store, and a key."""
    project = reference.project.copy(tmp_path_factory.mktemp("described") / "project", with_dist=True)
    project.done("build", "--sbom")
    project.done("keygen", "--output", str(project.root / "release"), **PASSPHRASE)
    return project


@pytest.mark.parametrize("platform", ARCHITECTURES)
def test_an_image_s_sbom_lists_what_dpkg_and_the_lock_say_and_every_file(described: Project, platform: str) -> None:
    store = Layout(described.dist / "oci")
    (tag,) = [name for name in store.tags() if name.startswith("runtime:")]
    image = store.images(tag)[platform]
    document = json.loads((described.dist / "sbom" / f"runtime-{platform.replace('/', '-')}.spdx.json").read_text())

    files = dict(unpacked(store, image.layers))
    assert {file["fileName"].removeprefix("./") for file in document["files"]} == set(files)
    sums = {file["fileName"].removeprefix("./"): file["checksums"][1]["checksumValue"] for file in document["files"]}
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}

    stanzas = [data.decode() for name, data in files.items() if re.fullmatch(r"var/lib/dpkg/status\.d/(?!.*\.md5sums$).+", name)]
    known = {tuple(re.search(rf"(?m)^{key}: (.*)$", text)[1] for key in ("Package", "Version")) for text in stanzas}
    lock = json.loads((described.root / "images" / "bases.lock").read_text())["bases"]["static"]["packages"]
    locked = {(package["name"], package["version"]) for package in lock[ARCHITECTURES[platform]]}
    assert {(name.removeprefix("debian/"), version) for name, version in purls(document, "deb")} == known == locked
    assert ("stdlib", "1.24.4") in purls(document, "golang")


def owned(document: dict[str, Any]) -> dict[str, set[str]]:
    """Package → its files, from the relationships of an SPDX document."""
    names = {item["SPDXID"]: item.get("name") or item["fileName"] for key in ("packages", "files") for item in document[key]}
    found: dict[str, set[str]] = {}
    for each in document["relationships"]:
        if each["relationshipType"] == "CONTAINS" and "File" in each["relatedSpdxElement"]:
            found.setdefault(names[each["spdxElementId"]], set()).add(names[each["relatedSpdxElement"]].removeprefix("./"))
    return found


def test_a_file_belongs_to_the_package_whose_checksums_list_it(described: Project) -> None:
    document = json.loads((described.dist / "sbom" / "runtime-linux-amd64.spdx.json").read_text())
    store = Layout(described.dist / "oci")
    files = dict(
        unpacked(store, store.images(next(name for name in store.tags() if name.startswith("runtime:")))["linux/amd64"].layers)
    )
    listed = files["var/lib/dpkg/status.d/tzdata.md5sums"].decode().splitlines()
    assert len(listed) > 100
    assert {line[34:] for line in listed} <= owned(document)["tzdata"]
    assert "usr/bin/nexus-engine" in owned(document)["nexus-engine-runtime"]


@dataclass(frozen=True)
class Engine:
    """One of the test engines, built for both platforms with SBOMs."""

    project: Project

    def document(self, platform: str) -> dict[str, Any]:
        """The SPDX document of its image for a platform."""
        found: dict[str, Any] = json.loads(
            (self.project.dist / "sbom" / f"container-{platform.replace('/', '-')}.spdx.json").read_text()
        )
        return found

    def files(self, platform: str) -> dict[str, bytes]:
        """The files of its image for a platform."""
        store = Layout(self.project.dist / "oci")
        (tag,) = [found for found in store.tags() if found.startswith("container:")]
        return dict(unpacked(store, store.images(tag)[platform].layers))

    def locked(self, platform: str) -> set[tuple[str, str]]:
        """What the lock says of the base that its image stands on."""
        lock = json.loads((REPOSITORY / "images" / "bases.lock").read_text())["bases"]
        provenance = json.loads((self.project.dist / "provenance.json").read_text())["predicate"]["buildDefinition"]
        pinned = {each["name"]: each["digest"]["sha256"] for each in provenance["resolvedDependencies"]}
        own = {
            name.split()[1] for name in pinned if name.startswith("base ") and not name.split()[1].endswith(("-build", "toolbox"))
        }
        (base,) = own
        return {(each["name"], each["version"]) for each in lock[base]["packages"][ARCHITECTURES[platform]]}


@pytest.fixture(scope="module", params=["python", "node"])
def described_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Engine]:
    project = engine_project(request.param, tmp_path_factory.mktemp("engine") / request.param, {})
    project.done("build", "--sbom", "--platform", "linux/amd64", "--platform", "linux/arm64")
    return request.param, Engine(project)


@pytest.mark.parametrize("platform", ARCHITECTURES)
def test_an_engine_s_sbom_lists_every_package_of_its_lock_and_of_its_base_on_every_platform(
    described_engine: tuple[str, Engine], platform: str
) -> None:
    runtime, built = described_engine
    document, files = built.document(platform), built.files(platform)
    listed = {file["fileName"].removeprefix("./") for file in document["files"]}
    assert listed == set(files)
    assert {(name.removeprefix("debian/"), version) for name, version in purls(document, "deb")} == built.locked(platform)
    if runtime == "python":
        lines = (built.project.root / "requirements.txt").read_text().splitlines()
        wanted = {(match[1], match[2]) for line in lines if (match := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)", line))}
        assert len(wanted) > 10
        assert purls(document, "pypi") == {(name.lower().replace("_", "-"), version) for name, version in wanted}
        module = "usr/lib/statistics-engine/lib/python3.13/site-packages/starlette/applications.py"
        assert module in owned(document)["starlette"]
        return
    lock = json.loads((built.project.root / "package-lock.json").read_text())["packages"]
    app = "usr/lib/fingerprint-engine/app"
    here = {path: entry for path, entry in lock.items() if path and f"{app}/{path}/package.json" in files}
    required = {path for path, entry in lock.items() if path and not entry.get("dev") and not entry.get("optional")}
    assert required <= set(here)
    assert len(required) > 40
    wanted = {(entry.get("name") or path.rpartition("node_modules/")[2], entry["version"]) for path, entry in here.items()}
    assert purls(document, "npm") == wanted


def test_sboms_are_files_of_the_release_the_same_twice_and_leave_with_it(described: Project, tmp_path: Path) -> None:
    project = described.copy(tmp_path / "again", with_dist=True)
    before = {path.name: path.read_bytes() for path in (project.dist / "sbom").iterdir()}
    sums = (project.dist / "SHA256SUMS").read_text()
    assert {f"sbom/{name}" for name in before} | {"provenance.json"} <= {line[66:] for line in sums.splitlines()}
    artifacts = {path.name for path in (project.dist / "artifacts" / "runtime").iterdir() if path.is_file()}
    assert artifacts
    assert {f"{name}.{form}.json" for name in artifacts for form in ("spdx", "cdx")} <= set(before)
    for path in (project.dist / "sbom").iterdir():
        path.unlink()
    provenance = (project.dist / "provenance.json").read_bytes()
    project.done("build", "--sbom")
    assert {path.name: path.read_bytes() for path in (project.dist / "sbom").iterdir()} == before
    assert (project.dist / "provenance.json").read_bytes() == provenance
    project.done("build")
    assert not (project.dist / "sbom").exists()


def test_the_provenance_names_the_commit_the_dockerfiles_the_bases_and_every_package(described: Project) -> None:
    statement = json.loads((described.dist / "provenance.json").read_text())
    digest = json.loads((described.dist / "metadata.json").read_text())["release"]
    assert {"digest": {"sha256": digest.removeprefix("sha256:")}} in statement["subject"]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["epoch"] == 1772600767
    assert definition["externalParameters"]["source"]["dirty"] is False
    found = {each["name"]: each for each in definition["resolvedDependencies"]}
    plan = described.done("--json", "plan").data
    for name, text in plan["dockerfiles"].items():
        assert found[f"Dockerfile {name}"]["digest"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    for step in plan["steps"]:
        if step["kind"] == "base" and "rootfs" in step["inputs"]:
            assert found[step["id"]]["digest"]["sha256"] == step["inputs"]["rootfs"].removeprefix("sha256:")
    lock = json.loads((described.root / "images" / "bases.lock").read_text())["bases"]["static"]["packages"]["arm64"]
    for package in lock:
        assert found[f"deb {package['name']} {package['architecture']} of static"]["digest"]["sha256"] == package["sha256"]


def statements(store: Layout, key: ec.EllipticCurvePublicKey) -> list[tuple[str, dict[str, Any]]]:
    """Every attested statement of a store and what it refers to; the signature of each must be right (DSSE, protocol.md)."""
    found = []
    for entry in store.entries():
        manifest = store.json(entry)
        if manifest.get("artifactType") != BUNDLE:
            continue
        (layer,) = manifest["layers"]
        envelope = store.json(layer)["dsseEnvelope"]
        body, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
        (signature,) = envelope["signatures"]
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
        key.verify(base64.b64decode(signature["sig"]), signed, ec.ECDSA(hashes.SHA256()))
        statement = json.loads(body)
        assert manifest["annotations"]["dev.sigstore.bundle.predicateType"] == statement["predicateType"]
        found.append((manifest["subject"]["digest"], statement))
    return found


def test_everything_is_attested_with_signatures_that_hold_and_no_statement_twice(described: Project, tmp_path: Path) -> None:
    project = described.copy(tmp_path / "attested", with_dist=True)
    key = str(project.root / "release.key")
    done = project.done("--json", "attest", "--key", key, **PASSPHRASE).data
    public = serialization.load_pem_public_key((project.root / "release.pub").read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    found = statements(Layout(project.dist / "oci"), public)
    assert len(found) == done["statements"] == done["added"]
    kinds: dict[str, set[str]] = {}
    for subject, statement in found:
        kinds.setdefault(subject, set()).add(statement["predicateType"])
        assert {"sha256": subject.removeprefix("sha256:")} in [each["digest"] for each in statement["subject"]]
    outputs = json.loads((project.dist / "manifest.json").read_text())["outputs"]
    sboms = {"https://spdx.dev/Document", "https://cyclonedx.org/bom"}
    images = {output["digest"] for output in outputs if output["format"] == "image" and output["platform"]}
    assert images
    assert all(kinds[digest] == {*sboms, "https://slsa.dev/provenance/v1"} for digest in images)
    files = {output["digest"] for output in outputs if output["path"].startswith("artifacts/") and output["platform"]}
    said = {f"sha256:{each['digest']['sha256']}" for _, s in found if s["predicateType"] in sboms for each in s["subject"]}
    assert files <= said
    assert kinds[done["digest"]] == {"https://slsa.dev/provenance/v1"}
    assert project.done("--json", "attest", "--key", key, **PASSPHRASE).data["added"] == 0
    builder = "https://ci.example/workflow@v1"
    other = ("attest", "--key", key, "--type", "provenance", "--builder-id", builder)
    assert project.done("--json", *other, **PASSPHRASE).data["added"] == done["manifests"]
    said_by = {
        s["predicate"]["runDetails"]["builder"]["id"]
        for _, s in statements(Layout(project.dist / "oci"), public)
        if "runDetails" in s["predicate"]
    }
    assert builder in said_by


def test_what_was_pushed_with_its_statements_has_them_and_what_was_not_gets_them_there(
    described: Project, registry: str, native: str, tmp_path: Path
) -> None:
    key = str(described.root / "release.key")
    project = described.copy(tmp_path / "pushed", with_dist=True)
    project.done("build", "--distribution", "container", "--platform", native)
    bare = project.done("--json", "push", f"{registry}/bare", "--plain-http").data["release"]
    attest = ("--json", "attest", bare, "--key", key, "--plain-http")
    first = project.done(*attest, **PASSPHRASE).data
    assert first["manifests"] == 4  # the release, the index, the image, the chart
    assert first["statements"] == 6
    assert first["added"] >= 6  # in the repository of releases, and in that of the friendly name
    assert project.done(*attest, **PASSPHRASE).data["added"] == 0

    project.done("attest", "--key", key, **PASSPHRASE)
    full = project.done("--json", "push", f"{registry}/full", "--plain-http").data["release"]
    again = project.done("--json", "attest", full, "--key", key, "--plain-http", **PASSPHRASE).data
    assert (again["statements"], again["added"]) == (6, 0)

    outputs = json.loads((project.dist / "manifest.json").read_text())["outputs"]
    (image,) = [output["digest"] for output in outputs if output["format"] == "image" and output["platform"]]
    known = ("--key", str(described.root / "release.pub"), "--insecure-ignore-tlog=true", "--allow-http-registry")
    for kind in ("spdxjson", "cyclonedx", "slsaprovenance1"):
        outcome = real_cosign().run("verify-attestation", *known, "--type", kind, f"{registry}/full/engine@{image}")
        assert outcome.code == 0, outcome.err


def test_without_a_key_or_with_another_build_s_provenance_it_is_refused(described: Project, tmp_path: Path) -> None:
    message = described.run("attest").refused(2)
    assert "no key was given" in message
    assert "nexus-oci keygen" in message
    key = str(described.root / "release.key")
    statement = json.loads((described.dist / "provenance.json").read_text())
    statement["subject"] = [{"digest": {"sha256": "0" * 64}}]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(statement))
    message = described.run("attest", "--key", key, "--provenance", str(other), **PASSPHRASE).refused(4)
    assert "is about other digests" in message
