"""The docker_engine package against a real engine, with both builders; nothing is left behind in it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nexus_oci.docker_engine import (
    BASE_LABEL,
    TEMPORARY_LABEL,
    BuildRequest,
    ContainerRequest,
    Engine,
    Event,
    LogEvent,
    StageError,
    StepEvent,
    connect,
)
from nexus_oci.errors import BuildError, CancelledError, NotFoundError, VerificationError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import Digest, Platform

pytestmark = pytest.mark.integration

PREFIX = f"nexus-oci-test-{os.getpid()}"
SHELL = f"{PREFIX}/shell:amd64"
FOREIGN = f"{PREFIX}/base:foreign"
APPLETS = ("sh", "echo", "ls", "sleep", "seq", "wc", "id", "true", "mkdir", "touch", "httpd")


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar with a shell and some commands, from Debian's static busybox."""
    folder = tmp_path_factory.mktemp("rootfs")
    if not shutil.which("mmdebstrap"):
        pytest.skip("mmdebstrap is not installed")
    made = folder / "debian.tar"
    command = ["mmdebstrap", "--variant=extract", "--include=busybox-static", "trixie", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    with tarfile.open(made) as tar:
        file = tar.extractfile("./usr/bin/busybox")
        assert file is not None
        busybox = file.read()
    path = folder / "rootfs.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("bin", "etc", "tmp"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        info = tarfile.TarInfo("bin/busybox")
        info.size, info.mode = len(busybox), 0o755
        tar.addfile(info, io.BytesIO(busybox))
        for applet in APPLETS:
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return path


@pytest.fixture(scope="module")
def docker(rootfs: Path) -> Iterator[Engine]:
    """The engine, with a shell base of its own platform and a base of a foreign one; both go at the end."""
    engine = connect(os.environ.get("DOCKER_HOST"))
    engine.load_base(rootfs, tag=SHELL, platform=engine.platform)
    engine.load_base(rootfs, tag=FOREIGN, platform=foreign(engine))
    yield engine
    engine.clean_up()
    for tag in (SHELL, FOREIGN):
        engine.remove_image(tag, quiet=True)


@pytest.fixture(params=["buildkit", "classic"])
def engine(request: pytest.FixtureRequest, docker: Engine) -> Iterator[Engine]:
    """The engine with one of its two builders; what a test makes goes with it, and that is checked."""
    if request.param == "buildkit" and not docker.buildkit:
        pytest.skip("the engine has no BuildKit")
    chosen = replace(docker, buildkit=request.param == "buildkit", session=f"{docker.session}-{time.monotonic_ns()}")
    yield chosen
    chosen.clean_up()
    assert chosen.images(f"{TEMPORARY_LABEL}={chosen.session}") == ()


def foreign(engine: Engine) -> Platform:
    other = "arm64" if engine.platform.architecture != "arm64" else "amd64"
    return Platform(os="linux", architecture=other)


def request_for(engine: Engine, dockerfile: str, target: str | None = None) -> BuildRequest:
    return BuildRequest(
        dockerfile=dockerfile.replace("SHELL", SHELL).replace("FOREIGN", FOREIGN),
        platform=engine.platform,
        target=target,
        no_cache=True,
        title="trial",
    )


def read_folder(engine: Engine, image: str, folder: str) -> dict[str, bytes]:
    found = engine.image(image)
    assert found is not None
    with (
        engine.export_folder(image, folder, platform=found.platform) as blocks,
        tarfile.open(fileobj=io.BytesIO(b"".join(blocks))) as tar,
    ):
        return {m.name: file.read() if (file := tar.extractfile(m)) else b"" for m in tar if m.isfile()}


def containers_of(engine: Engine) -> list[str]:
    with engine.endpoint.client("listing containers") as client:
        listed = client.containers(all=True, filters={"label": [f"{TEMPORARY_LABEL}={engine.session}"]})
    return [entry["Id"] for entry in listed]


def step_containers(engine: Engine) -> list[str]:
    """Containers in which the classic builder runs steps on the test's base; they carry no label but the base's."""
    with engine.endpoint.client("listing containers") as client:
        listed = client.containers(all=True, filters={"label": [f"{BASE_LABEL}={engine.platform}"]})
        inspected = [client.inspect_container(entry["Id"]) for entry in listed]
    return [entry["Id"] for entry in inspected if any("sleep 6" in word for word in entry["Config"]["Cmd"] or ())]


def test_a_base_keeps_its_bytes_and_platform_and_is_sent_once(docker: Engine, rootfs: Path) -> None:
    found = docker.image(FOREIGN)
    assert found is not None
    assert found.platform == foreign(docker)
    assert found.diff_ids == ("sha256:" + hashlib.sha256(rootfs.read_bytes()).hexdigest(),)
    assert found.labels == {BASE_LABEL: str(foreign(docker))}
    again = docker.load_base(rootfs, tag=FOREIGN, platform=foreign(docker), diff_id=found.diff_ids[0])
    assert again == found.id


def test_a_base_whose_digest_is_wrong_is_refused(docker: Engine, rootfs: Path) -> None:
    with pytest.raises(BuildError, match="cannot be loaded"):
        docker.load_base(rootfs, tag=f"{PREFIX}/wrong:1", platform=docker.platform, diff_id=Digest("sha256:" + "0" * 64))
    assert docker.image(f"{PREFIX}/wrong:1") is None


def test_an_image_that_is_not_there_is_none(docker: Engine) -> None:
    assert docker.image(f"{PREFIX}/nothing:1") is None


def test_context_files_arguments_and_labels_reach_the_build(engine: Engine) -> None:
    def context() -> Iterator[bytes]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            info = tarfile.TarInfo("src/large")
            info.size = 3 * 1024 * 1024
            tar.addfile(info, io.BytesIO(os.urandom(info.size)))
        data = buffer.getvalue()
        yield from (data[at : at + 100_000] for at in range(0, len(data), 100_000))

    text = "FROM SHELL AS a\nARG WORD\nCOPY src /src\nCOPY ca.pem /src/\nRUN echo $WORD > /src/word && wc -c /src/large\n"
    wanted = replace(
        request_for(engine, text),
        context=context,
        files={"ca.pem": b"certificate"},
        arguments={"WORD": "hello"},
        labels={"a": "b"},
    )
    events: list[Event] = []
    image = engine.build(wanted, progress=events.append)
    found = engine.image(image)
    assert found is not None
    assert found.labels["a"] == "b"
    files = read_folder(engine, image, "/src")
    assert (files["src/word"], files["src/ca.pem"], len(files["src/large"])) == (b"hello\n", b"certificate", 3145728)
    assert any(isinstance(event, StepEvent) and "RUN echo" in event.name for event in events)
    assert any(isinstance(event, LogEvent) and "3145728" in event.text for event in events)


def test_a_failing_stage_gives_its_last_lines_and_its_line(engine: Engine) -> None:
    text = "# comment\nFROM SHELL AS tools\nRUN true\nFROM SHELL AS build\nRUN seq 1 100 && \\\n  exit 3\n"
    with pytest.raises(StageError, match=r"trial: stage 'build' failed at Dockerfile line 5: RUN seq") as error:
        engine.build(request_for(engine, text))
    assert error.value.log == tuple(str(number) for number in range(61, 101))
    assert "code: 3" in str(error.value.why)


def test_a_from_that_is_not_local_is_explained(engine: Engine) -> None:
    text = f"FROM localhost:9/{PREFIX}/absent:1 AS build\nRUN true\n"
    with pytest.raises(StageError, match="the engine holds no image of that name") as error:
        engine.build(request_for(engine, text))
    assert error.value.line == 1


def test_a_format_whose_stage_is_missing_is_explained(engine: Engine) -> None:
    with pytest.raises(StageError, match="add a stage of that name"):
        engine.build(request_for(engine, "FROM SHELL AS build\nRUN true\n", target="deb"))


def test_a_dockerfile_that_does_not_parse_gives_its_line(engine: Engine) -> None:
    with pytest.raises(StageError, match="Dockerfile line 2: RUM true") as error:
        engine.build(request_for(engine, "FROM SHELL\nRUM true\n"))
    assert error.value.line == 2


def test_a_foreign_platform_is_built_without_running_anything_of_it(engine: Engine) -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM SHELL AS build\nARG TARGETARCH\n"
        "RUN mkdir /out && echo $TARGETARCH > /out/arch\n"
        "FROM FOREIGN AS image\nCOPY --from=build /out /opt\nUSER 1000\n"
        "FROM scratch AS deb\nCOPY --from=build /out /out\n"
    )
    wanted = replace(request_for(engine, text, target="image"), platform=foreign(engine))
    image = engine.image(engine.build(wanted))
    assert image is not None
    assert image.platform == foreign(engine)
    assert image.config["User"] == "1000"
    deb = engine.build(replace(wanted, target="deb"))
    assert read_folder(engine, deb, "/out") == {"out/arch": f"{foreign(engine).architecture}\n".encode()}


def test_a_cancelled_build_leaves_no_process_container_or_image(engine: Engine) -> None:
    cancel = threading.Event()
    images = set(engine.images(BASE_LABEL))
    marker = f"6{time.monotonic_ns() % 10**9}"

    def watch(event: Event) -> None:
        if isinstance(event, LogEvent) and "begun" in event.text:
            cancel.set()

    text = f"FROM SHELL AS build\nRUN echo a > /f\nRUN echo begun; sleep {marker}\n"
    with pytest.raises(CancelledError):
        engine.build(request_for(engine, text), progress=watch, cancel=cancel)
    deadline = time.monotonic() + 30
    while marker in _processes() and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert marker not in _processes()
    assert step_containers(engine) == []
    assert set(engine.images(BASE_LABEL)) == images


def _processes() -> str:
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(line for line in lines if line.startswith("sleep"))


def test_stages_that_do_not_need_each_other_run_side_by_side(docker: Engine) -> None:
    """Each of two stages waits for a file that the other makes in a shared cache: one after the other would fail."""
    if not docker.buildkit:
        pytest.skip("the engine has no BuildKit")
    stage = (
        "FROM SHELL AS {0}\nRUN --mount=type=cache,target=/meet,id={2} touch /meet/{0} && "
        "i=0; until [ -e /meet/{1} ]; do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 0.1; done; touch /{0}\n"
    )
    cache = f"{PREFIX}-{time.monotonic_ns()}"
    text = stage.format("a", "b", cache) + stage.format("b", "a", cache)
    text += "FROM SHELL AS both\nRUN --mount=type=bind,from=a,target=/from ls /from/a\nCOPY --from=b /b /\n"
    assert docker.build(request_for(docker, text, target="both"))


def test_builds_from_several_threads_do_not_disturb_each_other(docker: Engine) -> None:
    found: dict[int, bytes] = {}

    def work(number: int) -> None:
        text = f"FROM SHELL AS a\nRUN mkdir /out && echo {number} > /out/n\n"
        image = docker.build(request_for(docker, text))
        found[number] = read_folder(docker, image, "/out")["out/n"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number}\n".encode() for number in range(4)}


def test_a_missing_folder_a_file_and_the_root_are_refused_and_no_container_stays(docker: Engine) -> None:
    for folder, reason in (("/none", "there is no folder /none"), ("/bin/busybox", "not a folder"), ("/", "the root")):
        with pytest.raises(BuildError, match=reason), docker.export_folder(SHELL, folder):
            pass
    with pytest.raises(NotFoundError, match="is not in the engine"), docker.export_folder(f"{PREFIX}/no:1", "/x"):
        pass
    assert containers_of(docker) == []


def test_an_error_of_the_reader_of_a_folder_passes_and_no_container_stays(docker: Engine) -> None:
    with pytest.raises(OSError, match="disk full"), docker.export_folder(SHELL, "/bin") as blocks:
        next(blocks)
        raise OSError(28, "disk full")
    assert containers_of(docker) == []


def test_an_export_that_is_cancelled_ends(docker: Engine) -> None:
    cancel = threading.Event()
    with pytest.raises(CancelledError), docker.export_folder(SHELL, "/bin", cancel=cancel) as blocks:
        cancel.set()
        list(blocks)
    assert containers_of(docker) == []


def test_saved_images_share_their_layers(docker: Engine) -> None:
    with closing(docker.save_image(SHELL, FOREIGN)) as blocks:
        data = b"".join(blocks)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        assert {tuple(entry["RepoTags"]) for entry in json.load(file)} == {(SHELL,), (FOREIGN,)}


def test_a_container_runs_in_its_box_and_is_removed(docker: Engine) -> None:
    wanted = ContainerRequest(
        image=SHELL,
        command=["sh", "-c", "echo out; echo $A >&2; id -u; touch /tmp/x && touch /x; exit 3"],
        environment={"A": "err"},
        user="1234",
        read_only=True,
        tmpfs=("/tmp",),
    )
    result = docker.run(wanted)
    assert result.exit_code == 3
    assert result.stdout == b"out\n1234\n"
    assert result.stderr.startswith(b"err\n")
    assert b"Read-only file system" in result.stderr
    assert containers_of(docker) == []


def test_a_container_that_does_not_end_is_removed_when_its_time_is_up(docker: Engine) -> None:
    with pytest.raises(BuildError, match="did not end within 0 seconds"):
        docker.run(ContainerRequest(image=SHELL, command=["sleep", "600"]), timeout=0.2)
    assert containers_of(docker) == []


def test_a_container_is_removed_when_the_user_cancels(docker: Engine) -> None:
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(CancelledError):
        docker.run(ContainerRequest(image=SHELL, command=["sleep", "600"]), cancel=cancel)
    assert containers_of(docker) == []


def test_a_container_beside_the_program_can_be_asked_and_stopped(docker: Engine) -> None:
    wanted = ContainerRequest(image=SHELL, command=["httpd", "-f", "-p", "8080", "-h", "/etc"], network="bridge", publish=(8080,))
    with docker.start(wanted) as container:
        assert container.state()["Running"] is True
        assert container.port(8080) > 0
        assert container.execute(["sh", "-c", "echo hi; exit 4"]).exit_code == 4
        assert container.stop(1) in (0, 137, 143)
    assert containers_of(docker) == []


def test_a_command_that_does_not_exist_is_an_error_and_no_container_stays(docker: Engine) -> None:
    with pytest.raises(BuildError, match=r"the engine refused while running(.|\n)*nonesuch"):
        docker.run(ContainerRequest(image=SHELL, command=["nonesuch"]))
    assert containers_of(docker) == []


def test_a_tag_that_moves_leaves_no_unnamed_image(docker: Engine) -> None:
    tag = f"{PREFIX}/moving:1"
    wanted = replace(request_for(docker, "FROM SHELL\nRUN echo 1 > /n\n"), tag=tag, temporary=False)
    first = docker.build(wanted)
    second = docker.build(replace(wanted, labels={"n": "2"}))
    try:
        assert first != second
        assert docker.image(first) is None
    finally:
        docker.remove_image(tag)
    assert docker.image(second) is None


def test_what_a_killed_session_left_is_found_by_the_next(docker: Engine) -> None:
    gone = subprocess.run(["sh", "-c", "echo $$"], check=True, capture_output=True, text=True).stdout.strip()
    node = docker.session.partition("/")[0]
    killed = replace(docker, session=f"{node}/{gone}/test")
    image = killed.build(request_for(killed, "FROM SHELL\nRUN true\n"))
    docker.prune_temporary()
    assert docker.image(image) is None
    assert docker.image(SHELL) is not None


@contextmanager
def registry(content: dict[str, tuple[str, bytes]]) -> Iterator[str]:
    """A read-only registry on loopback, which engines take without TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/v2/":
                kind, data = "application/json", b"{}"
            elif self.path.rpartition("/")[2] in content:
                kind, data = content[self.path.rpartition("/")[2]]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_base_is_pulled_by_its_digest_and_checked(docker: Engine, rootfs: Path) -> None:
    layer = rootfs.read_bytes()
    content: dict[str, tuple[str, bytes]] = {}

    def add(kind: str, data: bytes) -> dict[str, object]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        content[digest] = (kind, data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    platform = docker.platform
    config = {
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Labels": {"from": PREFIX}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": add("application/vnd.docker.container.image.v1+json", json.dumps(config).encode()),
        "layers": [add("application/vnd.docker.image.rootfs.diff.tar", layer)],
    }
    digest = Digest(str(add(str(manifest["mediaType"]), json.dumps(manifest).encode())["digest"]))
    events: list[Event] = []
    with registry(content) as host:
        reference = Reference(host=host, repository="team/base", digest=digest)
        image = docker.pull(reference, platform=platform, progress=events.append)
        try:
            found = docker.image(image)
            assert found is not None
            assert found.labels == {"from": PREFIX}
            assert f"{host}/team/base@{digest}" in found.repo_digests
            with pytest.raises(NotFoundError, match="does not exist"):
                docker.pull(replace(reference, digest=Digest("sha256:" + "0" * 64)), platform=platform)
            with pytest.raises(VerificationError, match="is not pinned"):
                docker.pull(reference.tagged("latest"), platform=platform)
        finally:
            docker.remove_image(f"{host}/team/base@{digest}")
    assert [event.state for event in events if isinstance(event, StepEvent)] == ["started", "completed"]
