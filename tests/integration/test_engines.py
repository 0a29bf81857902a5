"""Engines in Python and Node, packaged with a handful of lines: they run, answer, and are what they say for every platform."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.integration.engines_support import MACHINES, Running, Shipped, engine_project, running, shipped, small_project
from tests.support.projects import NEVER, Finished, Layout, Project, members

pytestmark = pytest.mark.integration

MARK = "mark-of-the-host-that-builds"
"""Stands in what a build stage is told of its host, and in nothing that ships."""


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """One engine after its build; tests that change anything take a copy of the project."""

    name: str
    project: Project
    build: Finished

    def image(self, platform: str) -> Shipped:
        return shipped(self.project.dist, platform)

    @property
    def digest(self) -> str:
        found: str = self.build.data["digest"]
        return found


@pytest.fixture(scope="module", params=["python", "node"])
def packaged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """Built for both platforms from a folder that is source, definition and output at once."""
    past = [value for value in (os.environ.get("NO_PROXY"), f"{MARK}.example") if value]
    project = engine_project(request.param, tmp_path_factory.mktemp(request.param) / "project", {"NO_PROXY": ",".join(past)})
    build = project.done("--json", "--log-format", "json", "build")
    return Packaged(name=request.param, project=project, build=build)


def asks_the_python_engine(server: Running) -> None:
    answer = server.ask("/v1/statistics", {"values": [1, 2, 3, 4]})
    assert answer == {"count": 4, "mean": 2.5, "median": 2.5, "deviation": 1.118033988749895}
    assert server.execute("python3", "-c", "import os; print(os.getuid(), os.getgid(), os.getcwd())").split() == [
        "65532", "65532", "/usr/lib/statistics-engine/app",
    ]  # fmt: skip
    # Under a read-only root there is still a place for temporary files.
    assert server.execute("python3", "-c", "import tempfile; tempfile.TemporaryFile().write(b'x')") == ""


def asks_the_node_engine(server: Running) -> None:
    answer = server.ask("/v1/fingerprint", {"text": "nexus"})
    assert answer == {"algorithm": "xxh64", "fingerprint": "4aeffe3d572a654b", "bytes": 5}
    assert server.ask("/v1/satisfies?version=1.4.2&range=^1.2.0")["satisfies"] is True
    facts = server.execute("node", "-p", "[process.getuid(), process.getgid(), process.cwd(), process.env.NODE_ENV].join(' ')")
    assert facts.split() == ["65532", "65532", "/usr/lib/fingerprint-engine/app", "production"]


ASKING: dict[str, Callable[[Running], None]] = {"python": asks_the_python_engine, "node": asks_the_node_engine}


def test_an_engine_answers_from_a_read_only_root_and_stops_cleanly(
    packaged: Packaged, engine: docker.DockerClient, native: str
) -> None:
    with running(engine, packaged.image(native)) as server:
        ASKING[packaged.name](server)
        check = packaged.image(native).config["config"]["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        server.execute(*check[1:])
        started = time.monotonic()
        server.container.stop(timeout=20)
        server.container.reload()
        assert server.container.attrs["State"]["ExitCode"] == 0
        assert time.monotonic() - started < 15, "it did not hear SIGTERM"


@pytest.mark.parametrize("platform", MACHINES)
def test_every_compiled_file_is_for_its_image_s_processor(packaged: Packaged, platform: str) -> None:
    found = packaged.image(platform).compiled()
    own = [name for name in packaged.image(platform).names() if name in found]
    assert len(own) == {"python": 2, "node": 1}[packaged.name], own
    assert set(found.values()) == {MACHINES[platform]}


def test_a_second_build_asks_no_engine_though_its_output_lies_in_the_source(packaged: Packaged) -> None:
    again = packaged.project.done("--json", "--log-format", "json", "build", DOCKER_HOST=NEVER)
    assert again.data["digest"] == packaged.digest
    assert {state for step, state in again.states().items() if step.startswith("image ")} == {"cached"}


def test_a_word_in_the_definition_is_no_change_of_the_source(packaged: Packaged, tmp_path: Path) -> None:
    project = packaged.project.copy(tmp_path / "project", with_dist=True)
    project.write("images/nexus.yaml", "# A remark.\n" + (project.root / "images/nexus.yaml").read_text())
    assert project.done("--json", "build", DOCKER_HOST=NEVER).data["digest"] == packaged.digest


def test_two_clean_builds_are_equal(packaged: Packaged, tmp_path: Path) -> None:
    project = packaged.project.copy(tmp_path / "elsewhere")
    assert project.done("--json", "build", "--no-cache").data["digest"] == packaged.digest


def test_nothing_of_the_host_or_the_build_is_shipped(packaged: Packaged) -> None:
    for platform in MACHINES:
        image = packaged.image(platform)
        own = image.own
        assert MARK.encode() not in own
        assert b"BEGIN CERTIFICATE" not in own
        left = ("trust", "direct_url.json", ".package-lock.json", "nexus.yaml", "container.yaml", "oci-layout", "__pycache__")
        assert [name for name in image.names() if not {*left}.isdisjoint(name.split("/"))] == []
        assert MARK not in str(image.config)


def test_requirements_are_chosen_for_the_target_and_built_where_they_have_no_wheel(tmp_path: Path) -> None:
    wanted = {
        "requirements/prod.txt": "-r base.txt\nmarkupsafe\n",
        "requirements/base.txt": 'docopt==0.6.2\nidna; platform_machine == "aarch64"\nzipp; platform_machine == "x86_64"\n',
        "svc/__main__.py": "",
    }
    project = small_project(
        tmp_path,
        "runtime: python, command: [python3, -m, svc], python: {requirements: requirements/prod.txt, include: [svc]}",
        wanted,
    )
    project.done("build")
    for platform, there, absent in (("linux/amd64", "zipp", "idna"), ("linux/arm64", "idna", "zipp")):
        image = shipped(project.dist, platform)
        modules = {name.partition("/site-packages/")[2].partition("/")[0] for name in image.names() if "/site-packages/" in name}
        assert {"docopt.py", "markupsafe", there} <= modules
        assert absent not in modules
        assert {machine for name, machine in image.compiled().items() if "markupsafe" in name} == {MACHINES[platform]}


def test_a_project_is_installed_with_its_program_and_the_version_that_git_would_tell(
    tmp_path: Path, engine: docker.DockerClient, native: str
) -> None:
    files = {
        "pyproject.toml": (
            '[build-system]\nrequires = ["setuptools>=64", "setuptools_scm>=8"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "greeter"\ndynamic = ["version"]\ndependencies = ["bottle"]\n'
            '[project.scripts]\ngreet = "greeter:run"\n[tool.setuptools_scm]\n'
        ),
        "src/greeter/__init__.py": (
            "import bottle, importlib.metadata\n"
            "bottle.route('/')(lambda: {'version': importlib.metadata.version('greeter')})\n"
            "def run(): bottle.run(host='0.0.0.0', port=8080, quiet=True)\n"
        ),
    }
    project = small_project(tmp_path, "runtime: python, command: [greet], python: {project: true}", files)
    project.done("build", "--platform", native)
    with running(engine, shipped(project.dist, native)) as server:
        assert server.ask("/") == {"version": "1.0.0"}


def test_an_engine_without_a_lock_file_runs_the_command_of_a_package(
    tmp_path: Path, engine: docker.DockerClient, native: str
) -> None:
    files = {"package.json": '{"dependencies": {"http-server": "^14"}}', "public/answer.json": '{"answer": 42}'}
    project = small_project(tmp_path, 'runtime: node, command: [http-server, public, -p, "8080"]', files)
    project.done("build", "--platform", native)
    with running(engine, shipped(project.dist, native)) as server:
        assert server.ask("/answer.json") == {"answer": 42}


def test_what_needs_a_compiler_is_refused_with_the_line_of_the_dockerfile(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": (
            '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "fast"\nversion = "1"\n'
            '[tool.setuptools]\next-modules = [{name = "fast", sources = ["fast.c"]}]\n'
        ),
        "fast.c": "int x;\n",
    }
    project = small_project(tmp_path, "runtime: python, command: [python3], python: {project: true}", files)
    message = project.run("build").refused(1)
    assert "stage 'compile' failed at Dockerfile line" in message
    assert "the project itself has no wheel for linux on" in message
    assert "cannot be built here, where there is no compiler" in message


def test_a_wrong_hash_is_refused_by_pip_s_own_words(tmp_path: Path) -> None:
    files = {"requirements.txt": f"zipp==3.20.2 --hash=sha256:{'0' * 64}\n", "app.py": ""}
    message = small_project(tmp_path, "runtime: python, command: [python3, app.py]", files).run("build").refused(1)
    assert "DO NOT MATCH THE HASHES" in message
    assert "zipp==3.20.2" in message


@pytest.mark.parametrize(
    ("engine_text", "files", "said"),
    [
        (
            "runtime: python, command: [gunicorn, app]",
            {"requirements.txt": "zipp\n", "app.py": ""},
            "the image has no program 'gunicorn'",
        ),
        (
            "runtime: node, command: [http-server]",
            {"package.json": '{"dependencies": {"semver": "^7"}}'},
            "no installed package has the command 'http-server'",
        ),
    ],
    ids=["python", "node"],
)
def test_a_command_that_nothing_brings_is_refused_when_it_is_built(
    tmp_path: Path, engine_text: str, files: dict[str, str], said: str
) -> None:
    assert said in small_project(tmp_path, engine_text, files).run("build").refused(1)


@pytest.mark.parametrize(
    ("engine_text", "files", "said"),
    [
        (
            "runtime: node, command: [npm, start]",
            {"package.json": '{"scripts": {"start": "node server.js"}}', "server.js": ""},
            'package.json says "node server.js", which is `command: ["node", "server.js"]`',
        ),
        (
            "runtime: python, command: [python3, app.py]",
            {"requirements.txt": "zipp\n-e .\n", "app.py": ""},
            "requirements.txt:2: '-e .' is a folder of the source",
        ),
        (
            "runtime: python, command: [python3, app.py]",
            {"requirements.txt": "-r more.txt\n", "app.py": ""},
            "the requirements file 'more.txt' is not in the engine's source",
        ),
    ],
    ids=["npm start", "editable", "missing include"],
)
def test_what_can_be_told_without_an_engine_is_told_before_one_is_asked(
    tmp_path: Path, engine_text: str, files: dict[str, str], said: str
) -> None:
    project = small_project(tmp_path, engine_text, files)
    assert said in project.run("build", DOCKER_HOST=NEVER).refused(2)


def test_a_prebuilt_program_is_looked_at_before_it_is_shipped(tmp_path: Path, native: str) -> None:
    project = small_project(
        tmp_path,
        "runtime: binary, command: [srv], binary: {trees: {linux/amd64: tree, linux/arm64: tree}}",
        {"tree/srv": "#!/bin/sh\n"},
    )
    assert "the program 'srv' is not executable" in project.run("build").refused(1)
    (project.root / "tree/srv").chmod(0o755)
    assert "a script for /bin/sh, which the image does not have" in project.run("build").refused(1)
    header = bytearray(b"\x7fELF\x02\x01\x01".ljust(64, b"\0"))
    header[18] = MACHINES["linux/amd64"]
    (project.root / "tree/srv").write_bytes(header)
    assert "the program 'srv' is not for linux/arm64" in project.run("build").refused(1)
    (project.root / "tree/srv").write_bytes(Path("/bin/true").read_bytes())
    message = project.run("build", "--platform", native).refused(1)
    assert "the program 'srv' is dynamically linked, and the image has no /lib" in message


def test_an_image_stage_that_stands_on_nothing_ships_no_base(tmp_path: Path, native: str) -> None:
    project = small_project(
        tmp_path,
        "runtime: binary, command: [/usr/lib/small/srv], binary: {trees: {linux/amd64: tree, linux/arm64: tree}}",
        {"tree/srv": ""},
    )
    header = bytearray(b"\x7fELF\x02\x01\x01".ljust(64, b"\0"))
    header[18] = MACHINES[native]
    (project.root / "tree/srv").write_bytes(header)
    (project.root / "tree/srv").chmod(0o755)
    text = project.template("engine.Dockerfile.j2")
    project.write("dockerfiles/engine.Dockerfile.j2", text.replace("FROM {{ base }} AS image", "FROM scratch AS image"))
    project.done("build", "--platform", native)
    store = Layout(project.dist / "oci")
    image = store.images("container:1.0.0")[native]
    files = {member.name for layer in image.layers for member in members(store.tar(layer)) if not member.isdir()}
    assert files == {"usr/lib/small/srv"}
    assert "org.opencontainers.image.base.name" not in image.config["config"]["Labels"]
