"""Maintainer scripts, run by this machine's shell with stand-ins for the programs that they call."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.package import PACKAGE_FORMATS, PHASES, LinuxPackage, PackageFile, Phase, UserScript
from nexus_oci.formats.scripts import maintainer_scripts

STAND_INS = ("chown", "systemctl", "systemd-sysusers", "systemd-tmpfiles", "deb-systemd-helper", "deb-systemd-invoke")


def scripts(**texts: str) -> dict[Phase, UserScript]:
    found: dict[Phase, UserScript] = {}
    for phase in PHASES:
        text = texts.get(phase.replace("-", "_"))
        if text is not None:
            found[phase] = UserScript(source=f"packaging/{phase}", data=text.encode())
    return found


def run(folder: Path, script: bytes, *arguments: str, code: int = 0) -> list[str]:
    """What a script calls and prints. No systemd runs, but its programs are there."""
    log = folder / "log"
    log.write_text("")
    for name in STAND_INS:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> "{log}"\n')
        program.chmod(0o755)
    place = folder / "script"
    text = script.replace(b"/run/systemd/system", b"/nowhere/systemd").replace(
        b"/usr/lib/systemd/systemd-update-helper", b"/nowhere/x"
    )
    place.write_bytes(text)
    done = subprocess.run(
        ["/bin/sh", place, *arguments], env={"PATH": f"{folder}:/usr/bin:/bin"}, capture_output=True, text=True, input="asked\n"
    )
    assert done.returncode == code, done.stderr
    return [*log.read_text().splitlines(), *done.stdout.splitlines()]


def test_a_package_without_user_service_and_scripts_has_no_maintainer_scripts(package: LinuxPackage) -> None:
    bare = replace(package, user="", service=None, socket=None)
    assert [dict(maintainer_scripts(bare, name)) for name in PACKAGE_FORMATS] == [{}] * len(PACKAGE_FORMATS)


def test_keys_are_those_that_nfpm_has_for_the_format(package: LinuxPackage) -> None:
    full = replace(package, scripts=scripts(**{phase.replace("-", "_"): "true\n" for phase in PHASES}))
    common = {"preinstall", "postinstall", "preremove", "postremove"}
    for name in PACKAGE_FORMATS:
        upgrades = {"preupgrade", "postupgrade"} if name in ("apk", "archlinux") else set()
        assert set(maintainer_scripts(full, name)) == common | upgrades


def test_a_deb_makes_its_user_before_it_is_unpacked_only_where_files_need_it(package: LinuxPackage, tmp_path: Path) -> None:
    assert "preinstall" not in maintainer_scripts(package, "deb")
    owned = replace(package, files=(PackageFile(path="/srv/shop", kind="directory", owner="shop"),))
    assert run(tmp_path, maintainer_scripts(owned, "deb")["preinstall"], "install") == [
        "systemd-sysusers --replace=/usr/lib/sysusers.d/shop.conf -"
    ]


def test_a_deb_is_set_up_when_it_is_configured_and_forgotten_when_purged(package: LinuxPackage, tmp_path: Path) -> None:
    made = maintainer_scripts(package, "deb")
    called = run(tmp_path, made["postinstall"], "configure", "")
    assert called[:2] == ["systemd-sysusers --replace=/usr/lib/sysusers.d/shop.conf -", "systemd-tmpfiles --create shop.conf"]
    assert "deb-systemd-helper enable shop.socket" in called
    assert "deb-systemd-helper enable shop.service" in called
    assert run(tmp_path, made["preremove"], "remove") == []
    assert run(tmp_path, made["postremove"], "remove") == [
        "deb-systemd-helper mask shop.socket", "deb-systemd-helper mask shop.service",
    ]  # fmt: skip
    purge = made["postremove"].replace(b'"/var/lib/shop" "/run/shop-run"', f'"{tmp_path}/state"'.encode())
    (tmp_path / "state").mkdir()
    assert "deb-systemd-helper purge shop.service" in run(tmp_path, purge, "purge")
    assert not (tmp_path / "state").exists()


def test_an_rpm_follows_presets_at_first_and_is_turned_off_at_last(package: LinuxPackage, tmp_path: Path) -> None:
    made = maintainer_scripts(package, "rpm")
    assert run(tmp_path, made["preinstall"], "1") == ["systemd-sysusers --replace=/usr/lib/sysusers.d/shop.conf -"]
    preset = "systemctl --no-reload preset shop.socket shop.service"
    assert run(tmp_path, made["postinstall"], "1") == ["systemd-tmpfiles --create shop.conf", preset]
    assert run(tmp_path, made["postinstall"], "2") == ["systemd-tmpfiles --create shop.conf"]
    assert run(tmp_path, made["preremove"], "1") == []
    assert run(tmp_path, made["preremove"], "0") == ["systemctl --no-reload disable shop.socket shop.service"]
    assert run(tmp_path, made["postremove"], "0") == []


def test_an_upgrade_restarts_the_service_before_its_socket_so_that_both_are_waited_for(
    package: LinuxPackage, tmp_path: Path
) -> None:
    (tmp_path / "system").mkdir()
    made = {name: maintainer_scripts(package, name) for name in ("deb", "rpm", "apk")}

    def again(script: bytes, *arguments: str) -> str:
        running = script.replace(b"/run/systemd/system", f"{tmp_path}/system".encode())
        return next(line for line in run(tmp_path, running, *arguments) if "restart" in line)

    assert again(made["deb"]["postinstall"], "configure", "0.9") == "deb-systemd-invoke restart shop.service shop.socket"
    expected = "systemctl try-restart shop.service shop.socket"
    assert again(made["rpm"]["postremove"], "1") == again(made["apk"]["postupgrade"], "1.0", "0.9") == expected


def test_an_rpm_uses_systemds_own_helper_where_there_is_one(package: LinuxPackage) -> None:
    helper = b"/usr/lib/systemd/systemd-update-helper"
    made = maintainer_scripts(package, "rpm")
    assert helper + b" install-system-units shop.socket shop.service" in made["postinstall"]
    assert helper + b" remove-system-units shop.socket shop.service" in made["preremove"]
    assert helper + b" mark-restart-system-units shop.socket shop.service" in made["postremove"]


def test_pacman_gets_bodies_of_functions_that_cannot_end_its_shell(package: LinuxPackage, tmp_path: Path) -> None:
    made = maintainer_scripts(replace(package, scripts=scripts(after_install="echo after; exit 0\n")), "archlinux")
    body = b"post_install() {\n" + made["postinstall"] + b"\n}\npost_install 1.0.0-1\necho still here\n"
    assert run(tmp_path, body)[-2:] == ["after", "still here"]


def test_pacman_is_told_the_owners_of_files_that_the_packager_forgets(package: LinuxPackage, tmp_path: Path) -> None:
    files = (
        PackageFile(path="/etc/shop's/key", kind="config", group="shop"),
        PackageFile(path="/var/x", kind="directory", owner="shop"),
    )
    made = maintainer_scripts(replace(package, files=files), "archlinux")
    for key in ("postinstall", "postupgrade"):
        assert [line for line in run(tmp_path, made[key]) if line.startswith("chown")] == ["chown -hR root:shop /etc/shop's/key"]


def test_opkg_tells_an_upgrade_by_its_mark(package: LinuxPackage, tmp_path: Path) -> None:
    made = {
        key: data.replace(b"/run/shop", f"{tmp_path}/shop".encode()) for key, data in maintainer_scripts(package, "ipk").items()
    }
    preset = "systemctl --no-reload preset shop.socket shop.service"
    assert preset in run(tmp_path, made["postinstall"], "configure")
    run(tmp_path, made["preinstall"], "upgrade", "0.9")
    assert preset not in run(tmp_path, made["postinstall"], "configure")
    assert preset in run(tmp_path, made["postinstall"], "configure")


@pytest.mark.parametrize("package_format", PACKAGE_FORMATS)
def test_scripts_of_the_definition_stand_around_the_generated_part(
    package: LinuxPackage, tmp_path: Path, package_format: str
) -> None:
    texts = {
        "before_install": "#!/bin/sh\necho before $# $1\nexit 0\n",
        "after_install": "read line; echo after $# $1 $line; cat <<END_OF_AFTER_INSTALL\nheld\nEND_OF_AFTER_INSTALL\nexit 0",
    }
    made = maintainer_scripts(replace(package, scripts=scripts(**texts)), package_format)
    before = run(tmp_path, made["preinstall"], "1", "x")
    assert before[-1] == "before 2 1"
    script = made["preinstall"].decode()
    if "systemd-sysusers" in script:
        assert script.index("echo before") < script.index("systemd-sysusers")
    first = "configure" if package_format in ("deb", "ipk") else "1"
    assert run(tmp_path, made["postinstall"], first)[-2:] == [f"after 1 {first} asked", "held"]
    script = made["postinstall"].decode()
    assert script.index("systemd-tmpfiles") < script.index("echo after")


def test_a_script_that_fails_ends_the_maintainer_script_with_its_code(package: LinuxPackage, tmp_path: Path) -> None:
    made = maintainer_scripts(replace(package, scripts=scripts(before_install="exit 7\n")), "rpm")
    assert run(tmp_path, made["preinstall"], "1", code=7) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#!/usr/bin/env python3\nimport sys\nprint('it\\'s', sys.argv[1:])\n", "it's ['1', 'x']"),
        ("#!/bin/bash -e\necho ${1//1/one} $2\nfalse || true\n", "one x"),
        ("#!/usr/bin/perl\nprint \"@ARGV\\n\";\n", "1 x"),
    ],
)  # fmt: skip
def test_another_interpreter_gets_its_script_with_the_arguments(
    package: LinuxPackage, tmp_path: Path, text: str, expected: str
) -> None:
    made = maintainer_scripts(replace(package, user="", service=None, socket=None, scripts=scripts(after_install=text)), "rpm")
    assert run(tmp_path, made["postinstall"], "1", "x") == [expected]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"#!/usr/bin/lua\n", "cannot run a script of /usr/bin/lua"),
        (b"#!/bin/sh\r\ntrue\r\n", "has Windows line ends"),
        (b"\x7fELF\0\0\0", "has a zero byte"),
        (b"echo \xff", "is no text"),
        (b"#!sh\n", "names no interpreter"),
        (b"#" * 100_001, "has 100001 bytes"),
    ],
)
def test_a_script_that_cannot_be_run_is_refused(package: LinuxPackage, data: bytes, problem: str) -> None:
    script: Mapping[Phase, UserScript] = {"after-remove": UserScript(source="packaging/after", data=data)}
    with pytest.raises(DefinitionError, match=rf"packaging/after.*{problem}"):
        maintainer_scripts(replace(package, scripts=script), "deb")
