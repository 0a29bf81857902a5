"""The Python and Node test engines as archives and packages, from definitions that name no format's own words: they are installed
beside an interpreter of the distribution, and their services answer.
"""

from __future__ import annotations

import configparser
import io
import json
import struct
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.acceptance_project import companion
from tests.integration.engines_support import MACHINES, engine_project
from tests.support.clean_debian import Machine, clean_debian, machine
from tests.support.projects import NEVER, Project

pytestmark = pytest.mark.integration

_PATIENCE = 30
_POST = {
    "python": "python3 -c 'import sys, urllib.request as u; print(u.urlopen(u.Request(*sys.argv[1:2], sys.argv[2].encode(), "
    '{"Content-Type": "application/json"})).read().decode())\'',
    "node": 'node -e \'fetch(process.argv[1], {method: "POST", body: process.argv[2], headers: '
    '{"content-type": "application/json"}}).then(a => a.text()).then(console.log)\'',
}
"""A POST by the interpreter that is there anyway."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine, what it is called, and a question with its answer."""

    runtime: str
    name: str
    version: str
    path: str
    question: Any
    answer: Any
    interpreter: str
    """What an rpm of Fedora's interpreter provides."""
    project: Project

    def file(self, ending: str) -> Path:
        (found,) = (self.project.dist / "artifacts/runtime").glob(f"*{ending}")
        return found


@pytest.fixture(scope="module", params=["python", "node"])
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Built for both platforms."""
    project = engine_project(request.param, tmp_path_factory.mktemp("packaged") / "project", {}, "runtime")
    project.done("build", "--distribution", "runtime")
    facts: dict[str, Any] = {
        "python": {
            "name": "statistics-engine", "version": "2.3.1", "path": "/v1/statistics", "question": {"values": [1, 2, 3, 4]},
            "answer": {"count": 4, "mean": 2.5, "median": 2.5, "deviation": 1.118033988749895}, "interpreter": "python(abi) = 3.13",
        },
        "node": {
            "name": "fingerprint-engine", "version": "3.1.4", "path": "/v1/fingerprint", "question": {"text": "nexus"},
            "answer": {"algorithm": "xxh64", "fingerprint": "4aeffe3d572a654b", "bytes": 5}, "interpreter": "nodejs = 20.19",
        },
    }[request.param]  # fmt: skip
    return Engine(runtime=request.param, project=project, **facts)


@pytest.fixture(scope="module")
def debian(native: str) -> Iterator[Machine]:
    """A Debian with both interpreters, and no other package manager's packages."""
    with machine(clean_debian(["nodejs", "python3", "rpm"])) as found:
        yield found


@pytest.fixture(scope="module")
def endings(native: str) -> dict[str, str]:
    machine_name = {"linux/amd64": ("amd64", "x86_64"), "linux/arm64": ("arm64", "aarch64")}[native]
    return {"deb": f"_{machine_name[0]}.deb", "rpm": f".{machine_name[1]}.rpm", "tar.gz": f"-{machine_name[0]}.tar.gz"}


def answers(debian: Machine, shipped: Engine, command: str, port: int = 8080, user: str = "nobody", folder: str = "/") -> None:
    """Start a command as a user with an empty environment; it answers on its port, runs as that user, and ends when asked to."""
    script = (
        f"cd {folder} && env -i PATH=/usr/bin:/bin ENGINE_PORT={port} setpriv --reuid={user} --clear-groups --no-new-privs "
        f"{command} >/tmp/engine.log 2>&1 & echo $!"
    )
    pid = debian.run("sh", "-c", script).strip()
    ask = f"{_POST[shipped.runtime]} http://127.0.0.1:{port}{shipped.path} '{json.dumps(shipped.question)}'"
    deadline = time.monotonic() + _PATIENCE
    while True:
        code, said = debian.attempt("sh", "-c", f"{ask} 2>/dev/null")
        if code == 0 and said.strip():
            break
        assert time.monotonic() < deadline, debian.run("cat", "/tmp/engine.log")
    assert json.loads(said) == shipped.answer
    assert debian.run("stat", "-c", "%U", f"/proc/{pid}").strip() == user
    debian.run("sh", "-c", f"kill {pid}; while [ -d /proc/{pid}/fd ] && grep -q . /proc/{pid}/cmdline; do :; done")


def service(debian: Machine, path: str) -> dict[str, str]:
    """What a unit says about how it is started."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(debian.run("cat", path))
    return dict(unit["Service"])


def serves(debian: Machine, shipped: Engine, unit: str) -> None:
    said = service(debian, unit)
    answers(debian, shipped, said["ExecStart"], user=said["User"], folder=said["WorkingDirectory"])
    assert said["User"] == shipped.name


def test_the_archive_runs_from_where_it_is_unpacked(shipped: Engine, debian: Machine, endings: dict[str, str]) -> None:
    archive = debian.put(shipped.file(endings["tar.gz"]))
    folder = "/opt/a place"
    debian.run("sh", "-c", f"mkdir -p '{folder}' && tar -xzf {archive} -C '{folder}' --strip-components 1 --no-same-owner")
    answers(debian, shipped, f"'{folder}/bin/{shipped.name}'", port=8181)
    assert shipped.version in debian.run(f"{folder}/bin/{shipped.name}", "--version")
    debian.run("sh", "-c", f"cd '{folder}' && sha256sum --quiet -c SHA256SUMS && rm -r '{folder}'")


def test_the_archive_is_installed_and_taken_away_again(shipped: Engine, debian: Machine, endings: dict[str, str]) -> None:
    archive = debian.put(shipped.file(endings["tar.gz"]))
    debian.run("sh", "-c", f"mkdir /unpacked && tar -xzf {archive} -C /unpacked --strip-components 1")
    left_out = (
        "/unpacked",
        "/root",
        "/tmp",
        "/var/log",
        "/etc/passwd*",
        "/etc/group*",
        "/etc/shadow*",
        "/etc/gshadow*",
        "/etc/.pwd.lock",
    )
    before = debian.files(*left_out)
    debian.run("/unpacked/install.sh")
    serves(debian, shipped, f"/etc/systemd/system/{shipped.name}.service")
    assert service(debian, f"/etc/systemd/system/{shipped.name}.service")["ExecStart"] == f"/usr/local/bin/{shipped.name}"
    debian.run(f"/usr/local/share/{shipped.name}/uninstall.sh", "--purge")
    after = debian.files(*left_out)
    assert {path for path in {*before, *after} if before.get(path) != after.get(path)} == set()
    assert debian.attempt("getent", "passwd", shipped.name)[0] == 2
    debian.run("rm", "-r", "/unpacked")


def test_apt_installs_the_deb_beside_debian_s_interpreter(shipped: Engine, debian: Machine, endings: dict[str, str]) -> None:
    package = debian.put(shipped.file(endings["deb"]))
    debian.run("apt-get", "install", "--yes", package)
    serves(debian, shipped, f"/usr/lib/systemd/system/{shipped.name}.service")
    debian.run("apt-get", "purge", "--yes", shipped.name)
    assert debian.attempt("ls", f"/usr/lib/{shipped.name}")[0] == 2


def test_apt_refuses_the_deb_where_the_interpreter_is_missing(shipped: Engine, endings: dict[str, str]) -> None:
    wanted = {"python": "Depends: python3 (>= 3.13~)", "node": "Depends: nodejs (>= 20~)"}[shipped.runtime]
    with machine(clean_debian(["rpm"])) as bare:
        code, said = bare.attempt("apt-get", "install", "--yes", bare.put(shipped.file(endings["deb"])))
    assert code == 100
    assert wanted in said


def test_rpm_installs_it_beside_an_interpreter_as_fedora_s(
    shipped: Engine, debian: Machine, endings: dict[str, str], tmp_path: Path
) -> None:
    package = debian.put(shipped.file(endings["rpm"]))
    code, said = debian.attempt("rpm", "--noplugins", "-i", package)
    assert code, said
    assert shipped.interpreter.partition(" ")[0] in said
    host = companion(tmp_path, "rpm", f"host-of-{shipped.runtime}", provides=[shipped.interpreter])
    debian.run("rpm", "--noplugins", "-i", debian.put(host), package)
    serves(debian, shipped, f"/usr/lib/systemd/system/{shipped.name}.service")
    assert debian.run("rpm", "-V", "--noplugins", shipped.name) == ""
    debian.run("rpm", "--noplugins", "-e", shipped.name)
    assert debian.attempt("ls", f"/usr/lib/{shipped.name}")[0] == 2


@pytest.mark.parametrize("platform", MACHINES)
def test_compiled_modules_are_for_the_package_s_processor(shipped: Engine, platform: str) -> None:
    machines = set()
    with tarfile.open(shipped.file(f"-{platform.replace('/', '-')}.tar.gz")) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() and member.size > 20 else io.BytesIO()
            head = content.read(20) if content else b""
            if head.startswith(b"\x7fELF"):
                machines.add(struct.unpack_from("<H", head, 18)[0])
    assert machines == {MACHINES[platform]}


def test_a_second_build_asks_no_container_engine(shipped: Engine) -> None:
    again = shipped.project.done("--log-format", "json", "build", "--distribution", "runtime", DOCKER_HOST=NEVER)
    assert set(again.states().values()) == {"cached"}


def test_the_packages_pass_every_check_under_a_real_systemd(shipped: Engine, native: str, tmp_path: Path) -> None:
    project = shipped.project.copy(tmp_path / "project", with_dist=True)
    tested = project.done("test", "--platform", native, "--format", "deb", "--format", "rpm")
    rows = [line.split()[:3] for line in tested.out.splitlines() if line.startswith(("deb ", "rpm "))]
    assert rows == [["deb", native, "passed"], ["rpm", native, "passed"]]
