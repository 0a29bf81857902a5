"""`nexus-oci test` on the reference engine: every format is installed, started, upgraded and removed, and sabotage does not pass."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration.conftest import Reference
from tests.support.emulation import emulated
from tests.support.openpgp_keys import armored, make_key
from tests.support.projects import Project, leftovers

pytestmark = pytest.mark.integration

_NAME = "nexus-engine"
_LIFE = {"install", "files", "service", "unit", "socket", "upgrade", "downgrade", "remove", "purge"}
_GROUPS = {
    "tar.gz": _LIFE | {"unpack"},
    "tar.zst": _LIFE | {"unpack"},
    "deb": _LIFE | {"lint"},
    "rpm": _LIFE | {"lint"},
    "apk": _LIFE,
    "archlinux": _LIFE,
    "ipk": _LIFE,
    "srpm": {"header", "sources"},
    "apt": {"install", "signature", "service", "remove", "refuse"},
    "yum": {"install", "signature", "service", "remove", "refuse"},
}
"""Groups of which at least one check is made, by format."""


def _rows(data: Any) -> dict[str, dict[str, Any]]:
    return {row["file"]: row for row in data["rows"]}


def _made(row: dict[str, Any], status: str) -> set[str]:
    return {check["group"] for check in row["checks"] if check["status"] == status}


def _failed(row: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["why"] for check in row["checks"] if check["status"] == "failed"}


@pytest.fixture(scope="module")
def signed(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The reference project with every format of the runtime, its rpms and repositories signed."""
    folder = tmp_path_factory.mktemp("signed")
    project = reference.project.copy(folder / "project", with_dist=True)
    key = folder / "key.asc"
    key.write_bytes(armored(make_key()))
    project.done("build", "--distribution", "runtime", "--openpgp-key", str(key))
    return project


@pytest.fixture(scope="module")
def tested(signed: Project, native: str) -> Any:
    """What the verb says of all formats for the engine's own platform, and that it leaves nothing behind."""
    finished = signed.run("--json", "test", "--platform", native)
    assert finished.code == 0, finished.story()
    assert leftovers(finished.pid) == []
    return finished.data


def test_every_format_passes_with_a_real_systemd(tested: Any) -> None:
    rows = tested["rows"]
    assert {row["format"] for row in rows} == set(_GROUPS)
    for row in rows:
        assert row["result"] == "passed", row
        if "-runtime" not in row["file"]:  # the meta-package has no files and no service
            assert _made(row, "passed") >= _GROUPS[row["format"]], row["file"]


def test_what_was_not_looked_at_says_why(tested: Any) -> None:
    skipped = [check for row in tested["rows"] for check in row["checks"] if check["status"] == "skipped"]
    assert skipped and all(check["why"] for check in skipped)
    (apk,) = (row for row in tested["rows"] if row["format"] == "apk")
    assert "its package manager cannot be had on Debian" in {check["why"] for check in apk["checks"]}


def test_the_junit_file_has_a_suite_a_package_and_a_case_a_check(signed: Project, tested: Any) -> None:
    root = ET.parse(signed.dist / "test-report.xml").getroot()
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {row["file"] for row in tested["rows"]}
    for row in tested["rows"]:
        assert len(suites[row["file"]].findall("testcase")) == len(row["checks"])
    assert root.get("failures") == "0" and not list(root.iter("failure"))


def test_another_processors_service_runs_where_a_handler_is_registered(signed: Project, foreign: str) -> None:
    with emulated(foreign) as missing:
        finished = signed.run("--json", "test", "--platform", foreign, "--format", "deb", "--format", "tar.zst")
    assert finished.code == 0, finished.story()
    for name, row in _rows(finished.data).items():
        if "-runtime" not in name and not missing:
            assert {"service", "socket"} <= _made(row, "passed")


def test_another_processors_service_is_skipped_aloud_without_a_handler(signed: Project, foreign: str) -> None:
    if Path("/proc/sys/fs/binfmt_misc/register").exists():
        pytest.skip("this machine may have handlers of its own")
    finished = signed.run("--json", "test", "--platform", foreign, "--format", "apk")
    assert finished.code == 0, finished.story()
    (row,) = finished.data["rows"]
    assert f"no handler for {foreign} is registered" in {check["why"] for check in row["checks"]}
    assert {"install", "upgrade", "remove", "purge"} <= _made(row, "passed")


@pytest.fixture(scope="module")
def sabotaged(signed: Project, native: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Packages that were taken apart and put together worse; the verb is given the files."""
    folder = tmp_path_factory.mktemp("sabotaged")
    files = signed.dist / "artifacts" / "runtime"
    architecture = native.removeprefix("linux/")
    (deb,) = files.glob(f"{_NAME}_*_{architecture}.deb")
    (tar,) = files.glob(f"*-linux-{architecture}.tar.gz")
    (zst,) = files.glob(f"*-linux-{architecture}.tar.zst")
    (srpm,) = (path for path in files.glob("*.src.rpm") if ("x86_64" in path.name) == (architecture == "amd64"))
    made = [
        _repacked_deb(deb, folder / f"broken-unit_{architecture}.deb", _break_unit),
        _repacked_deb(deb, folder / f"wrong-owner_{architecture}.deb", _change_owner),
        _without(tar, folder / f"missing-file-linux-{architecture}.tar.gz", "share/nexus-engine/runtime.schema.json"),
        _cut(zst, folder / f"cut-linux-{architecture}.tar.zst"),
        _cut(srpm, folder / "cut.src.rpm"),
    ]
    finished = signed.run("--json", "test", *map(str, made), "--junit", str(folder / "report.xml"))
    assert finished.code == 1, finished.story()
    assert int(ET.parse(folder / "report.xml").getroot().get("failures", "0")) >= len(made)
    return {name.split("_")[0].split("-linux")[0]: row for name, row in _rows(finished.data).items()}


@pytest.mark.parametrize(
    ("package", "check", "why"),
    [
        ("broken-unit", f"{_NAME}.service is active", "/usr/bin/no-such-program|status=203|exec"),
        ("broken-unit", f"systemd-analyze verify {_NAME}.service", "no-such-program"),
        ("wrong-owner", "owner, mode and content of each file are those of its manifest.json", "belongs to"),
        ("missing-file", "SHA256SUMS is right and lists every file", "runtime.schema.json"),
        ("cut", "GNU tar unpacks it to one folder", "tar"),
        ("cut.src.rpm", "rpm finds its digests right", "DIGESTS NOT OK"),
    ],
)
def test_a_sabotaged_file_fails_by_the_name_of_what_is_wrong(
    sabotaged: dict[str, dict[str, Any]], package: str, check: str, why: str
) -> None:
    if package == "wrong-owner" and os.geteuid() != 0:
        pytest.skip("a package with other owners is made as root")
    failed = _failed(sabotaged[package])
    assert check in failed, failed
    assert any(word in failed[check] for word in why.split("|")), failed[check]


@pytest.fixture(scope="module")
def failing_script(reference: Reference, native: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Packages of a definition whose script fails when they are installed."""
    project = reference.project.copy(tmp_path_factory.mktemp("script") / "project", with_dist=True)
    project.write("images/engine/broken.sh", "#!/bin/sh\necho this script fails >&2\nexit 3\n")
    project.edit("images/runtime.yaml", "  section: net\n", "  section: net\n  scripts: {after-install: broken.sh}\n")
    formats = [word for name in ("rpm", "apk", "archlinux", "ipk", "deb") for word in ("--format", name)]
    project.done("build", "--distribution", "runtime", "--platform", native, *formats)
    finished = project.run("--json", "test", "--platform", native, *formats)
    assert finished.code == 1, finished.story()
    return {row["format"]: row for row in finished.data["rows"] if "-runtime" not in row["file"]}


@pytest.mark.parametrize("package_format", ["rpm", "apk", "archlinux", "ipk", "deb"])
def test_a_script_that_fails_is_seen_in_every_format(failing_script: dict[str, dict[str, Any]], package_format: str) -> None:
    failed = _failed(failing_script[package_format])
    assert "this script fails" in failed["the package manager installs it"], failed


def test_files_of_dist_that_changed_since_the_build_fail_and_the_rest_is_looked_at(
    signed: Project, tmp_path: Path, native: str
) -> None:
    project = signed.copy(tmp_path / "project", with_dist=True)
    files = project.dist / "artifacts" / "runtime"
    for package in (*files.glob("apt/pool/**/*.deb"), *files.glob("yum/packages/*.rpm")):
        data = bytearray(package.read_bytes())
        data[len(data) // 2] ^= 1
        package.unlink()
        package.write_bytes(data)
    finished = project.run("--json", "test", "--format", "apt", "--format", "yum")
    assert finished.code == 1, finished.story()
    rows = _rows(finished.data)
    assert set(rows) == {"apt", "yum"}
    for row in rows.values():
        failed = _failed(row)
        assert "manifest.json has sha256:" in failed["what is on disk is what manifest.json lists"]
        assert any(name.startswith("the client installs") for name in failed), failed
        assert "refuse" not in _made(row, "failed")


def test_a_former_release_is_what_an_upgrade_starts_from(signed: Project, native: str, tmp_path: Path) -> None:
    architecture = native.removeprefix("linux/")
    (deb,) = (signed.dist / "artifacts" / "runtime").glob(f"{_NAME}_*_{architecture}.deb")
    older = _repacked_deb(deb, tmp_path / f"{_NAME}_0.9.0_{architecture}.deb", _make_older)
    finished = signed.run("--json", "test", str(deb), "--from", str(older), "--junit", str(tmp_path / "report.xml"))
    assert finished.code == 0, finished.story()
    (row,) = finished.data["rows"]
    order = [check["group"] for check in row["checks"] if check["name"] == "another version takes its place"]
    assert order == ["downgrade", "upgrade"]


def _repacked_deb(source: Path, target: Path, change: Callable[[Path], None]) -> Path:
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not installed")
    tree = target.with_suffix(".tree")
    subprocess.run(["dpkg-deb", "-R", source, tree], check=True)
    change(tree)
    command = ["dpkg-deb", *([] if os.geteuid() == 0 else ["--root-owner-group"]), "-Zgzip", "-z1", "-b", tree, target]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(tree)
    return target


def _break_unit(tree: Path) -> None:
    (unit,) = tree.glob("usr/lib/systemd/system/*.service")
    unit.write_text(unit.read_text().replace(f"ExecStart=/usr/bin/{_NAME}", "ExecStart=/usr/bin/no-such-program"))


def _change_owner(tree: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tree / "usr" / "bin" / _NAME, 1, 1)


def _make_older(tree: Path) -> None:
    control = tree / "DEBIAN" / "control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text("".join("Version: 0.9.0\n" if line.startswith("Version:") else line for line in lines))


def _without(source: Path, target: Path, name: str) -> Path:
    """The archive without one of its files."""
    with tarfile.open(source) as old, tarfile.open(target, "w:gz", compresslevel=1) as new:
        for member in old:
            if not member.name.endswith(name):
                new.addfile(member, old.extractfile(member) if member.isreg() else io.BytesIO())
    return target


def _cut(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    return target


def test_the_engine_keeps_nothing_of_a_test_but_the_testbed(engine: docker.DockerClient, tested: Any) -> None:
    assert tested["passed"]
    assert [image for image in engine.images.list() if any("nexus-oci.local/testbed:" in tag for tag in image.tags)]
