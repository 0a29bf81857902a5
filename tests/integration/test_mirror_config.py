"""What `nexus-oci mirror-config` writes is read by the real programs, which get the mirror's bytes by the original name.

The original registry does not exist: whatever comes, comes from the mirror, over TLS with an authority of its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nexus_oci.oci.store import Store
from tests.support.admission_site import digest, done
from tests.support.clean_debian import clean_debian
from tests.support.containerd import running_containerd
from tests.support.peers import Outcome, peer
from tests.unit.cli.conftest import release

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
pytest_plugins = ["tests.support.registry"]

SOURCE = "registry.nexus.example/team/nexus"
NAME = f"{SOURCE}/engine:1.0.0"
ROOT = Path(__file__).resolve().parents[2]
DEFINITION = """
engine:
  name: nexus-engine
  version: 1.0.0
  source: app
  runtime: python
  command: [hello]
registry: registry.nexus.example/team/nexus
chart: helm/nexus-engine
"""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A project with a signed release in its dist, and the mirror that serves it: HOST:PORT/site/team/nexus, over TLS."""

    project: Path
    place: str
    authority: Path

    @property
    def index(self) -> str:
        """The digest of the engine's image."""
        return str(Store.open(self.project / "dist" / "oci").tags()["engine:1.0.0"].digest)

    def write(self, folder: Path, *options: str | Path) -> Path:
        """Write settings; the folder."""
        done(self.project, "mirror-config", self.place, "--ca", self.authority, "--output", folder, *options)
        return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A definition with a chart, and a small release of it, signed for the original registry."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in (
        ("images/nexus.yaml", DEFINITION),
        ("images/container.yaml", "distribution: container\nrepository: engine\n"),
        ("app/requirements.txt", ""),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    shutil.copytree(ROOT / "helm" / "nexus-engine", folder / "helm" / "nexus-engine")
    release(Store.create(folder / "dist" / "oci"))
    done(folder, "keygen", "--output", "release")
    done(folder, "sign", "--key", folder / "release.key")
    return folder


@pytest.fixture(scope="module")
def mirror(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """The release, served by `nexus-oci serve` with a certificate of an authority that nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    authority = _certify(folder)
    command = [
        sys.executable, "-m", "nexus_oci", "-q", "serve", str(project / "dist"), "--address", "127.0.0.1:0",
        "--namespace", "site/team/nexus", "--tls-certificate", str(folder / "server.pem"),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            yield Mirror(project=project, place=f"{address.partition('://')[2].strip('/')}/site/team/nexus", authority=authority)
        finally:
            server.terminate()


def _certify(folder: Path) -> Path:
    """Write server.pem, a certificate for 127.0.0.1 and its key, and authority.pem, which issued it; the latter."""
    issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Test Authority", "Mirror"))
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)

    def build(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(public)
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
        )  # fmt: skip

    constraints = x509.BasicConstraints(ca=True, path_length=0)
    authority = build(issuer, root.public_key()).add_extension(constraints, critical=True).sign(root, hashes.SHA256())
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = build(subject, key.public_key()).add_extension(address, critical=False).sign(root, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(server.public_bytes(pem) + private)
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    return folder / "authority.pem"


@pytest.mark.parametrize("exclusive", [(), ("--exclusive",)], ids=["mirror first", "mirror only"])
def test_containerd_pulls_from_the_mirror_by_the_original_name(
    mirror: Mirror, tmp_path: Path, exclusive: tuple[str, ...]
) -> None:
    hosts = mirror.write(tmp_path, "--for", "containerd", *exclusive) / "containerd" / "certs.d"
    with running_containerd([tmp_path / "containerd" / "config.toml"]) as containerd:
        for local in ("true", "false"):
            pulled = containerd.ctr("images", "pull", f"--local={local}", "--hosts-dir", hosts, NAME)
            assert pulled.code == 0, pulled.err
            assert containerd.digest(NAME) == mirror.index
            assert containerd.ctr("images", "rm", NAME).code == 0
        (hosts / "registry.nexus.example" / "mirror.pem").write_bytes(b"")
        refused = containerd.ctr("images", "pull", "--hosts-dir", hosts, NAME)
        assert refused.code != 0


def test_containerd_knows_the_setting_that_names_the_folder(mirror: Mirror, tmp_path: Path) -> None:
    """`config dump` merges all that is imported, and refuses what it does not know."""
    config = mirror.write(tmp_path, "--for", "containerd") / "containerd" / "config.toml"
    (tmp_path / "main.toml").write_text(f'version = 3\nimports = ["{config}"]\n')
    dumped = subprocess.run(
        [str(peer("containerd")), "--config", str(tmp_path / "main.toml"), "config", "dump"], capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert re.search(r"config_path = ['\"]/etc/containerd/certs.d['\"]", dumped)


@dataclass(frozen=True)
class Machine:
    """A Debian with podman and skopeo, whose settings are where they always are."""

    container: Any

    def run(self, *command: str) -> Outcome:
        code, output = self.container.exec_run(list(command), demux=True)
        return Outcome(code, (output[0] or b"").decode(), (output[1] or b"").decode())

    def install(self, folder: Path) -> None:
        """Copy settings over those of the machine."""
        done = self.run("cp", "-r", f"{folder}/.", "/etc/containers/")
        assert done.code == 0, done.err


@pytest.fixture
def machine(tmp_path: Path, mirror: Mirror) -> Iterator[Machine]:
    with contextlib.closing(docker.from_env()) as client:
        container = client.containers.run(
            clean_debian(["ca-certificates", "podman", "skopeo"]), detach=True, network_mode="host", cap_add=["SYS_ADMIN"],
            security_opt=["seccomp=unconfined", "apparmor=unconfined"], labels={"nexus-oci-test": "mirror"},
            volumes={str(tmp_path): {"bind": str(tmp_path), "mode": "ro"}},
        )  # fmt: skip
        try:
            yield Machine(container)
        finally:
            container.remove(force=True)


@pytest.mark.parametrize("exclusive", [(), ("--exclusive",)], ids=["mirror first", "mirror only"])
def test_podman_and_skopeo_pull_from_the_mirror_and_still_check_who_signed(
    mirror: Mirror, machine: Machine, tmp_path: Path, exclusive: tuple[str, ...]
) -> None:
    """The policy speaks of the original name alone: what a mirror is configured for keeps its identity."""
    machine.install(mirror.write(tmp_path / "settings", "--for", "podman", *exclusive) / "containers")
    done(
        mirror.project,
        "admission",
        "--for",
        "policy.json",
        "--key",
        mirror.project / "release.pub",
        "--output",
        tmp_path / "policy",
    )
    machine.install(tmp_path / "policy" / "containers")
    looked = machine.run("skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}", f"docker://{NAME}")
    assert (looked.code, looked.out.strip()) == (0, mirror.index), looked.err
    copied = machine.run("skopeo", "copy", f"docker://{NAME}", "dir:/tmp/copied")
    assert copied.code == 0, copied.err
    pulled = machine.run("podman", "--storage-driver=vfs", "pull", NAME)
    assert pulled.code == 0, pulled.err
    found = machine.run("podman", "--storage-driver=vfs", "image", "inspect", "--format", "{{.RepoTags}} {{.RepoDigests}}", NAME)
    assert NAME in found.out
    assert f"{SOURCE}/engine@" in found.out
    assert machine.run("rm", "-r", f"/etc/containers/certs.d/{mirror.place.partition('/')[0]}").code == 0
    assert "certificate" in machine.run("skopeo", "inspect", "--no-tags", f"docker://{NAME}").err


def wharfie(file: Path, name: str) -> Outcome:
    """k3s' own reader of registries.yaml."""
    finished = subprocess.run([str(peer("wharfie")), str(file), name], capture_output=True, text=True, check=False)
    return Outcome(finished.returncode, finished.stdout, finished.stderr)


@pytest.mark.parametrize("namespace", ["site/team/nexus", "other", "team/nexus"])
def test_k3s_reader_finds_images_wherever_the_mirror_has_them(
    project: Path, registry: str, tmp_path: Path, namespace: str
) -> None:
    place = f"{registry}/{namespace}"
    done(project, "push", place, "--plain-http")
    done(project, "mirror-config", place, "--for", "k3s", "--plain-http", "--output", tmp_path)
    outcome = wharfie(tmp_path / "k3s" / "registries.yaml", NAME)
    image = (
        Store.open(project / "dist" / "oci").manifest(Store.open(project / "dist" / "oci").tags()["engine:1.0.0"]).manifests[0]
    )
    assert (outcome.code, outcome.out.strip()) == (0, image.digest), outcome.err
    assert wharfie(tmp_path / "k3s" / "registries.yaml", NAME.replace("team/nexus", "team/else")).code == 1


def test_k3s_reader_finds_the_authorities_that_are_named(mirror: Mirror, tmp_path: Path) -> None:
    file = mirror.write(tmp_path, "--for", "k3s", "--exclusive") / "k3s" / "registries.yaml"
    assert yaml.safe_load((tmp_path / "k3s" / "config.yaml.d" / "nexus-engine-mirror.yaml").read_text()) == {
        "disable-default-registry-endpoint": True
    }
    assert wharfie(file, NAME).code == 1
    file.write_text(file.read_text().replace("/etc/rancher/k3s", str(file.parent)))
    assert wharfie(file, NAME).code == 0


def helm(*words: str | Path, folder: Path) -> str:
    """The real helm, to an end that must be good; what it prints."""
    home = {name: str(folder / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    finished = subprocess.run(
        [str(peer("helm")), *map(str, words)], capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, **home}
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_helm_installs_the_mirrors_image_by_the_digest_of_the_release(project: Path, registry: str, tmp_path: Path) -> None:
    place = f"{registry}/helm/nexus"
    done(project, "push", place, "--plain-http")
    helm("package", project / "helm" / "nexus-engine", "--version", "1.0.0", "--app-version", "1.0.0", folder=tmp_path)
    helm("push", tmp_path / "nexus-engine-1.0.0.tgz", f"oci://{place}/charts", "--plain-http", folder=tmp_path)
    done(project, "mirror-config", place, "--for", "helm", "--plain-http", "--output", tmp_path)
    values = tmp_path / "helm" / "values.yaml"
    kubernetes = ("--kube-version", "1.34.0")
    chart, *options = values.read_text().splitlines()[0].removeprefix("# helm install NAME ").split()
    with_values = helm("template", "x", chart, *kubernetes, *options[:-1], values, folder=tmp_path)
    arguments = (tmp_path / "helm" / "arguments").read_text().split()
    assert helm("template", "x", chart, *kubernetes, *options[:-2], *arguments, folder=tmp_path) == with_values
    images = {
        container["image"]
        for one in yaml.safe_load_all(with_values) if one and one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    }  # fmt: skip
    expected = Store.open(project / "dist" / "oci").tags()["engine:1.0.0"].digest
    assert images == {f"{place}/engine@{expected}"}
    assert digest(images.pop()) == expected


def test_dockers_script_pulls_from_the_mirror_and_names_what_it_pulled(project: Path, registry: str, tmp_path: Path) -> None:
    place = f"{registry}/docker/nexus"
    done(project, "push", place, "--plain-http")
    said = done(project, "mirror-config", place, "--for", "docker", "--plain-http", "--output", tmp_path)
    assert json.loads((tmp_path / "docker" / "daemon.json").read_text()) == {"insecure-registries": [registry]}
    script = next(line for line in said.splitlines() if line.endswith("pull.sh"))
    with contextlib.closing(docker.from_env()) as client:
        try:
            subprocess.run([script, "engine:1.0.0", f"{SOURCE}/engine:1.0.0"], check=True, capture_output=True)
            assert client.images.get(NAME).id == client.images.get(f"{place}/engine:1.0.0").id
        finally:
            for name in (NAME, f"{place}/engine:1.0.0"):
                with contextlib.suppress(docker.errors.ImageNotFound):
                    client.images.remove(name)


def test_openshifts_objects_have_the_fields_of_its_documentation(mirror: Mirror, tmp_path: Path) -> None:
    """Its definitions are in no module that the Go proxy serves: these are the fields and forms that its API reference lists."""
    for options, policy in (((), "AllowContactingSource"), (("--exclusive",), "NeverContactSource")):
        folder = mirror.write(tmp_path, "--for", "openshift", *options) / "openshift"
        digests, tags = yaml.safe_load_all((folder / "mirror-sets.yaml").read_text())
        entry = {"source": SOURCE, "mirrors": [mirror.place], "mirrorSourcePolicy": policy}
        assert (digests["kind"], digests["spec"]) == ("ImageDigestMirrorSet", {"imageDigestMirrors": [entry]})
        assert (tags["kind"], tags["spec"]) == ("ImageTagMirrorSet", {"imageTagMirrors": [entry]})
        assert {one["apiVersion"] for one in (digests, tags)} == {"config.openshift.io/v1"}
        (trusted,) = yaml.safe_load_all((folder / "mirror-ca.yaml").read_text())
        assert trusted["data"] == {mirror.place.partition("/")[0].replace(":", ".."): mirror.authority.read_text()}
