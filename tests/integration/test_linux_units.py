"""Units, scripts and installers that are generated for Linux, judged by systemd, shells and shellcheck."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_oci.formats.archive import archive_files
from nexus_oci.formats.documents import staged_files
from nexus_oci.formats.launcher import launcher_script
from nexus_oci.formats.package import (
    PACKAGE_FORMATS,
    PHASES,
    Interpreter,
    Launcher,
    LinuxPackage,
    PackageFile,
    ServiceUnit,
    SocketUnit,
    UserScript,
)
from nexus_oci.formats.scripts import maintainer_scripts
from tests.support.clean_debian import Machine, clean_debian, machine

pytestmark = pytest.mark.integration

SERVICE = ServiceUnit(
    name="shop", description="Shop: 50% off\nand more", documentation="https://shop.example/doc", user="shop", kind="notify",
    restart="on-failure", state_directory="shop", runtime_directory="shop",
    command=("/usr/bin/shop", "serve", 'echo "$HOME" 100%; true', "it's", "", "a\\b", "two\nlines"),
)  # fmt: skip
SOCKET = SocketUnit(
    name="shop", description="Shop (socket)", listen=("/run/shop/shop.sock", "127.0.0.1:8080", "[::1]:8080", "9090"), user="shop",
    group="buyers",
)  # fmt: skip
PACKAGE = LinuxPackage(
    name="shop", version="1.0.0", architecture="amd64", platform="linux/amd64", maintainer="Ann <ann@shop.example>",
    description="Sells.", licence="Apache-2.0", user="shop", service=SERVICE, socket=SOCKET, epoch=1, manual={"shop.8": b".TH SHOP 8\n"},
    scripts={phase: UserScript(source=f"{phase}.sh", data=b"#!/bin/sh\nexit 0\n") for phase in PHASES},
    files=(
        PackageFile(path="/etc/shop/keys.toml", kind="config", config="noreplace", mode=0o640, group="shop"),
        PackageFile(path="/var/lib/shop/in box", kind="directory", mode=0o700, owner="shop", group="shop"),
    ),
)  # fmt: skip
LAUNCHER = Launcher(
    name="shop", interpreter=Interpreter(language="python", version="3.13.5", exact=True), command=("python3", "-m", "app"),
    home="/usr/lib/shop", work="/usr/lib/shop/app", path="/usr/lib/shop/bin:/usr/bin:/bin",
    environment={"PYTHONUSERBASE": "/usr/lib/shop", "PYTHONPATH": "/usr/lib/shop/app"},
)  # fmt: skip
OF_RUNS = ("/root", "/tmp", "/var/log", "/run")
BACKUPS = {f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")} | {"/etc/.pwd.lock"}
PROGRAM = "#!/bin/sh\necho shop sells\n"


@pytest.fixture
def judge() -> Iterator[Machine]:
    with machine(clean_debian(["busybox", "python3-minimal", "shellcheck", "systemd"])) as made:
        yield made


def put(judge: Machine, files: dict[str, bytes], folder: str) -> None:
    """Files of a tree that is copied to a folder of the machine; what begins with #! can be run."""
    with tempfile.TemporaryDirectory(prefix="nexus-oci-") as name:
        top = Path(name) / "tree"
        for path, data in files.items():
            place = top / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            place.chmod(0o755 if data.startswith(b"#!") else 0o644)
        judge.run("mkdir", "-p", folder)
        judge.put(top, folder)


@pytest.mark.parametrize("socket", [SOCKET, None], ids=["with-socket", "without"])
def test_systemd_takes_the_units_and_finds_them_safe(judge: Machine, socket: SocketUnit | None) -> None:
    files = {
        path: data for path, (data, _) in staged_files(replace(PACKAGE, socket=socket), "deb").items() if "/systemd/" in path
    }
    place = f"/root/units-{bool(socket)}"
    put(judge, {**files, "/usr/bin/shop": PROGRAM.encode()}, place)
    judge.run("install", "-m", "755", f"{place}/tree/usr/bin/shop", "/usr/bin/shop")
    units = [f"{place}/tree{path}" for path in files if path.endswith((".service", ".socket"))]
    code, said = judge.attempt("systemd-analyze", "verify", "--man=no", *units)
    assert ("shop.service" in said or "shop.socket" in said, code) == (False, 0), said
    service = next(unit for unit in units if unit.endswith(".service"))
    said = judge.run("systemd-analyze", "security", "--offline=true", "--threshold=29", "--no-pager", service)
    assert "Overall exposure level" in said


def test_every_shell_reads_the_scripts_and_shellcheck_finds_no_fault(judge: Machine) -> None:
    files = {
        f"{name}-{key}.sh": data
        for name in PACKAGE_FORMATS
        for key, data in maintainer_scripts(PACKAGE, name).items()
    } | {name: data for name, (data, _) in archive_files(PACKAGE).items()}  # fmt: skip
    files["launcher"] = launcher_script(LAUNCHER)
    put(judge, files, "/root/scripts")
    script = "cd /root/scripts/tree; for f in *; do dash -n $f && bash -n $f && busybox sh -n $f || exit 1; done"
    assert judge.run("sh", "-c", script) == ""
    checked = judge.attempt("sh", "-c", "cd /root/scripts/tree; shellcheck --shell=sh --severity=warning *")[1]
    assert checked == ""


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_an_archive_is_installed_upgraded_and_taken_away(judge: Machine, shell: str) -> None:
    """From a folder with blanks in its path, into another prefix, without systemd running."""
    place = f"/root/an archive {shell}/tree"
    config = {"etc/shop/shop.toml": b"a = 1\n", "etc/shop/keys.toml": b"b = 1\n"}
    generated = {path.removeprefix("/usr"): data for path, (data, _) in staged_files(PACKAGE, "tar").items()}
    programs = {name: data for name, (data, _) in archive_files(PACKAGE).items()}
    tree = {**generated, **config, **programs, "bin/shop": PROGRAM.encode(), "lib/shop/old part": b"x"}
    put(judge, tree, place.removesuffix("/tree"))
    before = judge.files(*OF_RUNS)

    def run(program: str, *options: str) -> str:
        return judge.run(*shell.split(), f"{place}/{program}", *options)

    assert "would install /opt/shop/bin/shop" in run("install.sh", "--prefix", "/opt/shop", "--dry-run")
    assert judge.files(*OF_RUNS) == before
    said = run("install.sh", "--prefix=/opt/shop/")
    assert "start /opt/shop/bin/shop as you start services" in said
    assert judge.run("/opt/shop/bin/shop") == "shop sells\n"
    assert "ExecStart=/opt/shop/bin/shop serve" in judge.run("cat", "/etc/systemd/system/shop.service")
    assert judge.run("stat", "-c", "%a %U %G", "/etc/shop/keys.toml", "/var/lib/shop/in box").split() == [
        "640", "root", "shop", "700", "shop", "shop",
    ]  # fmt: skip

    judge.run("sh", "-c", "echo '# mine' >> /etc/shop/shop.toml")
    put(judge, {"etc/shop/shop.toml": b"a = 2\n", "etc/shop/keys.toml": b"b = 2\n"}, place.removesuffix("/tree"))
    judge.run("rm", f"{place}/lib/shop/old part")
    assert "/etc/shop/shop.toml was edited and stays" in run("install.sh", "--prefix", "/opt/shop")
    assert judge.run("cat", "/etc/shop/shop.toml") == "a = 1\n# mine\n"
    assert judge.run("cat", "/etc/shop/shop.toml.new", "/etc/shop/keys.toml") == "a = 2\nb = 2\n"
    assert judge.attempt("test", "-e", "/opt/shop/lib/shop/old part")[0] == 1

    judge.run(*shell.split(), "/opt/shop/share/shop/uninstall.sh")
    left = set(judge.files(*OF_RUNS)) - set(before) - BACKUPS
    assert left == {"/etc/shop", "/etc/shop/shop.toml", "/etc/shop/keys.toml", "/var/lib/shop"}
    run("install.sh", "--prefix", "/opt/shop")
    run("uninstall.sh", "--prefix", "/opt/shop", "--purge")
    assert set(judge.files(*OF_RUNS)) - set(before) <= BACKUPS
    assert judge.attempt("id", "shop")[0] == 1


def test_the_launcher_finds_its_engine_through_links_and_says_which_interpreter_is_missing(judge: Machine) -> None:
    wrong = replace(LAUNCHER, name="late", interpreter=replace(LAUNCHER.interpreter, version="3.99.1"))
    none = replace(LAUNCHER, name="none", interpreter=Interpreter(language="node", version="20.1.0"), command=("node", "x.js"))
    main = b"import os, sys\nprint(os.getcwd(), os.environ['PYTHONUSERBASE'], sys.argv[1:])\n"
    files = {f"bin/{one.name}": launcher_script(one) for one in (LAUNCHER, wrong, none)}
    put(judge, {**files, "lib/shop/app/app/__main__.py": main}, "/root/a prefix")
    judge.run("ln", "-sf", "../../a prefix/tree/bin/shop", "/root/a prefix/link")
    judge.run("mkdir", "-p", "/root/a prefix/x")
    judge.run("ln", "-sf", "../tree/bin/shop", "/root/a prefix/x/shop")
    at = "/root/a prefix/tree/lib/shop"
    assert judge.run("/root/a prefix/x/shop", "one two") == f"{at}/app {at} ['one two']\n"
    assert judge.attempt("/root/a prefix/tree/bin/late") == (127, "late: it needs Python 3.99, and python3 is 3.13\n")
    expected = "none: it needs Node.js 20 or later, and there is no node on this machine\n"
    assert judge.attempt("/root/a prefix/tree/bin/none") == (127, expected)
