"""`nexus-oci serve` among others: the OCI conformance suite, and clients that pull from it as from any registry.

The suite, crane, oras and cosign are built by scripts/peers.sh; docker is the engine of this machine.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
import requests

from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from tests.integration.conftest import Reference
from tests.support.peers import PASSPHRASE, Outcome, peer, real_cosign
from tests.support.server_certificate import certificate_for
from tests.unit.cli.conftest import release

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]


@contextmanager
def serving(target: Path, *options: str | Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """HOST:PORT of a server of its own on loopback, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nexus_oci", "serve", str(target), "--address", "127.0.0.1:0", *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        assert address, process.stderr.read()
        yield address.partition("://")[2], process
    finally:
        process.kill()
        process.communicate()


def run(*words: str | Path, environment: dict[str, str] | None = None, folder: Path | None = None) -> Outcome:
    done = subprocess.run(
        [str(word) for word in words], env={**os.environ, **(environment or {})}, cwd=folder, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A dist/ with one small release."""
    release(Store.create(tmp_path / "dist" / "oci"))
    return tmp_path / "dist"


def test_the_conformance_suites_pulling_and_discovery_pass(dist: Path, tmp_path: Path) -> None:
    store = Store.open(dist / "oci")
    index = store.resolve("engine:1.0.0")
    image = store.manifest(store.manifest(index).manifests[0])
    artifact = next(entry for entry in store.entries() if entry.artifact_type and "deb" in entry.artifact_type)
    blobs = [*image.blobs, *store.manifest(artifact).blobs]
    with serving(dist) as (host, _):
        done = run(
            peer("conformance"), folder=tmp_path,
            environment={
                "OCI_REGISTRY": host, "OCI_TLS": "disabled", "OCI_REPO1": "engine", "OCI_REPO2": "releases",
                "OCI_RESULTS_DIR": str(tmp_path), "OCI_API_PUSH": "false", "OCI_API_TAGS_DELETE": "false",
                "OCI_API_MANIFESTS_DELETE": "false", "OCI_API_BLOBS_DELETE": "false", "OCI_RO_DATA_TAGS": "1.0.0",
                "OCI_RO_DATA_MANIFESTS": f"{index.digest} {image.descriptor.digest} {artifact.digest}",
                "OCI_RO_DATA_BLOBS": " ".join(blob.digest for blob in blobs), "OCI_RO_DATA_REFERRERS": index.digest,
            },
        )  # fmt: skip
    report = dict(line.strip().replace(".", "").split(":", 1) for line in done.out.splitlines() if ".:" in line)
    words = ("Tag listing", "Blob get", "Blob head", "Manifest get by digest", "Manifest get by tag", "Manifest head by digest",
             "Manifest head by tag", "Referrers", "Ping", "Read Only Inputs")  # fmt: skip
    assert {word: report[word].strip() for word in words} == dict.fromkeys(words, "Pass"), done.out
    assert (report["FAIL"].strip(), report["Error"].strip()) == ("0", "0"), done.out
    assert int(report["Pass"]) >= 10


def test_docker_pulls_and_runs_an_image_that_is_served_out_of_a_build(
    reference: Reference, native: str, engine: docker.DockerClient
) -> None:
    with serving(reference.dist, "--namespace", "team") as (host, _):
        name = f"{host}/team/engine:{next(iter(reference.build.data['version'].split()))}"
        image = engine.images.pull(name.rpartition(":")[0], tag=name.rpartition(":")[2], platform=native)
        try:
            assert b"nexus-engine" in engine.containers.run(image, ["--version"], remove=True)
        finally:
            engine.images.remove(name, force=True)


def test_crane_and_oras_copy_the_release_out_of_it_with_what_refers_to_it(dist: Path, tmp_path: Path) -> None:
    store = Store.open(dist / "oci")
    with serving(dist) as (host, _):
        listed = run(peer("crane"), "ls", "--insecure", f"{host}/engine")
        copied = run(
            peer("oras"), "copy", "-r", "--from-plain-http", "--to-oci-layout", f"{host}/engine:1.0.0", tmp_path / "out:1"
        )
    assert listed.out.split() == ["1.0.0"], listed.err
    assert copied.code == 0, copied.err
    there = {path.name for path in (tmp_path / "out" / "blobs" / "sha256").iterdir()}
    deb = next(entry for entry in store.entries() if entry.artifact_type and "deb" in entry.artifact_type)
    assert {store.resolve("engine:1.0.0").digest.hex, deb.digest.hex, store.manifest(deb).layers[0].digest.hex} <= there


def test_signatures_are_served_and_the_real_cosign_accepts_them(dist: Path, tmp_path: Path) -> None:
    nexus = [sys.executable, "-m", "nexus_oci", "-C", tmp_path]
    secret = {"NEXUS_OCI_KEY_PASSPHRASE": PASSPHRASE}
    for words in (["keygen", "--output", "release"], ["sign", "--key", tmp_path / "release.key", "--identity", "127.0.0.1:5/x"]):
        done = run(*nexus, *words, environment=secret)
        assert done.code == 0, done.err
    with serving(dist) as (host, _):
        for bundle in (False, True):
            verified = real_cosign().verify(f"{host}/engine:1.0.0", tmp_path / "release.pub", bundle=bundle)
            assert verified.code == 0, verified.err
        ours = run(*nexus, "verify", f"{host}/releases:1.0.0", "--key", tmp_path / "release.pub", "--plain-http")
    assert ours.code == 0, ours.err


def test_tls_and_a_password_keep_others_out(dist: Path, tmp_path: Path) -> None:
    authority, certificate, key = certificate_for("127.0.0.1", tmp_path)
    (tmp_path / "password").write_text("open sesame\n")
    options = ("--tls-certificate", certificate, "--tls-key", key, "--user", "ann", "--password-file", tmp_path / "password")
    with serving(dist, *options) as (host, process):
        url = f"https://{host}/v2/_catalog"
        assert requests.get(url, verify=authority, timeout=20).status_code == 401
        assert requests.get(url, verify=authority, auth=("ann", "wrong"), timeout=20).status_code == 401
        answer = requests.get(url, verify=authority, auth=("ann", "open sesame"), timeout=20)
        assert answer.json()["repositories"] == ["engine", "releases"]
        (tmp_path / "docker").mkdir()
        token = base64.b64encode(b"ann:open sesame").decode()
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": token}}}))
        verified = run(
            sys.executable, "-m", "nexus_oci", "verify", f"{host}/releases:1.0.0", "--ca-file", authority,
            environment={"DOCKER_CONFIG": str(tmp_path / "docker")},
        )  # fmt: skip
        assert verified.code == 0, verified.err
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "sesame" not in told


def test_a_password_does_not_cross_a_network_without_tls_unless_insisted_on(dist: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame\n")
    words = ["serve", dist, "--address", "0.0.0.0:0", "--user", "ann", "--password-file", tmp_path / "password"]
    refused = run(sys.executable, "-m", "nexus_oci", *words)
    assert refused.code == 2
    assert "--insecure-http" in refused.err


def test_a_blob_that_was_changed_on_disk_is_not_served(dist: Path) -> None:
    store = Store.open(dist / "oci")
    layer = store.manifest(store.manifest(store.resolve("engine:1.0.0")).manifests[0]).layers[0]
    path = store.path(layer.digest)
    with serving(dist) as (host, _):
        url = f"http://{host}/v2/engine/blobs/{layer.digest}"
        assert requests.get(url, timeout=20).content == path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(bytes(layer.size))
        assert requests.get(url, timeout=20).status_code == 500


def test_names_of_a_later_build_are_served_at_once(dist: Path) -> None:
    with serving(dist) as (host, _):
        url = f"http://{host}/v2/engine/tags/list"
        assert requests.get(url, timeout=20).json()["tags"] == ["1.0.0"]
        shutil.rmtree(dist / "oci")
        release(Store.create(dist / "oci"), version="2.0.0")
        assert requests.get(url, timeout=20).json()["tags"] == ["2.0.0"]


def test_an_address_that_is_taken_is_a_clear_error(dist: Path) -> None:
    with serving(dist) as (host, _):
        refused = run(sys.executable, "-m", "nexus_oci", "serve", dist, "--address", host)
    assert refused.code == 2
    assert "cannot listen" in refused.err


@pytest.mark.parametrize("parts", [False, True])
def test_a_bundle_is_served_in_place_and_verifies_as_the_release_does(dist: Path, tmp_path: Path, parts: bool) -> None:
    nexus = [sys.executable, "-m", "nexus_oci", "-C", tmp_path]
    secret = {"NEXUS_OCI_KEY_PASSPHRASE": PASSPHRASE}
    cut = ("--part-size", "24KiB", "--parity", "1") if parts else ()
    for words in (
        ["keygen", "--output", "release"],
        ["sign", "--key", tmp_path / "release.key", "--identity", "127.0.0.1:5/x"],
        ["bundle", "create", "-o", tmp_path / "release.nexus", *cut],
    ):
        done = run(*nexus, *words, environment=secret)
        assert done.code == 0, done.err
    if parts:
        (tmp_path / "release.nexus.002").unlink()
    with serving(tmp_path / "release.nexus") as (host, _):
        ours = run(*nexus, "verify", f"{host}/releases:1.0.0", "--key", tmp_path / "release.pub", "--plain-http")
        copied = run(
            peer("oras"), "copy", "-r", "--from-plain-http", "--to-oci-layout", f"{host}/engine:1.0.0", tmp_path / "out:1"
        )
        blob = artifact_file(dist)
        part = requests.get(f"http://{host}/v2/engine/blobs/{blob.digest}", headers={"Range": "bytes=4-"}, timeout=20)
    assert ours.code == 0, ours.err
    assert copied.code == 0, copied.err
    assert (part.status_code, part.content) == (206, b"1.0.0")


def artifact_file(dist: Path) -> Descriptor:
    """The release's deb."""
    store = Store.open(dist / "oci")
    return store.manifest(next(one for one in store.entries() if one.artifact_type and "deb" in one.artifact_type)).layers[0]
