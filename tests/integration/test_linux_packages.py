"""Every Linux format of one build: the same bytes whatever the host is like, any name in it, and no complaint from the checkers."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Reference
from tests.integration.engines_support import MACHINES, small_project
from tests.support.clean_debian import Machine, clean_debian, machine
from tests.support.projects import Project

pytestmark = pytest.mark.integration

PLATFORM = "linux/amd64"
FORMATS = ["tar.gz", "tar.zst", "deb", "rpm", "srpm", "apk", "archlinux", "ipk"]
NAMES = [
    "with blanks.txt", " leading", "trailing ", "ünïcödé-日本.txt", "emoji-😀.txt", "quo'te\"s.txt", "-dash", "$HOME and `x`.txt",
    "a[1]*?.txt", "back\\slash.txt", "percent%20%{name}", "#hash", "a:b,c;d&e|f<g>.txt", "e" * 241 + ".txt",
    "/".join(["d" * 60] * 5) + "/long.txt",
]  # fmt: skip
RUNTIME = f"""\
distribution: runtime
platforms: [{PLATFORM}]
formats: [{", ".join(FORMATS)}]
package:
  files:
    /usr/share/small/names: names
    "/etc/small/with blanks.toml": {{source: names/with blanks.txt, config: true, mode: "0640"}}
    /var/lib/small: {{kind: directory, mode: "0711"}}
    /var/log/small.log: {{kind: ghost}}
    /usr/share/small/only-rpm: {{source: tree/conf, formats: [rpm]}}
  overrides: {{deb: {{section: admin}}}}
  meta: {{name: small-all}}
"""


def small(folder: Path) -> Project:
    """An engine that was built elsewhere, in a folder whose files were made in a random order."""
    folder.mkdir()
    made = small_project(
        folder,
        "maintainer: Ann <ann@nexus.example>, licenses: MIT, runtime: binary, command: [/usr/lib/small/srv], "
        f"binary: {{trees: {{{PLATFORM}: tree, linux/arm64: tree}}}}",
        {},
    )
    header = bytearray(b"\x7fELF\x02\x01\x01".ljust(64, b"\0"))
    header[18] = MACHINES[PLATFORM]
    for name in random.sample(
        [f"names/{name}" for name in NAMES] + [f"tree/conf/{index}" for index in range(20)], k=len(NAMES) + 20
    ):
        made.write(name, f"{name}\n")
    (made.root / "tree/srv").write_bytes(header)
    (made.root / "tree/srv").chmod(0o755)
    made.write("images/runtime.yaml", RUNTIME)
    return made


def artifacts(project: Project) -> dict[str, str]:
    folder = project.dist / "artifacts" / "runtime"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = small(tmp_path_factory.mktemp("packages") / "first")
    project.done("build", "-d", "runtime", SOURCE_DATE_EPOCH="1767225600")
    return project


@pytest.fixture(scope="module")
def packages(built: Project) -> Path:
    return built.dist / "artifacts" / "runtime"


@pytest.fixture
def judge() -> Iterator[Machine]:
    with machine(clean_debian(["lintian", "rpm", "rpmlint"])) as made:
        yield made


def test_another_umask_locale_zone_and_order_of_files_give_the_same_bytes(built: Project, tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        other = small(tmp_path / "second")
        other.done(
            "build", "-d", "runtime", "--no-cache", SOURCE_DATE_EPOCH="1767225600", LC_ALL="tr_TR.UTF-8", TZ="Pacific/Kiritimati"
        )
    finally:
        os.umask(umask)
    assert artifacts(other) == artifacts(built)
    assert {name.removeprefix("small").lstrip("_-") for name in artifacts(built)} == {
        "1.0.0-linux-amd64.tar.gz", "1.0.0-linux-amd64.tar.zst", "1.0.0_amd64.deb", "all_1.0.0_amd64.deb", "1.0.0-1.x86_64.rpm",
        "all-1.0.0-1.x86_64.rpm", "1.0.0-1.x86_64.src.rpm", "1.0.0-r1_x86_64.apk", "1.0.0-1-x86_64.pkg.tar.zst", "1.0.0_x86_64.ipk",
    }  # fmt: skip


def test_any_name_is_installed_and_removed_by_dpkg_and_rpm(packages: Path, judge: Machine) -> None:
    before = judge.files("/var/lib", "/var/log", "/var/cache", "/root", "/tmp", "/run")
    count = [
        "sh",
        "-c",
        "find /usr/share/small/names -type f | wc -l; stat -c '%a %U' /var/lib/small '/etc/small/with blanks.toml'",
    ]
    deb = judge.put(packages / "small_1.0.0_amd64.deb")
    judge.run("dpkg", "--install", deb)
    assert judge.run(*count) == f"{len(NAMES)}\n711 root\n640 root\n"
    judge.run("sh", "-c", "cd / && sha256sum --check --quiet usr/share/small/SHA256SUMS")
    judge.run("dpkg", "--purge", "small")

    rpm = judge.put(packages / "small-1.0.0-1.x86_64.rpm")
    judge.run("rpm", "--initdb")
    judge.run("rpm", "--install", "--nodeps", rpm)
    assert judge.run(*count) == f"{len(NAMES)}\n711 root\n640 root\n"
    assert judge.run("rpm", "--verify", "small") == ""
    assert judge.run("rpm", "-qf", "--qf", "%{NAME}", "/usr/share/small/names") == "small"
    assert judge.attempt("rpm", "-qf", "/usr/share/doc")[0] != 0
    judge.run("touch", "/var/log/small.log")
    judge.run("rpm", "--erase", "--nodeps", "small")
    assert judge.attempt("test", "-e", "/var/log/small.log")[0] == 1
    assert judge.files("/var/lib", "/var/log", "/var/cache", "/root", "/tmp", "/run") == before


def unpacked(data: bytes) -> set[str]:
    """The paths of files in a tar, compressed as the host's tar knows it."""
    listing = subprocess.run(["tar", "-tf", "-", "--quoting-style=literal"], input=data, capture_output=True, check=True).stdout
    return {line.removeprefix("./") for line in listing.decode().splitlines() if not line.endswith("/")}


def test_any_name_is_in_the_formats_that_no_manager_of_debian_reads(packages: Path) -> None:
    names = {f"share/small/names/{name}" for name in NAMES}
    installed = {f"usr/{name}" for name in names}
    with tarfile.open(packages / "small_1.0.0_x86_64.ipk") as ipk:
        inner = ipk.extractfile("./data.tar.gz") or io.BytesIO()
        with tarfile.open(fileobj=inner) as data:
            assert installed <= {member.name.removeprefix("./") for member in data}
    with tarfile.open(packages / "small_1.0.0-r1_x86_64.apk", ignore_zeros=True) as apk:
        assert installed <= {member.name for member in apk}
    archive = packages / "small-1.0.0-linux-amd64.tar.gz"
    with tarfile.open(archive) as tar:
        assert {f"small-1.0.0-linux-amd64/{name}" for name in names} <= {member.name for member in tar}
    if shutil.which("zstd"):
        arch = subprocess.run(["zstd", "-dc", packages / "small-1.0.0-1-x86_64.pkg.tar.zst"], capture_output=True, check=True)
        assert installed <= unpacked(arch.stdout)
        again = subprocess.run(["zstd", "-dc", packages / f"{archive.name[:-3]}.zst"], capture_output=True, check=True)
        assert {f"small-1.0.0-linux-amd64/{name}" for name in names} <= unpacked(again.stdout)


def test_a_format_has_what_was_said_for_it_alone(packages: Path, judge: Machine) -> None:
    deb, rpm = judge.put(packages / "small_1.0.0_amd64.deb"), judge.put(packages / "small-1.0.0-1.x86_64.rpm")
    assert judge.run("dpkg-deb", "--field", deb, "Section").strip() == "admin"
    assert "only-rpm" not in judge.run("dpkg-deb", "--contents", deb)
    assert "/usr/share/small/only-rpm/3" in judge.run("rpm", "-qpl", rpm)
    assert judge.run("rpm", "-qp", "--configfiles", rpm).splitlines() == ["/etc/small/with blanks.toml"]
    meta = judge.put(packages / "small-all_1.0.0_amd64.deb")
    assert judge.run("dpkg-deb", "--field", meta, "Depends").strip() == "small (= 1.0.0)"
    meta = judge.put(packages / "small-all-1.0.0-1.x86_64.rpm")
    assert "small = 1.0.0-1" in judge.run("rpm", "-qpR", meta)


def test_lintian_and_rpmlint_find_nothing_that_is_not_argued(reference: Reference, judge: Machine) -> None:
    folder = reference.dist / "artifacts" / "runtime"
    for name in ("nexus-engine_1.0.0_amd64.deb", "nexus-engine-runtime_1.0.0_amd64.deb"):
        path = judge.put(folder / name)
        code, said = judge.attempt("lintian", "--allow-root", "--fail-on", "error,warning", path)
        assert code == 0, said
    config = judge.put(Path(__file__).parents[1] / "support" / "rpmlint.toml")
    for name in (
        "nexus-engine-1.0.0-1.x86_64.rpm",
        "nexus-engine-runtime-1.0.0-1.x86_64.rpm",
        "nexus-engine-1.0.0-1.x86_64.src.rpm",
    ):
        said = judge.attempt("rpmlint", "--config", config, judge.put(folder / name))[1]
        assert " 0 errors, " in said, said
