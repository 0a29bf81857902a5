"""A release on a real registry: pushed, pulled back by other programs, run, verified, and never half named."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration.conftest import Reference
from tests.integration.helm_client import helm_lint, helm_pull, helm_render
from tests.support.clean_debian import clean_debian, run_tool
from tests.support.emulation import emulated
from tests.support.projects import Layout, Project
from tests.support.relay import relay_to_host

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.support.registry"]

NAMES = ["charts/nexus-engine:1.0.0", "engine:1.0.0", "releases:1.0.0", "runtime:1.0.0"]
STRANGER = "54321:54321"
"""A user that no image knows."""


def ask(host: str, path: str, *accept: str, method: str = "GET") -> tuple[int, bytes]:
    """A plain request to a registry: status and body."""
    request = urllib.request.Request(f"http://{host}/v2/{path}", headers={"Accept": ", ".join(accept) or "*/*"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def names_in(host: str, namespace: str) -> list[str]:
    """Every `repository:tag` below a namespace; the tags by which old registries list referrers are no names."""
    found = []
    for repository in ("releases", "runtime", "engine", "charts/nexus-engine"):
        status, body = ask(host, f"{namespace}/{repository}/tags/list")
        tags = json.loads(body)["tags"] or [] if status == 200 else []
        found += [f"{repository}:{tag}" for tag in tags if not tag.startswith("sha256-")]
    return sorted(found)


@pytest.fixture(scope="module")
def pushed(reference: Reference, registry: str) -> str:
    """HOST/NAMESPACE with the reference release in it."""
    reference.project.done("push", f"{registry}/team/one", "--plain-http")
    return f"{registry}/team/one"


@pytest.fixture
def pulled(engine: docker.DockerClient, pushed: str, native: str) -> Iterator[str]:
    """The image that the engine pulled by its friendly name."""
    image = engine.images.pull(f"{pushed}/engine", "1.0.0", platform=native)
    try:
        yield str(image.id)
    finally:
        engine.images.remove(image.id, force=True)


@contextlib.contextmanager
def running(engine: docker.DockerClient, image: str, **options: Any) -> Iterator[Any]:
    """A container with a read-only root, without rights, as a user that the image does not know."""
    container = engine.containers.run(
        image, detach=True, read_only=True, user=STRANGER, cap_drop=["ALL"], security_opt=["no-new-privileges"],
        ports={"8080/tcp": ("127.0.0.1", None)}, **options,
    )  # fmt: skip
    try:
        yield container
    finally:
        container.remove(force=True)


def wait_for(container: Any, condition: Callable[[], bool], seconds: float) -> None:
    """Until the condition holds; a container that ends before, or takes too long, fails the test with its log."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    container.reload()
    while not condition():
        assert container.status == "running", container.logs().decode()
        assert time.monotonic() < deadline, container.logs().decode()
        pause.wait(0.1)
        container.reload()


def call(address: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Ask the engine something; status 0 where it does not answer."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{address}{path}", data=data), timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, None


def address_of(container: Any) -> str:
    container.reload()
    return f"127.0.0.1:{container.ports['8080/tcp'][0]['HostPort']}"


def check_answers(container: Any) -> None:
    """Ready, right in its decisions, and stopped by SIGTERM with success."""
    address = address_of(container)
    wait_for(container, lambda: call(address, "/readyz")[0] == 200, 60)
    admin = {"user": {"role": "admin"}, "request": {"address": "10.1.2.3"}}
    status, answer = call(address, "/v1/evaluate", {"policy": "access", "input": admin})
    assert (status, answer["effect"], answer["matched"]) == (200, "allow", ["admin-from-the-office"])
    status, answer = call(address, "/v1/evaluate", {"policy": "access", "input": admin | {"user": {"suspended": True}}})
    assert (status, answer["effect"]) == (200, "deny")
    assert call(address, "/version")[1]["version"] == "1.0.0"
    container.kill("SIGTERM")
    assert container.wait(timeout=30)["StatusCode"] == 0


def test_push_prints_the_release_and_its_names_and_writes_no_others(reference: Reference, registry: str) -> None:
    first = reference.project.done("push", f"{registry}/team/printed", "--plain-http")
    release, *names = first.out.splitlines()
    assert release == f"{registry}/team/printed/releases@{reference.digest}"
    assert sorted(names) == [f"{registry}/team/printed/{name}" for name in NAMES]
    assert names_in(registry, "team/printed") == NAMES
    again = reference.project.done("--json", "push", f"{registry}/team/printed", "--plain-http").data
    assert (again["bytes_sent"], again["blobs_sent"], again["manifests_sent"]) == (0, 0, 0)


def test_every_name_leads_to_the_digest_of_the_store(reference: Reference, registry: str, pushed: str) -> None:
    namespace = pushed.partition("/")[2]
    tags = reference.store.tags()
    for name in NAMES:
        repository, _, tag = name.partition(":")
        entry = tags["1.0.0" if repository == "releases" else name]
        status, body = ask(registry, f"{namespace}/{repository}/manifests/{tag}", entry["mediaType"])
        assert status == 200
        assert "sha256:" + hashlib.sha256(body).hexdigest() == entry["digest"]
    index = tags["runtime:1.0.0"]["digest"]
    status, body = ask(registry, f"{namespace}/runtime/referrers/{index}")
    if status == 404:
        fallback = index.replace(":", "-")
        status, body = ask(registry, f"{namespace}/runtime/manifests/{fallback}", "application/vnd.oci.image.index.v1+json")
    assert status == 200
    kinds = [entry["artifactType"] for entry in json.loads(body)["manifests"]]
    assert len(kinds) == 22
    assert len(set(kinds)) == 10


def test_no_name_is_written_before_all_of_its_content(reference: Reference) -> None:
    from tests.support.faulty_registry import faulty_registry

    with faulty_registry() as registry:
        reference.project.done("push", f"{registry.host}/team/watched", "--plain-http")
        written = [seen.path for seen in registry.seen if seen.method in ("PUT", "PATCH", "POST")]
    tagged = [index for index, path in enumerate(written) if "/manifests/" in path and "sha256" not in path.rpartition("/")[2]]
    assert len(tagged) == len(NAMES)
    assert tagged == list(range(len(written) - len(NAMES), len(written)))
    assert written[-1].endswith("/releases/manifests/1.0.0")


def test_a_push_that_is_killed_names_nothing_and_its_repetition_sends_the_rest(reference: Reference, registry: str) -> None:
    whole = reference.project.done("--json", "push", f"{registry}/team/whole", "--plain-http").data
    moved = 0
    with relay_to_host(registry) as (relay, host):

        def count(block: bytes) -> None:
            nonlocal moved
            moved += len(block)
            if moved > whole["bytes_sent"] // 2:
                relay.freeze()

        relay.on_request = count
        with reference.project.start("push", f"{host}/team/killed", "--plain-http", "--jobs", "2") as push:
            assert relay.wait_until_frozen(60)
            push.send_signal(signal.SIGKILL)
            push.communicate()
        assert push.returncode == -signal.SIGKILL
    assert names_in(registry, "team/killed") == []
    store = reference.store
    blobs = {digest: store.path(digest).stat().st_size for digest in store.reachable()}
    there = {digest for digest in blobs if ask(registry, f"team/killed/releases/blobs/{digest}", method="HEAD")[0] == 200}
    kept = sum(blobs[digest] for digest in there)
    assert 0 < kept < whole["bytes_sent"] // 2
    again = reference.project.done("--json", "push", f"{registry}/team/killed", "--plain-http").data
    assert again["bytes_sent"] == whole["bytes_sent"] - kept
    assert again["blobs_sent"] == whole["blobs_sent"] - len(there)
    assert names_in(registry, "team/killed") == NAMES


def test_docker_runs_what_it_pulled_by_name(engine: docker.DockerClient, pulled: str) -> None:
    with running(engine, pulled) as container:
        check_answers(container)


def test_docker_pulls_the_index_by_its_digest(
    engine: docker.DockerClient, reference: Reference, pushed: str, native: str
) -> None:
    digest = reference.store.tags()["runtime:1.0.0"]["digest"]
    image = engine.images.pull(f"{pushed}/runtime@{digest}", platform=native)
    try:
        assert f"{pushed}/runtime@{digest}" in image.attrs["RepoDigests"]
        assert f"linux/{image.attrs['Architecture']}" == native
        printed = engine.containers.run(image.id, ["--version"], remove=True, read_only=True, user=STRANGER)
        assert b"1.0.0" in printed
    finally:
        engine.images.remove(image.id, force=True)


def test_the_image_has_no_shell(engine: docker.DockerClient, pulled: str) -> None:
    container = engine.containers.create(pulled, ["-c", "true"], entrypoint="sh")
    try:
        with pytest.raises(docker.errors.APIError, match=r"not found|no such file"):
            container.start()
    finally:
        container.remove()


def test_the_engine_becomes_healthy(engine: docker.DockerClient, pulled: str) -> None:
    """The image's own healthcheck, asked more often than it says so that nobody waits."""
    test = engine.images.get(pulled).attrs["Config"]["Healthcheck"]["Test"]
    check = {"test": test, "interval": 500_000_000, "timeout": 3_000_000_000, "retries": 20, "start_period": 0}
    with running(engine, pulled, healthcheck=check) as container:
        wait_for(container, lambda: container.attrs["State"]["Health"]["Status"] == "healthy", 60)


def test_the_foreign_image_runs_where_there_is_an_emulator(engine: docker.DockerClient, pushed: str, foreign: str) -> None:
    """It was built without one; qemu's is registered for this test alone, by root, where the machine has none."""
    image = engine.images.pull(f"{pushed}/engine", "1.0.0", platform=foreign)
    try:
        assert f"linux/{image.attrs['Architecture']}" == foreign
        with emulated(foreign) as missing:
            if missing:
                print(f"the foreign image was not run, only looked at: {missing}")
                return
            with running(engine, image.id, platform=foreign) as container:
                check_answers(container)
    finally:
        engine.images.remove(image.id, force=True)


def test_skopeo_copies_all_platforms_into_a_layout(reference: Reference, pushed: str, tmp_path: Path) -> None:
    skopeo(tmp_path, "copy", "--all", "--src-tls-verify=false", f"docker://{pushed}/engine:1.0.0", f"oci:{tmp_path}/copy:engine")
    copied = Layout(tmp_path / "copy")
    entry = reference.store.tags()["engine:1.0.0"]
    assert copied.tags()["engine"]["digest"] == entry["digest"]
    assert copied.reachable() == {entry["digest"], *below(reference.store, entry["digest"])}
    for platform, image in copied.images("engine").items():
        _, _, architecture = platform.partition("/")
        chosen = ("--override-os=linux", f"--override-arch={architecture}")
        shown = json.loads(skopeo(tmp_path, *chosen, "inspect", f"oci:{tmp_path}/copy:engine"))
        assert (shown["Os"], shown["Architecture"], shown["Layers"]) == ("linux", architecture, image.layers)
        assert shown["Labels"]["org.opencontainers.image.version"] == "1.0.0"


def skopeo(folder: Path, *arguments: str) -> str:
    """skopeo's output; it runs in a clean Debian where this machine has none."""
    if shutil.which("skopeo"):
        done = subprocess.run(["skopeo", *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run_tool(clean_debian(["ca-certificates", "skopeo"]), ["skopeo", "--insecure-policy", *arguments], [folder])


def below(store: Layout, digest: str) -> set[str]:
    """Every digest below an index."""
    found = set()
    for child in store.json(digest)["manifests"]:
        document = store.json(child)
        found |= {child["digest"], document["config"]["digest"], *(layer["digest"] for layer in document["layers"])}
    return found


def test_one_format_for_one_platform_comes_back_alone(reference: Reference, pushed: str, tmp_path: Path) -> None:
    done = reference.project.done(
        "pull", f"{pushed}/releases:1.0.0", "--format", "deb", "--platform", "linux/arm64", "-o", str(tmp_path), "--plain-http"
    )
    names = ["nexus-engine-runtime_1.0.0_arm64.deb", "nexus-engine_1.0.0_arm64.deb"]
    assert done.out.splitlines() == [reference.digest, *(str(tmp_path / name) for name in names)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (reference.dist / "artifacts" / "runtime" / name).read_bytes()


def test_formats_are_found_from_the_image_that_they_belong_to(reference: Reference, pushed: str, tmp_path: Path) -> None:
    reference.project.done("pull", f"{pushed}/runtime:1.0.0", "--format", "tar.gz", "-o", str(tmp_path), "--plain-http")
    for path in (reference.dist / "artifacts" / "runtime").glob("*.tar.gz"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_release_comes_back_whole_and_verifies(reference: Reference, pushed: str, tmp_path: Path) -> None:
    project = reference.project
    project.done("pull", f"{pushed}/releases@{reference.digest}", "-o", str(tmp_path / "by-digest"), "--plain-http")
    project.done("pull", f"{pushed}/releases:1.0.0", "-o", str(tmp_path / "back"), "--plain-http")
    back = Layout(tmp_path / "back" / "oci")
    assert back.reachable() == reference.store.reachable() == Layout(tmp_path / "by-digest" / "oci").reachable()
    assert {tag: entry["digest"] for tag, entry in back.tags().items()} == {
        tag: entry["digest"] for tag, entry in reference.store.tags().items()
    }
    assert f"verified {reference.digest}" in project.done("verify", str(tmp_path / "back")).out
    assert f"verified {reference.digest}" in project.done("verify", f"{pushed}/releases:1.0.0", "--plain-http").out
    pushed_on = project.done("--json", "push", f"{pushed}-copy", "--plain-http", "--dist", str(tmp_path / "back")).data
    assert pushed_on["digest"] == reference.digest


def test_verify_names_a_flipped_byte(reference: Reference, tmp_path: Path) -> None:
    shutil.copytree(reference.dist, tmp_path / "dist")
    layer = reference.store.images("runtime:1.0.0")["linux/arm64"].layers[-1]
    path = Layout(tmp_path / "dist" / "oci").path(layer)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    stamp = path.stat().st_mtime_ns
    path.write_bytes(data)
    os.utime(path, ns=(stamp, stamp))
    finished = reference.project.run("verify", str(tmp_path / "dist"))
    assert layer in finished.refused(4)
    report = reference.project.run("--json", "verify", str(tmp_path / "dist"))
    assert (report.code, report.data["verified"], len(report.data["faults"])) == (4, False, 1)


def test_ls_shows_the_same_tree_of_a_store_and_a_registry(reference: Reference, pushed: str) -> None:
    (stored,) = reference.project.done("--json", "ls").data
    (remote,) = reference.project.done("--json", "ls", f"{pushed}/releases:1.0.0", "--plain-http").data
    assert stored["digest"] == remote["digest"] == reference.digest
    assert stored["children"] == remote["children"]
    text = reference.project.done("ls").out
    for name in ("runtime:1.0.0", "engine:1.0.0", "charts/nexus-engine:1.0.0", "linux/arm64", "nexus-engine_1.0.0_amd64.deb"):
        assert name in text


def test_helm_pulls_the_chart_and_it_names_the_pushed_index(reference: Reference, pushed: str, tmp_path: Path) -> None:
    archive = helm_pull(f"oci://{pushed}/charts/nexus-engine:1.0.0", tmp_path)
    assert archive.read_bytes() == (reference.dist / "charts" / "nexus-engine-1.0.0.tgz").read_bytes()
    assert helm_lint(archive) == []
    digest = reference.store.tags()["engine:1.0.0"]["digest"]
    rendered = helm_render(archive)
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(f"@{digest}")
    own = helm_render(archive, {"image": {"repository": f"{pushed}/engine"}})
    (container,) = own.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{pushed}/engine@{digest}"


def test_docker_credentials_open_a_closed_registry(reference: Reference, authenticated_registry: Any, tmp_path: Path) -> None:
    closed = authenticated_registry
    destination = f"{closed.host}/team"
    stranger = {"DOCKER_CONFIG": str(tmp_path / "nobody")}
    message = reference.project.run("push", destination, "--plain-http", **stranger).refused(5)
    assert closed.host in message
    secret = base64.b64encode(f"{closed.username}:{closed.password}".encode()).decode()
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {closed.host: {"auth": secret}}}))
    known = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    push = reference.project.done("push", destination, "--plain-http", **known)
    assert secret not in push.err
    assert closed.password not in push.err
    reference.project.done("verify", f"{destination}/releases:1.0.0", "--plain-http", **known)
    reference.project.run("ls", f"{destination}/releases:1.0.0", "--plain-http", **stranger).refused(5)


def test_a_released_image_is_a_base_for_another_project(
    engine: docker.DockerClient, reference: Reference, pushed: str, native: str, tmp_path: Path
) -> None:
    """A base from a registry: pinned by digest in the lock, its layers shipped as the registry has them."""
    project = Project(root=tmp_path / "other", environment=reference.project.environment)
    project.write("tree/bin/hello", "no program\n")
    project.write("images/container.yaml", "distribution: container\nbase: above\n")
    project.write(
        "images/nexus.yaml",
        f"""engine:
  name: hello
  version: 2.0.0
  source: tree
  runtime: binary
  command: [nexus-engine, --version]
  binary:
    trees: {{{native}: .}}
platforms: [{native}]
bases:
  above: {{image: "{pushed}/runtime:1.0.0"}}
""",
    )
    try:
        assert "above" in project.run("build").refused(2)
        project.done("lock", "above")
        locked = json.loads((project.root / "images" / "bases.lock").read_bytes())["bases"]["above"]
        assert locked["digest"] == reference.store.tags()["runtime:1.0.0"]["digest"]
        project.done("build")
        shipped = Layout(project.dist / "oci").images("container:2.0.0")[native]
        base = reference.store.images("runtime:1.0.0")[native]
        assert shipped.layers[: len(base.layers)] == base.layers
        assert shipped.config["config"]["Labels"]["org.opencontainers.image.base.digest"] == base.descriptor["digest"]
    finally:
        for image in engine.images.list("nexus-oci.local/above"):
            engine.images.remove(image.id, force=True)
