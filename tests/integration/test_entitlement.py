"""Engines that ask for an entitlement, really started: as a container, from an archive, from a package, and under systemd."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.integration.engines_support import Shipped, shipped
from tests.integration.entitled_engines import (
    DAY,
    STARTED,
    Images,
    Vendor,
    binary_engine,
    go_engine,
    loaded,
    python_engine,
    variables,
)
from tests.support.clean_debian import Machine, clean_debian, machine
from tests.support.projects import REPOSITORY, Project

pytestmark = pytest.mark.integration

VENDOR, STRANGER = Vendor(), Vendor()
_FIFO = """\
set -eu
rm -f out; mkfifo out; {variables} {program} >out 2>&1 & exec 3<out
said=; while read -r line <&3; do printf '%s\\n' "$line"; case $line in "engine started"*) kill -TERM $!;; esac; done
wait $!
"""
"""Starts a program, asks it to stop as soon as it says that it has started, prints what it says, and ends as it does."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, native: str) -> Project:
    """An engine of Go for the tier `enterprise`, built for this machine."""
    made = go_engine(tmp_path_factory.mktemp("toll") / "project", native, VENDOR, "tar.gz, deb")
    made.done("build")
    return made


@pytest.fixture(scope="module")
def image(project: Project, native: str) -> Shipped:
    return shipped(project.dist, native)


@pytest.fixture(scope="module")
def images(engine: docker.DockerClient, image: Shipped) -> Iterator[Images]:
    with loaded(engine, image) as found:
        yield found


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine(clean_debian(["python3"])) as made:
        yield made


def artifact(project: Project, ending: str) -> Path:
    (found,) = (project.dist / "artifacts/runtime").glob(f"*{ending}")
    return found


def started(host: Machine, program: str, **environment: str) -> str:
    """What a program says that is asked to stop when it has started; it must end with 0."""
    words = " ".join(f"{name}='{value}'" for name, value in environment.items())
    return host.run("sh", "-c", _FIFO.format(variables=words, program=program))


def refused(host: Machine, *command: str) -> str:
    """What a command says that must end with 77, and never start the engine; one that did would be stopped after a minute."""
    code, said = host.attempt("timeout", "60", *command)
    assert (code, STARTED in said) == (77, False), said
    return said


def edited(token: str) -> str:
    """The same token for another tier, under the old signature."""
    head, payload, signature = token.split(".")
    claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).replace(b'"enterprise"', b'"sovereign"')
    return f"{head}.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{signature}"


def test_the_entrypoint_is_the_checker_which_is_static_and_for_the_target(image: Shipped) -> None:
    assert image.config["config"]["Entrypoint"] == ["/usr/libexec/toll/entitlement", "--", "toll"]
    assert image.config["config"]["Cmd"] == ["serve"]
    names = image.names()
    assert {"usr/libexec/toll/entitlement", "usr/libexec/toll/toll", "usr/bin/toll"} <= names
    program = image.read("usr/libexec/toll/entitlement")
    assert b"/lib64/ld-linux" not in program
    assert base64.b64encode(VENDOR.key.public_key().public_bytes_raw()) in program


def test_with_its_entitlement_the_engine_starts_as_the_first_process_and_gets_the_signal(images: Images) -> None:
    with images.made(token=VENDOR.token(), TOLL_WORKERS="99", NEXUS_ENTITLEMENT_TIER="sovereign") as container:
        said = container.start()
        assert f'{STARTED}1 with ["toll" "serve"]' in said
        assert variables(said) == {
            "TOLL_WORKERS": "4", "NEXUS_ENTITLEMENT_TIER": "enterprise", "NEXUS_ENTITLEMENT_CUSTOMER": "Example Roads",
            "NEXUS_ENTITLEMENT_ID": "order-1", "NEXUS_ENTITLEMENT_FEATURES": "cash", "NEXUS_ENTITLEMENT_LIMITS": "workers=4",
            "NEXUS_ENTITLEMENT_EXPIRES": variables(said)["NEXUS_ENTITLEMENT_EXPIRES"],
        }  # fmt: skip
        assert container.stopped().endswith("engine stopped by terminated\n")


def test_a_token_in_a_variable_goes_no_further_than_the_checker(images: Images) -> None:
    token = VENDOR.token()
    with images.made(NEXUS_ENTITLEMENT=token, TOLL_WORKERS="3") as container:
        said = container.start()
        assert variables(said)["TOLL_WORKERS"] == "3"
        assert "NEXUS_ENTITLEMENT" not in variables(said)
        assert token[-40:] not in container.stopped()


REFUSED: dict[str, tuple[Callable[[], str | None], str, str]] = {
    "missing": (lambda: None, "toll needs an entitlement, and there is none", "/etc/toll/entitlement.token"),
    "edited": (lambda: edited(VENDOR.token()), "was changed after it was signed", "as the vendor sent it"),
    "wrong-key": (STRANGER.token, "was signed with another key", "issued for this engine by its vendor"),
    "expired": (
        lambda: VENDOR.token(not_after=int(time.time()) - 7200, grace=3600),
        "has expired",
        "ask the vendor for a new one",
    ),
    "wrong-engine": (lambda: VENDOR.token(engine="bridge"), "is for the engine bridge", "use the entitlement for toll"),
    "wrong-distribution": (
        lambda: VENDOR.token(distributions=("runtime",)),
        "does not cover the container distribution",
        "use one of those",
    ),
    "wrong-tier": (
        lambda: VENDOR.token(tier="professional"),
        "is for the tier professional",
        "use the engine of the tier professional",
    ),
    "revoked": (lambda: VENDOR.token(id="lost-1"), "the entitlement lost-1 was revoked", "ask the vendor"),
    "not-yet-valid": (lambda: VENDOR.token(not_before=int(time.time()) + 7200), "holds from", "wait until then"),
    "clock": (lambda: VENDOR.token(issued=int(time.time()) + 7200), "clock was set back", "set this machine's clock right"),
    "malformed": (lambda: "licence key 4711", "this is no entitlement", "as the vendor sent it"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_without_a_good_entitlement_no_container_starts(images: Images, reason: str) -> None:
    make, what, advice = REFUSED[reason]
    token = make()
    with images.made(token=token) as container:
        said = container.refused()
    assert said.startswith(f"entitlement: refused ({reason}): ")
    assert what in said
    assert advice in said.splitlines()[-1]
    assert token is None or token[-20:] not in said


def test_a_token_that_the_user_may_not_read_is_no_missing_one(images: Images) -> None:
    with images.made() as container:
        container.put("/run/secrets/entitlement", VENDOR.token(), mode=0o600)
        said = container.refused()
    assert "refused (unreadable)" in said
    assert "permission denied" in said
    assert "(65532)" in said


def test_a_token_whose_file_was_named_has_to_be_there(images: Images) -> None:
    with images.made(token=VENDOR.token(), NEXUS_ENTITLEMENT_FILE="/nowhere/token") as container:
        assert "refused (unreadable)" in container.refused()


def test_a_file_that_is_too_large_is_not_read(images: Images) -> None:
    with images.made(token="x" * 100_000) as container:
        assert "more than 8192 bytes" in container.refused()


def test_in_its_grace_it_starts_with_a_warning(images: Images) -> None:
    with images.made(token=VENDOR.token(not_after=int(time.time()) - 3600, grace=DAY)) as container:
        assert "entitlement: warning: the entitlement order-1 ended at" in container.start()


def test_what_starts_no_engine_is_exempt_and_nothing_else(images: Images) -> None:
    with images.made("--version") as container:
        container.container.start()
        assert container.container.wait(timeout=60)["StatusCode"] == 0
        assert container.container.logs() == b"toll 1.0.0\n"
    with images.made("serve", "--version") as container:
        assert "refused (missing)" in container.refused()


def test_a_clock_that_is_set_back_is_noticed_by_the_latest_time_that_was_seen(images: Images) -> None:
    """Programs that are linked statically cannot be told another time, so the time that was written down is moved instead."""
    with images.made(token=VENDOR.token(), NEXUS_ENTITLEMENT_STATE="/state") as container:
        container.put("/state/other", "", owner=65532)
        container.start()
        container.stopped()
        mark = int(container.read("/state/entitlement-time"))
        assert abs(mark - time.time()) < 600
        container.put("/state/entitlement-time", f"{mark + DAY}\n", owner=65532)
        said = container.refused()
        assert "refused (clock): this machine's clock was set back" in said
        assert "remove /state/entitlement-time" in said
        assert int(container.read("/state/entitlement-time")) == mark + DAY
        container.put("/state/entitlement-time", "tomorrow\n", owner=65532)
        assert "/state/entitlement-time is damaged" in container.start()
        assert int(container.read("/state/entitlement-time")) >= mark


def test_a_state_folder_that_cannot_be_written_is_told_and_stops_nothing(images: Images) -> None:
    with images.made(token=VENDOR.token(), NEXUS_ENTITLEMENT_STATE="/usr") as container:
        assert "the time cannot be written down" in container.start()


def test_the_archive_starts_from_where_it_is_unpacked(project: Project, host: Machine, tmp_path: Path) -> None:
    host.run("tar", "-xf", host.put(artifact(project, ".tar.gz")), "-C", "/opt")
    (program,) = host.run("sh", "-c", "echo /opt/toll-*/bin/toll").split()
    assert "refused (missing)" in refused(host, program, "serve")
    (tmp_path / "good.token").write_text(VENDOR.token())
    (tmp_path / "bad.token").write_text(edited(VENDOR.token()))
    good, bad = host.put(tmp_path / "good.token"), host.put(tmp_path / "bad.token")
    assert "refused (edited)" in refused(host, "env", f"NEXUS_ENTITLEMENT_FILE={bad}", program, "serve")
    said = started(host, f"{program} serve", NEXUS_ENTITLEMENT_FILE=good)
    assert f'with ["{program}" "serve"]' in said
    assert said.endswith("engine stopped by terminated\n")
    assert (
        host.run("env", f"NEXUS_ENTITLEMENT_FILE={good}", f"{Path(program).parents[1]}/libexec/toll/entitlement", "check") == ""
    )
    assert host.run(program, "--version") == "toll 1.0.0\n"


def test_the_package_starts_with_a_token_in_its_folder_of_configuration(project: Project, host: Machine, tmp_path: Path) -> None:
    host.run("dpkg", "--install", host.put(artifact(project, ".deb")))
    assert "refused (missing)" in refused(host, "toll", "serve")
    (tmp_path / "entitlement.token").write_text(VENDOR.token(distributions=("container",)))
    host.run("mkdir", "-p", "/etc/toll")
    host.put(tmp_path / "entitlement.token", "/etc/toll")
    assert "refused (wrong-distribution)" in refused(host, "toll", "serve")
    (tmp_path / "entitlement.token").write_text(VENDOR.token())
    host.put(tmp_path / "entitlement.token", "/etc/toll")
    assert started(host, "toll serve").endswith("engine stopped by terminated\n")
    unit = host.run("cat", "/usr/lib/systemd/system/toll.service")
    assert "\nExecStart=/usr/bin/toll serve\n" in unit
    assert "\nRestartPreventExitStatus=77\n" in unit
    host.run("dpkg", "--purge", "toll")
    host.run("rm", "-r", "/etc/toll")


def test_systemd_starts_what_install_sh_put_there_once_the_acceptance_is_given_a_token(project: Project) -> None:
    issued = project.done(
        "license", "issue", "--key", str(project.root / "vendor.key"), "--customer", "Test", "--tier", "enterprise", "--days", "1", "-o", "t.token"
    )  # fmt: skip
    token = issued.out.strip()
    project.done("license", "verify", token, "--tier", "enterprise", "-d", "runtime")
    (row,) = project.done("--json", "test", "--format", "tar.gz", "--entitlement", token).data["rows"]
    checks = {check["name"]: check["status"] for check in row["checks"]}
    assert checks["the program runs from there"] == "passed"
    assert checks["toll.service is active"] == "passed"
    assert checks["the program says its version"] == "passed"


def test_a_tree_that_was_built_elsewhere_is_started_by_its_name_in_the_archive(
    project: Project, native: str, host: Machine, tmp_path: Path
) -> None:
    with tarfile.open(artifact(project, ".tar.gz")) as archive:
        (name,) = [name for name in archive.getnames() if name.endswith("/libexec/toll/toll")]
        content = archive.extractfile(name)
        assert content
        tree = binary_engine(tmp_path / "tree", native, VENDOR, content.read())
    tree.done("build")
    host.run("mkdir", "/opt/tree")
    host.run("tar", "-xf", host.put(artifact(tree, ".tar.gz")), "-C", "/opt/tree", "--strip-components=1")
    assert "refused (missing)" in refused(host, "/opt/tree/bin/toll")
    said = started(host, "/opt/tree/bin/toll now", NEXUS_ENTITLEMENT=VENDOR.token())
    assert '"serve" "now"]' in said


def test_an_engine_of_a_free_tier_starts_without_one_and_is_capped(
    engine: docker.DockerClient, native: str, host: Machine, tmp_path: Path
) -> None:
    project = python_engine(tmp_path / "python", native)
    project.done("build")
    with loaded(engine, shipped(project.dist, native)) as images, images.made(TOLL_WORKERS="0") as container:
        said = container.start()
        assert variables(said) == {
            "TOLL_WORKERS": "2",
            "NEXUS_ENTITLEMENT_TIER": "developer",
            "NEXUS_ENTITLEMENT_LIMITS": "workers=2",
        }
        assert f"{STARTED}1 with []" in said
        assert container.stopped().endswith("engine stopped by SIGTERM\n")
    host.run("mkdir", "/opt/python")
    host.run("tar", "-xf", host.put(artifact(project, ".tar.gz")), "-C", "/opt/python", "--strip-components=1")
    said = started(host, "/opt/python/bin/toll fast", TOLL_WORKERS="1")
    assert variables(said)["TOLL_WORKERS"] == "1"
    assert "with ['fast']" in said


def test_the_checker_in_go_decides_as_the_vectors_say(project: Project, engine: docker.DockerClient, tmp_path: Path) -> None:
    folder = checker_sources(tmp_path / "checker")
    shutil.copy(REPOSITORY / "tests/entitlement/vectors_test.go", folder)
    shutil.copy(REPOSITORY / "tests/unit/entitlement/vectors.json", folder)
    report = go(project, engine, folder, "NEXUS_ENTITLEMENT_VECTORS=vectors.json go test -v .")
    cases = json.loads((folder / "vectors.json").read_bytes())["cases"]
    assert report.count("    --- PASS: TestVectors/") == len(cases)


def test_the_checker_compiles_to_the_same_bytes_in_any_folder(
    project: Project, engine: docker.DockerClient, tmp_path: Path
) -> None:
    build = "go build -trimpath -ldflags '-s -w -buildid=' -o /dev/stdout . | sha256sum"
    first, second = (go(project, engine, checker_sources(tmp_path / name), build) for name in ("one", "another/folder"))
    assert first == second
    assert len(first) == 68


def checker_sources(folder: Path) -> Path:
    """The sources of the checker, with a configuration that says nothing."""
    shutil.copytree(REPOSITORY / "dockerfiles/entitlement", folder)
    (folder / "config.json").write_text("{}")
    return folder


def go(project: Project, engine: docker.DockerClient, folder: Path, script: str) -> str:
    """What a shell script prints that calls Go in a folder: the host's, or where there is none the one that engines are compiled with."""
    variables = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "-buildvcs=false"}
    if shutil.which("go"):
        command = ["/bin/sh", "-euc", script]
        done = subprocess.run(command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    steps = json.loads(project.done("--json", "plan").out)["steps"]
    (compiler,) = {
        step["detail"]["image"] for step in steps if step["kind"] == "base" and "/go-build:" in step["detail"]["image"]
    }
    variables |= {"HOME": "/work", "PATH": "/usr/bin:/bin"}
    container = engine.containers.create(
        compiler, ["/bin/sh", "-euc", f"mkdir -p /tmp; cd /work; {script}"], environment=variables, network_mode="none", user="0"
    )
    try:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(folder, arcname="work")
        assert container.put_archive("/", buffer.getvalue())
        container.start()
        code = container.wait(timeout=500)["StatusCode"]
        output: str = container.logs().decode()
        assert code == 0, output
        return output
    finally:
        container.remove(force=True, v=True)
