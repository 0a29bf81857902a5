"""What goes wrong in the field: each gives one clear message and the documented exit code, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.integration.conftest import Reference
from tests.support.faulty_registry import faulty_registry
from tests.support.projects import NEVER, Layout, Project, leftovers
from tests.support.relay import relay_to_socket

pytestmark = pytest.mark.integration

NEXUS, CONTAINER, RUNTIME = "images/nexus.yaml", "images/container.yaml", "images/runtime.yaml"
GO = "dockerfiles/go.Dockerfile.j2"


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@contextlib.contextmanager
def nothing_lost(project: Project) -> Iterator[None]:
    """What a build left must be the same after the block, and no half-written file may be beside it."""
    before = state_of(project.dist)
    yield
    assert state_of(project.dist) == before


@contextlib.contextmanager
def same_image(reference: Reference, project: Project, native: str) -> Iterator[None]:
    """After the block the project can be built, with the bytes that it always had."""
    yield
    done = project.done("build", "-d", "container", "-p", native)
    store = Layout(project.dist / "oci")
    assert store.images("engine:1.0.0")[native].descriptor == reference.store.images("engine:1.0.0")[native].descriptor
    assert list((store.root / ".nexus" / "tmp").iterdir()) == []
    assert leftovers(done.pid) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        pytest.param(
            NEXUS, "  licenses: Apache-2.0", "  licences: Apache-2.0", r"images/nexus\.yaml:\d+:3: .*licences.*(\n.*)*licenses",
            id="unknown key",
        ),
        pytest.param(CONTAINER, "retries: 3", "retries: many", r"images/container\.yaml:\d+:14: .*'many'", id="wrong type"),
        pytest.param(
            NEXUS, "version: {file: images/engine/VERSION}", "version: 1.0.x", r"images/nexus\.yaml:\d+:12: .*1\.0\.x",
            id="version not semver",
        ),
        pytest.param("images/engine/VERSION", "1.0.0", "next", r"images/engine/VERSION.*(\n.*)*'next'", id="version file not semver"),
        pytest.param(NEXUS, "path: images/engine", "path: images/motor", r"images/motor", id="source missing"),
        pytest.param(CONTAINER, "config/runtime.toml", "config/runtime.tml", r"images/container\.yaml.*config/runtime\.tml", id="file missing"),
        pytest.param(CONTAINER, "distribution: container", "distribution: container\nbase: statik", r"statik.*(\n.*)*static", id="unknown base"),
        pytest.param(
            NEXUS, "chart: helm/nexus-engine", "chart: helm/nexus-engine\nbases: {static: {debian: {suite: trixie, packages: [tzdata]}}}",
            r"static.*(\n.*)*nexus-oci lock", id="stale lock",
        ),
    ],
)  # fmt: skip
def test_a_faulty_definition_is_refused_at_its_place(built: Project, file: str, old: str, new: str, message: str) -> None:
    built.edit(file, old, new)
    with nothing_lost(built):
        said = built.run("build", DOCKER_HOST=NEVER).refused(2)
    assert re.search(message, said), said


def test_a_base_that_the_lock_lacks_is_named(built: Project) -> None:
    built.edit(CONTAINER, "distribution: container", "distribution: container\nbase: other")
    base = "bases: {other: {debian: {suite: trixie, packages: [base-files], dependencies: false}}}"
    built.edit(NEXUS, "chart: helm/nexus-engine", f"chart: helm/nexus-engine\n{base}")
    with nothing_lost(built):
        said = built.run("build", DOCKER_HOST=NEVER).refused(2)
    assert re.search(r"'?other'?.*(\n.*)*nexus-oci lock", said), said


def test_several_faults_are_reported_at_once(built: Project) -> None:
    built.edit(NEXUS, "  licenses: Apache-2.0", "  licences: Apache-2.0")
    built.edit(CONTAINER, "retries: 3", "retries: many")
    built.edit(RUNTIME, "formats: all", "formats: [image, tar.gz, deb, tarball]")
    said = built.run("check").refused(2)
    for part in ("licences", "'many'", "'tarball'"):
        assert part in said


def test_a_definition_of_100_mb_is_refused_unread(built: Project) -> None:
    with (built.root / CONTAINER).open("a") as file:
        for _ in range(100):
            file.write("# nothing\n" * 100_000)
    began = time.process_time()
    with nothing_lost(built):
        said = built.run("build", DOCKER_HOST=NEVER).refused(2)
    assert re.search(r"images/container\.yaml.*(large|MiB|bytes)", said), said
    assert time.process_time() - began < 5


def test_a_bomb_of_aliases_is_refused(built: Project) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 30)]
    with (built.root / NEXUS).open("a") as file:
        file.write("\n".join(levels) + "\n")
    with nothing_lost(built):
        said = built.run("build", DOCKER_HOST=NEVER).refused(2)
    assert re.search(r"images/nexus\.yaml:\d+:\d+: .*alias", said), said


def test_a_variable_that_a_template_lacks_is_named(built: Project) -> None:
    text = built.template("go.Dockerfile.j2")
    built.write(GO, text.replace("COPY source/ /src/", "COPY source/ /src/\nENV WHO={{ engine.owner }}"))
    line = built.root.joinpath(GO).read_text().splitlines().index("ENV WHO={{ engine.owner }}") + 1
    with nothing_lost(built):
        said = built.run("build", DOCKER_HOST=NEVER).refused(2)
    assert re.search(rf"go\.Dockerfile\.j2:{line}\b.*owner|owner(.|\n)*go\.Dockerfile\.j2:{line}\b", said), said


def test_a_format_without_a_stage_is_named(built: Project) -> None:
    text = built.template("engine.Dockerfile.j2")
    stage = "FROM scratch AS {{ packer.packager }}"
    assert stage in text
    built.write("dockerfiles/engine.Dockerfile.j2", text.replace(stage, f"{stage}-package"))
    with nothing_lost(built):
        said = built.run("build", DOCKER_HOST=NEVER).refused(2)
    assert "'deb'" in said
    assert "runtime" in said
    assert "FROM scratch AS deb" in said


def test_a_from_that_is_no_base_is_refused_before_the_build(built: Project) -> None:
    built.write(GO, built.template("go.Dockerfile.j2") + "\n{% block extra %}{% endblock %}\n")
    text = built.template("engine.Dockerfile.j2")
    built.write("dockerfiles/engine.Dockerfile.j2", text.replace("FROM {{ base }} AS image", "FROM debian:latest AS image"))
    with nothing_lost(built):
        assert "'debian:latest'" in built.run("build", DOCKER_HOST=NEVER).refused(2)


def test_a_failing_stage_shows_its_last_lines_and_its_line(reference: Reference, built: Project, native: str) -> None:
    source = (built.root / "images/engine/cmd/nexus-engine/main.go").read_text()
    built.write("images/engine/cmd/nexus-engine/main.go", source + "\nfunc broken() { return nonsense }\n")
    with nothing_lost(built):
        finished = built.run("build", "-d", "container", "-p", native)
        said = finished.refused(1)
    assert "undefined: nonsense" in said
    assert re.search(r"stage 'compile' failed at Dockerfile line \d+: RUN", said), said
    assert leftovers(finished.pid) == []
    with same_image(reference, built, native):
        built.write("images/engine/cmd/nexus-engine/main.go", source)


def test_an_engine_that_is_absent_or_refuses_is_named(built: Project, tmp_path: Path) -> None:
    built.edit(CONTAINER, "interval: 10s", "interval: 11s")
    deaf = tmp_path / "deaf.sock"
    with nothing_lost(built), socket.socket(socket.AF_UNIX) as bound, socket.create_server(("127.0.0.1", 0)) as server:
        bound.bind(str(deaf))
        port = server.getsockname()[1]
        server.close()
        for address, reason in (
            (NEVER, "the socket is not there"), (f"unix://{deaf}", "refused"), (f"tcp://127.0.0.1:{port}", "refused"),
        ):  # fmt: skip
            said = built.run("build", DOCKER_HOST=address).refused(5)
            assert address in said
            assert reason in said
            assert "do: " in said


def engine_socket() -> str:
    kind, _, path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    if kind != "unix":
        pytest.skip("the engine is not reached by a Unix socket, which this test puts itself before")
    return path


def test_an_engine_that_dies_in_the_middle_of_a_build_is_named(
    reference: Reference, project: Project, native: str, tmp_path: Path
) -> None:
    building = threading.Event()
    with same_image(reference, project, native):
        with relay_to_socket(tmp_path / "e.sock", engine_socket()) as relay:

            def see_request(block: bytes) -> None:
                if b"/build?" in block.partition(b"\r\n")[0]:
                    building.set()

            def see_answer(block: bytes) -> None:
                if building.is_set() and b"moby.buildkit.trace" in block:
                    relay.cut()

            relay.on_request, relay.on_answer = see_request, see_answer
            finished = project.run("build", "-d", "container", "-p", native, DOCKER_HOST=f"unix://{tmp_path}/e.sock")
        said = finished.refused(5)
        assert "went away while building" in said
        assert building.is_set()
        assert list((project.dist / "oci" / ".nexus" / "tmp").iterdir()) == []
        assert leftovers(finished.pid) == []


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system in memory at `folder`; the function that the block gets changes its size."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)

    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")
    try:
        yield lambda grown: mount("-o", f"remount,size={grown}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_what_is_done_is_kept(reference: Reference, project: Project, native: str) -> None:
    wanted = reference.store.images("engine:1.0.0")[native]
    with small_disk(project.dist, "2m") as resize:
        finished = project.run("build", "-d", "container", "-p", native)
        said = finished.refused(1)
        assert "no space left" in said
        assert "free some space" in said
        assert leftovers(finished.pid) == []
        store = Layout(project.dist / "oci")
        assert list((store.root / ".nexus" / "tmp").iterdir()) == []
        for digest in store.on_disk():
            store.blob(digest)
        resize("64m")
        project.done("build", "-d", "container", "-p", native)
        assert store.images("engine:1.0.0")[native].descriptor == wanted.descriptor


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_blob_is_named_and_made_again(reference: Reference, built: Project, native: str, damage: str) -> None:
    store = Layout(built.dist / "oci")
    layer = store.images("engine:1.0.0")[native].layers[-1]
    path = store.path(layer)
    data = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    verdicts = built.done("--json", "plan").data["verdicts"]
    assert {step for step, verdict in verdicts.items() if verdict["state"] == "run"} == {
        f"image {name} {native}" for name in ("runtime", "container")
    }
    if damage != "gone":
        assert not path.exists() or path.read_bytes() != data
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = built.done("--json", "build")
    assert done.data["digest"] == reference.digest
    assert (layer in done.err) == (damage != "gone")
    assert path.read_bytes() == data


HOSTILE = """\
FROM --platform={{ build_platform }} {{ toolbox }} AS image
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin
RUN echo good > /etc/good && chmod +x /etc/good && IN-IMAGE
USER 1000:1000
ENTRYPOINT ["/etc/good"]
FROM --platform={{ build_platform }} {{ toolbox }} AS tar.gz
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin
RUN mkdir /tar.gz && echo good > /tar.gz/good.tar.gz && IN-FORMAT
"""
"""Nothing is copied between these stages: an engine's own COPY makes a plain file of a device."""


@pytest.mark.parametrize(
    ("in_image", "in_format", "message"),
    [
        ("mknod /etc/disk b 8 0", "true", r"block device: '?etc/disk(.|\n)*device nodes"),
        ("mkfifo /etc/pipe", "true", r"fifo: '?etc/pipe(.|\n)*fifos"),
        ("ln -s ../../../../etc/shadow /etc/link", "true", r"leaves the tree: '?etc/link"),
        ("true", "rm /tar.gz/*", r"no file"),
        ("true", "mkdir /tar.gz/more && echo more > /tar.gz/more/x.tar.gz", r"tar\.gz/more/x.*no plain file of a format"),
        ("true", "ln -sf /etc/shadow /tar.gz/good.tar.gz", r"good\.tar\.gz.*no plain file"),
        ("true", "ln -sf ../../etc/shadow /tar.gz/good.tar.gz", r"leaves the tree: .*good\.tar\.gz"),
        ("true", "rm /tar.gz/* && mknod /tar.gz/good.tar.gz c 1 5", r"good\.tar\.gz.*empty"),
    ],
    ids=[
        "a device", "a fifo", "a link that leaves the tree", "no file", "a file in a folder", "a link as file", "a leaving link as file",
        "a device as file",
    ],
)  # fmt: skip
def test_what_a_hostile_stage_leaves_is_refused(
    reference: Reference, tmp_path: Path, native: str, in_image: str, in_format: str, message: str
) -> None:
    project = Project(root=tmp_path / "hostile", environment=reference.project.environment)
    project.write("tree/program", "none\n")
    project.write(
        NEXUS,
        f"engine: {{name: hostile, version: 1.0.0, source: tree, runtime: binary, command: [none], binary: {{trees: {{{native}: .}}}}}}\n"
        f"platforms: [{native}]\n",
    )
    project.write(RUNTIME, "distribution: runtime\nformats: [image, tar.gz]\n")
    project.write("dockerfiles/binary.Dockerfile.j2", HOSTILE.replace("IN-IMAGE", in_image).replace("IN-FORMAT", in_format))
    shutil.copy(reference.project.root / "images" / "bases.lock", project.root / "images" / "bases.lock")
    finished = project.run("build")
    said = finished.refused(1)
    assert re.search(message, said), said
    assert Layout(project.dist / "oci").entries() == []
    assert list((project.dist / "oci" / ".nexus" / "tmp").iterdir()) == []
    assert leftovers(finished.pid) == []


def test_a_package_that_is_not_what_the_lock_says_is_refused(reference: Reference, project: Project, native: str) -> None:
    """The archive is asked for media-types, and gives something else than the lock expects."""
    path = project.root / "images" / "bases.lock"
    lock = json.loads(path.read_bytes())
    for package in lock["bases"]["static"]["packages"][native.partition("/")[2]]:
        if package["name"] == "media-types":
            package["sha256"] = package["sha256"][:-8] + "00000000"
    path.write_text(json.dumps(lock))
    finished = project.run("build", "-d", "container", "-p", native, "--locked")
    said = finished.refused(4)
    assert "media-types" in said
    assert not (project.dist / "manifest.json").exists()


def test_a_base_image_that_is_not_what_the_lock_says_is_refused(
    engine: docker.DockerClient, reference: Reference, tmp_path: Path, native: str
) -> None:
    """The registry gives other bytes for the digest that the lock pins."""
    project = Project(root=tmp_path / "other", environment=reference.project.environment)
    project.write("tree/program", "none\n").chmod(0o755)
    with faulty_registry() as registry:
        reference.project.done("push", f"{registry.host}/team", "--plain-http")
        project.write("images/container.yaml", "distribution: container\nbase: above\n")
        project.write(
            NEXUS,
            "engine: {name: other, version: 1.0.0, source: tree, runtime: binary, command: [program], "
            f"binary: {{trees: {{{native}: .}}}}}}\nplatforms: [{native}]\n"
            f'bases: {{above: {{image: "{registry.host}/team/runtime:1.0.0"}}}}\n',
        )
        project.done("lock", "above")
        manifests = registry.repository("team/runtime").manifests
        for digest, (kind, data) in list(manifests.items()):
            manifests[digest] = (kind, data.replace(b"NEXUS-ENGINE", b"NEXUS-ENGINF"))
        finished = project.run("build")
        said = finished.refused(4)
        assert registry.host in said
        assert "sha256:" in said
    assert engine.images.list("nexus-oci.local/above") == []
    assert not (project.dist / "manifest.json").exists()


def test_a_package_that_is_gone_refreshes_the_lock_loudly_or_is_refused(
    reference: Reference, project: Project, native: str
) -> None:
    """A mirror has dropped a locked version: the build goes on with today's, and says so; --locked refuses, naming it."""
    path = project.root / "images" / "bases.lock"
    before = path.read_bytes()
    lock = json.loads(before)
    for package in lock["bases"]["static"]["packages"][native.partition("/")[2]]:
        if package["name"] == "media-types":
            package["filename"] = package["filename"].replace(package["version"], "0.0.1")
            package["version"] = "0.0.1"
            package["sha256"] = "0" * 64
    path.write_text(json.dumps(lock))
    said = project.run("build", "-d", "container", "-p", native, "--locked").refused(2)
    assert "media-types 0.0.1" in said
    done = project.done("build", "-d", "container", "-p", native)
    assert "WARNING" in done.err
    metadata = json.loads((project.dist / "metadata.json").read_bytes())
    assert any("media-types" in package for package in metadata["lock"]["refreshed"])
    refreshed = {
        package["name"]: package
        for package in json.loads(path.read_bytes())["bases"]["static"]["packages"][native.partition("/")[2]]
    }
    assert refreshed["media-types"]["version"] != "0.0.1"


@contextlib.contextmanager
def slow_build(project: Project, native: str, marker: str) -> Iterator[subprocess.Popen[str]]:
    """A build whose compile stage has begun to wait."""
    text = project.template("go.Dockerfile.j2")
    project.write(GO, text.replace("    cd /src;", f"    sleep {marker}; cd /src;"))
    with project.start("--log-format", "plain", "build", "-d", "container", "-p", native) as build:
        assert build.stderr is not None
        for line in build.stderr:
            if f"sleep {marker}" in line or "RUN" in line:
                break
        wait_until(lambda: marker in sleepers(), 60)
        yield build


def sleepers() -> str:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(line for line in found if line.startswith("sleep "))


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_build_leaves_nothing_behind(
    reference: Reference, project: Project, native: str, number: signal.Signals
) -> None:
    if engine_socket() and not Path(engine_socket()).exists():
        pytest.skip("the engine does not run on this machine, where its processes are looked for")
    marker = f"7{os.getpid()}"
    with same_image(reference, project, native):
        with slow_build(project, native, marker) as build:
            build.send_signal(number)
            finished = project.finish(build, "build")
        assert finished.code == 130, finished.story()
        assert "Traceback" not in finished.err
        assert "interrupted" in finished.err
        assert finished.out == ""
        wait_until(lambda: marker not in sleepers(), 30)
        assert leftovers(finished.pid) == []
        assert list((project.dist / "oci" / ".nexus" / "tmp").iterdir()) == []
        assert [path.name for path in project.dist.iterdir()] == ["oci"]
        (project.root / GO).unlink()


def test_what_a_killed_build_left_is_taken_away_by_the_next(reference: Reference, project: Project, native: str) -> None:
    marker = f"8{os.getpid()}"
    with same_image(reference, project, native):
        with slow_build(project, native, marker) as build:
            build.kill()
            build.communicate()
        wait_until(lambda: marker not in sleepers(), 30)
        (project.root / GO).unlink()
    assert leftovers(build.pid) == []
