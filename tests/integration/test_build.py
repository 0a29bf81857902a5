"""The main job on a real engine: what a build leaves, that it is the same everywhere, and that only what changed is built again."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import HOST_MARK, Reference
from tests.support.projects import NEVER, Layout, Project, leftovers, members, read_member

pytestmark = pytest.mark.integration

PLATFORMS = ("linux/amd64", "linux/arm64")
MACHINES = {"linux/amd64": 0x3E, "linux/arm64": 0xB7}
"""e_machine of ELF."""
EPOCH = 1772600767
"""Of the reference project's commit."""
PROGRAM = "usr/bin/nexus-engine"
FILES = {
    "tar.gz": ("nexus-engine-1.0.0-linux-{oci}.tar.gz", "application/gzip"),
    "tar.zst": ("nexus-engine-1.0.0-linux-{oci}.tar.zst", "application/zstd"),
    "deb": ("nexus-engine_1.0.0_{oci}.deb", "application/vnd.debian.binary-package"),
    "rpm": ("nexus-engine-1.0.0-1.{kernel}.rpm", "application/x-rpm"),
    "srpm": ("nexus-engine-1.0.0-1.{kernel}.src.rpm", "application/x-source-rpm"),
    "apk": ("nexus-engine_1.0.0-r1_{kernel}.apk", "application/x-alpine-package-keeper-package"),
    "archlinux": ("nexus-engine-1.0.0-1-{kernel}.pkg.tar.zst", "application/x-alpm-package"),
    "ipk": ("nexus-engine_1.0.0_{opkg}.ipk", "application/x-opkg-package"),
}
"""Format → its file, by the format's own name of the processor, and its media type."""
META = {"deb": "nexus-engine-runtime_1.0.0_{oci}.deb", "rpm": "nexus-engine-runtime-1.0.0-1.{kernel}.rpm"}
PROCESSORS = {
    "linux/amd64": {"oci": "amd64", "kernel": "x86_64", "opkg": "x86_64"},
    "linux/arm64": {"oci": "arm64", "kernel": "aarch64", "opkg": "aarch64_generic"},
}
REPOSITORIES = {"apt runtime", "yum runtime"}
PACKED = {f"{name} runtime {platform}" for name in FILES for platform in PLATFORMS} | REPOSITORIES
STEPS = {f"image {name} {platform}" for name in ("runtime", "container") for platform in PLATFORMS} | PACKED


def file_digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def artifacts(dist: Path) -> dict[str, bytes]:
    """Every file for users, by its path below dist/."""
    found = [path for name in ("artifacts", "charts") for path in (dist / name).rglob("*") if path.is_file()]
    return {path.relative_to(dist).as_posix(): path.read_bytes() for path in found}


def ran(states: dict[str, str]) -> set[str]:
    """The steps that were not cached, bases aside."""
    return {step for step, state in states.items() if state == "done" and not step.startswith("base ")}


def own_tar(store: Layout, distribution: str, platform: str) -> bytes:
    """What an image adds to its base."""
    return store.tar(store.images(f"{distribution}:1.0.0")[platform].layers[-1])


def test_a_build_leaves_every_file_that_is_promised(reference: Reference) -> None:
    names = [*(file for file, _ in FILES.values()), *META.values()]
    found = {path for path in artifacts(reference.dist) if path.split("/")[2:3] not in (["apt"], ["yum"])}
    assert found == {"charts/nexus-engine-1.0.0.tgz"} | {
        "artifacts/runtime/" + name.format(**words) for name in names for words in PROCESSORS.values()
    }
    repositories = artifacts(reference.dist).keys() - found
    assert {"artifacts/runtime/apt/dists/stable/Release", "artifacts/runtime/yum/repodata/repomd.xml"} <= repositories
    kept = {"oci", "artifacts", "charts", "SHA256SUMS", "manifest.json", "metadata.json", "provenance.json"}
    assert {path.name for path in reference.dist.iterdir()} == kept
    assert set(reference.build.states()) >= STEPS
    assert leftovers(reference.build.pid) == []


def test_sha256sum_agrees_with_the_sums(reference: Reference) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=reference.dist, check=False, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    listed = {line.partition("  ")[2] for line in (reference.dist / "SHA256SUMS").read_text().splitlines()}
    assert listed == {*artifacts(reference.dist), "manifest.json", "metadata.json", "provenance.json"}


def test_manifest_json_lists_every_output_with_its_digest_size_and_media_type(reference: Reference) -> None:
    document = json.loads((reference.dist / "manifest.json").read_bytes())
    store = reference.store
    files, places = {}, set()
    for output in document["outputs"]:
        places.add((output["distribution"], output["platform"], output["format"]))
        if output["path"].startswith("oci:"):
            found = store.tags()[output["path"].removeprefix("oci:")]
            assert (found["digest"], found["size"], found["mediaType"]) == (
                output["digest"], output["size"], output["mediaType"],
            )  # fmt: skip
        elif output["path"].startswith("oci@"):
            assert output["path"] == f"oci@{output['digest']}"
            assert len(store.blob(output["digest"])) == output["size"]
            assert store.json(output["digest"])["mediaType"] == output["mediaType"]
        else:
            path = reference.dist / output["path"]
            assert (file_digest(path), path.stat().st_size) == (output["digest"], output["size"])
            files[output["path"]] = output["mediaType"]
    assert set(files) == {*artifacts(reference.dist), "provenance.json"}
    assert places == {
        (None, None, "release"), (None, None, "chart"), (None, None, "provenance"), ("runtime", None, "image"), ("container", None, "image"),
        *((name, platform, "image") for name in ("runtime", "container") for platform in PLATFORMS),
        *(("runtime", platform, name) for name in FILES for platform in PLATFORMS),
        ("runtime", None, "apt"), ("runtime", None, "yum"),
    }  # fmt: skip
    for name, kind in FILES.values():
        assert {files[f"artifacts/runtime/{name.format(**words)}"] for words in PROCESSORS.values()} == {kind}


def test_metadata_json_says_what_was_built_from_what_by_what(reference: Reference) -> None:
    metadata = json.loads((reference.dist / "metadata.json").read_bytes())
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=reference.project.root, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert metadata["release"] == reference.digest
    assert (metadata["version"], metadata["commit"], metadata["epoch"]) == ("1.0.0", commit, EPOCH)
    assert metadata["features"] == ["http", "unix", "stdio"]
    assert metadata["tools"]["engine"].startswith(("docker ", "podman "))
    assert metadata["tools"]["nfpm"]
    assert metadata["checklists"]


def test_the_store_is_a_whole_layout_with_every_name(reference: Reference) -> None:
    store = reference.store
    assert set(store.tags()) == {"1.0.0", "runtime:1.0.0", "engine:1.0.0", "charts/nexus-engine:1.0.0"}
    assert store.tags()["1.0.0"]["digest"] == reference.digest
    assert store.reachable() <= store.on_disk()
    for digest in store.on_disk():
        store.blob(digest)
    assert list((store.root / ".nexus" / "tmp").iterdir()) == []


def test_the_release_pins_every_image_artifact_and_chart(reference: Reference) -> None:
    store = reference.store
    release = store.json(reference.digest)
    children = {child["digest"]: child for child in release["manifests"]}
    named = {tag: entry["digest"] for tag, entry in store.tags().items() if ":" in tag}
    assert set(named.values()) <= set(children)
    subjects = []
    for digest, child in children.items():
        document = store.json(child)
        if "subject" in document:
            assert child["artifactType"] == document["artifactType"]
            assert digest not in named.values()
            subjects.append(document["subject"]["digest"])
    assert subjects == [named["runtime:1.0.0"]] * (len(PLATFORMS) * len([*FILES, *META]) + len(REPOSITORIES))


def test_two_clean_builds_of_one_commit_are_the_same_bytes(
    reference: Reference, copy_of_reference: Callable[..., Project]
) -> None:
    """Elsewhere, in another order, with no cache of stages and a store of its own."""
    project = copy_of_reference("a folder with another name")
    for path in project.root.rglob("*"):
        if ".git" not in path.parts and not path.is_symlink():
            path.touch()
    second = project.done("--json", "build", "--no-cache", "--jobs", "2")
    assert second.data["digest"] == reference.digest
    assert artifacts(project.dist) == artifacts(reference.dist)
    assert (project.dist / "manifest.json").read_bytes() == (reference.dist / "manifest.json").read_bytes()
    assert (project.dist / "oci" / "index.json").read_bytes() == (reference.store.root / "index.json").read_bytes()
    assert Layout(project.dist / "oci").on_disk() == reference.store.on_disk()
    assert leftovers(second.pid) == []


def test_a_build_with_nothing_changed_needs_no_engine(reference: Reference, built: Project) -> None:
    blobs = {path: path.stat().st_mtime_ns for path in (built.dist / "oci" / "blobs" / "sha256").iterdir()}
    again = built.done("--json", "--log-format", "json", "build", DOCKER_HOST=NEVER)
    assert again.data["digest"] == reference.digest
    assert again.states() == dict.fromkeys(STEPS, "cached")
    for name in ("metadata.json", "SHA256SUMS"):
        assert (built.dist / name).read_bytes() == (reference.dist / name).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in (built.dist / "oci" / "blobs" / "sha256").iterdir()} == blobs
    assert artifacts(built.dist) == artifacts(reference.dist)


def test_a_lost_file_of_dist_comes_back_from_the_store_without_the_engine(reference: Reference, built: Project) -> None:
    (built.dist / "artifacts" / "runtime" / "nexus-engine_1.0.0_arm64.deb").unlink()
    (built.dist / "charts" / "nexus-engine-1.0.0.tgz").write_bytes(b"changed")
    own = built.dist / "artifacts" / "notes.txt"
    own.write_bytes(b"the user's own")
    built.done("build", DOCKER_HOST=NEVER)
    assert own.read_bytes() == b"the user's own"
    own.unlink()
    assert artifacts(built.dist) == artifacts(reference.dist)


def test_a_line_of_the_engines_source_builds_what_reads_it_and_no_base(reference: Reference, built: Project) -> None:
    built.edit("images/engine/internal/api/http.go", "version=0.0.4", "version=0.0.5")
    verdicts = built.done("--json", "plan", "--explain").data["verdicts"]
    assert {step for step, verdict in verdicts.items() if verdict["state"] == "run"} == STEPS
    for step in STEPS:
        made_of_files = "a file that it is made of changed"
        assert verdicts[step]["reasons"] == [made_of_files if step in REPOSITORIES else "source/internal/api/http.go changed"]
    second = built.done("--json", "--log-format", "json", "build")
    states = second.states()
    assert ran(states) == STEPS
    assert {state for step, state in states.items() if step.startswith("base ")} == {"cached"}
    before, after = reference.store.images("runtime:1.0.0"), Layout(built.dist / "oci").images("runtime:1.0.0")
    for platform in PLATFORMS:
        assert after[platform].layers[0] == before[platform].layers[0]
        assert after[platform].layers[1] != before[platform].layers[1]
    assert second.data["digest"] != reference.digest


def test_a_file_that_only_packages_carry_builds_no_image(reference: Reference, built: Project) -> None:
    built.edit("images/runtime.yaml", "notify: true", "notify: true\n    restart: always")
    verdicts = built.done("--json", "plan").data["verdicts"]
    assert {step for step, verdict in verdicts.items() if verdict["state"] == "run"} == PACKED
    wanted = ("-f", "deb", "-f", "tar.gz")
    states = built.done("--log-format", "json", "build", "-d", "runtime", "--platform", "linux/arm64", *wanted).states()
    assert ran(states) == {"tar.gz runtime linux/arm64", "deb runtime linux/arm64"}
    store = Layout(built.dist / "oci")
    assert (
        store.images("runtime:1.0.0")["linux/arm64"].descriptor
        == reference.store.images("runtime:1.0.0")["linux/arm64"].descriptor
    )


def test_a_change_in_one_distribution_builds_that_one_only(reference: Reference, built: Project) -> None:
    built.edit("images/container.yaml", "interval: 10s", "interval: 11s")
    wanted = {f"image container {platform}" for platform in PLATFORMS}
    verdicts = built.done("--json", "plan", "--explain").data["verdicts"]
    assert {step for step, verdict in verdicts.items() if verdict["state"] == "run"} == wanted
    assert {tuple(verdicts[step]["reasons"]) for step in wanted} == {("dockerfile changed",)}
    states = built.done("--log-format", "json", "build").states()
    assert ran(states) == wanted
    store = Layout(built.dist / "oci")
    assert store.tags()["runtime:1.0.0"] == reference.store.tags()["runtime:1.0.0"]
    for platform, image in store.images("engine:1.0.0").items():
        before = reference.store.images("engine:1.0.0")[platform]
        assert image.layers == before.layers
        assert image.config["config"]["Healthcheck"]["Interval"] == 11 * 10**9


def test_a_change_in_the_chart_builds_nothing(reference: Reference, built: Project) -> None:
    built.edit("helm/nexus-engine/values.yaml", "replicaCount: 2", "replicaCount: 3")
    again = built.done("--json", "--log-format", "json", "build", DOCKER_HOST=NEVER)
    assert set(again.states().values()) == {"cached"}
    assert again.data["digest"] != reference.digest
    old, new = artifacts(reference.dist), artifacts(built.dist)
    assert {path for path in new if new[path] != old[path]} == {"charts/nexus-engine-1.0.0.tgz"}
    assert set(built.done("--json", "plan").data["verdicts"]) >= {"chart", "release"}


def test_a_part_of_the_plan_is_built_alone(reference: Reference, project: Project, native: str) -> None:
    states = project.done("--log-format", "json", "build", "-d", "runtime", "-p", native, "-f", "tar.gz").states()
    assert ran(states) == {f"image runtime {native}", f"tar.gz runtime {native}"}
    name = f"artifacts/runtime/nexus-engine-1.0.0-{native.replace('/', '-')}.tar.gz"
    assert artifacts(project.dist) == {name: artifacts(reference.dist)[name]}
    image = Layout(project.dist / "oci").images("runtime:1.0.0")[native]
    assert image.descriptor == reference.store.images("runtime:1.0.0")[native].descriptor


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("distribution", ["runtime", "engine"])
def test_an_image_holds_a_program_of_its_platform(reference: Reference, distribution: str, platform: str) -> None:
    """Built with no handler for the foreign one, unless the machine has one anyway."""
    image = reference.store.images(f"{distribution}:1.0.0")[platform]
    program = read_member(reference.store.tar(image.layers[-1]), PROGRAM)
    assert program[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", program, 18)[0] == MACHINES[platform]
    if reference.emulated:
        print("a handler for foreign programs was registered during the build, so this does not prove that none is needed")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(("repository", "distribution"), [("runtime", "runtime"), ("engine", "container")])
def test_an_image_says_how_it_runs_and_what_it_is(
    reference: Reference, repository: str, distribution: str, platform: str
) -> None:
    image = reference.store.images(f"{repository}:1.0.0")[platform]
    config = image.config["config"]
    user, _, group = config["User"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert config["Entrypoint"] == ["nexus-engine"]
    assert config["Healthcheck"]["Test"] == ["CMD", "nexus-engine", "admin", "health"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert [layer["mediaType"] for layer in image.manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar+gzip"] * 2
    unpacked = [hashlib.sha256(reference.store.tar(layer)).hexdigest() for layer in image.layers]
    assert image.config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in unpacked]}
    assert image.config["created"] == "2026-03-04T05:06:07Z"
    labels = config["Labels"]
    assert labels == image.manifest["annotations"]
    assert labels["org.opencontainers.image.version"] == "1.0.0"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["dev.nexus-oci.distribution"] == distribution
    assert labels["org.opencontainers.image.base.name"]
    base = reference.store.json(labels["org.opencontainers.image.base.digest"])
    assert [layer["digest"] for layer in base["layers"]] == image.layers[:-1]


def test_layers_are_in_canonical_form(reference: Reference) -> None:
    layers = {
        layer for tag in ("runtime:1.0.0", "engine:1.0.0") for i in reference.store.images(tag).values() for layer in i.layers
    }
    assert len(layers) == 4
    for layer in layers:
        entries = members(reference.store.tar(layer))
        names = [entry.name.encode().split(b"/") for entry in entries]
        assert names == sorted(names)
        assert len({entry.name for entry in entries}) == len(entries)
        assert {(entry.uname, entry.gname) for entry in entries} == {("", "")}
        assert not any(entry.ischr() or entry.isblk() or entry.isfifo() for entry in entries)
        assert not any(entry.name.startswith(("/", "../")) for entry in entries)
        if any(entry.name == PROGRAM for entry in entries):
            assert {entry.mtime for entry in entries} == {EPOCH}
            assert {(entry.uid, entry.gid) for entry in entries} == {(0, 0)}


def test_nothing_of_the_host_is_shipped(reference: Reference) -> None:
    """Its certificate authorities and proxies reach the build; the engine compiled with them, and kept neither."""
    for digest in reference.store.on_disk():
        blob = reference.store.blob(digest)
        data = reference.store.tar(digest) if blob[:2] == b"\x1f\x8b" else blob
        for content in (data, *unpacked(data)):
            assert HOST_MARK.encode() not in content
    images = [i for tag in ("runtime:1.0.0", "engine:1.0.0") for i in reference.store.images(tag).values()]
    for image in images:
        names = {entry.name for layer in image.layers for entry in members(reference.store.tar(layer))}
        assert not {name for name in names if name.startswith(("trust", "run/trust", "source", "nexus/"))}


def unpacked(data: bytes) -> Iterator[bytes]:
    """The packed parts of a deb, unpacked."""
    if not data.startswith(b"!<arch>\n"):
        return
    at = 8
    while at < len(data):
        size = int(data[at + 48 : at + 58])
        if b".tar" in data[at : at + 16]:
            with tarfile.open(fileobj=io.BytesIO(data[at + 60 : at + 60 + size])) as tar:
                yield from (file.read() for entry in tar if (file := tar.extractfile(entry)))
        at += 60 + size + size % 2


def test_what_two_distributions_have_in_common_is_made_once(reference: Reference) -> None:
    runtime, container = reference.store.images("runtime:1.0.0"), reference.store.images("engine:1.0.0")
    for platform in PLATFORMS:
        assert runtime[platform].layers == container[platform].layers
        assert runtime[platform].descriptor["digest"] != container[platform].descriptor["digest"]
    read = [event["step"] for event in reference.build.events if event.get("activity") == "reading rootfs"]
    assert len(set(read)) == len(PLATFORMS)


def test_a_tarball_has_one_folder_whose_sums_are_right(reference: Reference, tmp_path: Path) -> None:
    for platform in PLATFORMS:
        top = f"nexus-engine-1.0.0-{platform.replace('/', '-')}"
        path = reference.dist / "artifacts" / "runtime" / f"{top}.tar.gz"
        with tarfile.open(path) as tar:
            entries: list[Any] = tar.getmembers()
            assert {entry.name.split("/")[0] for entry in entries} == {top}
            assert {entry.mtime for entry in entries} == {EPOCH}
            assert {(entry.uid, entry.gid) for entry in entries} == {(0, 0)}
            tar.extractall(tmp_path, filter="data")
        subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=tmp_path / top, check=True)
        program = (tmp_path / top / "bin" / "nexus-engine").read_bytes()
        assert struct.unpack_from("<H", program, 18)[0] == MACHINES[platform]
        assert program == read_member(own_tar(reference.store, "runtime", platform), PROGRAM)
