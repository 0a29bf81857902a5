"""Linux packages: what the files beside the engine say, and that no value can say more than its place allows."""

from __future__ import annotations

import configparser
import json
import shlex
import subprocess
from dataclasses import replace

import pytest

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.linux import (
    LinuxPackage,
    ServiceUnit,
    copyright_file,
    debian_version,
    maintainer_scripts,
    nfpm_configuration,
    staged_files,
    unit_file,
)

SERVICE = ServiceUnit(
    name="shop", description="Shop", documentation="https://shop.example/doc", command=("/usr/bin/shop", "serve"), user="shop",
    restart="on-failure", state_directory="shop", runtime_directory="",
)  # fmt: skip
PACKAGE = LinuxPackage(
    name="shop", version="1.0.0-rc.1", architecture="amd64", maintainer="Ann <ann@shop.example>", description="Sells.", vendor="Shop",
    homepage="https://shop.example", licence="Apache-2.0", section="net", priority="optional", depends=("passwd",),
    config_files=("/etc/shop/a.toml",), user="shop", service=SERVICE, epoch=1,
)  # fmt: skip


def test_a_version_is_written_as_debian_reads_it() -> None:
    assert debian_version("1.0.0-rc-x.1+build-7") == "1.0.0~rc.x.1+build.7"
    assert PACKAGE.deb_file == "shop_1.0.0~rc.1_amd64.deb"
    assert replace(PACKAGE, architecture="arm").deb_file.endswith("_armhf.deb")


def test_the_package_is_described_to_nfpm() -> None:
    data = json.loads(nfpm_configuration(PACKAGE, "/tree"))
    assert (data["name"], data["version"], data["arch"], data["depends"]) == ("shop", "1.0.0~rc.1", "amd64", ["passwd"])
    assert data["contents"] == [
        {"dst": "/", "src": "/tree", "type": "tree"},
        {"dst": "/etc/shop/a.toml", "src": "/tree.config/etc/shop/a.toml", "type": "config"},
    ]
    assert set(data["scripts"]) == {"postinstall", "preremove", "postremove"}
    assert json.loads(nfpm_configuration(replace(PACKAGE, architecture="arm"), "/tree"))["arch"] == "armhf"
    assert "scripts" not in json.loads(nfpm_configuration(replace(PACKAGE, user="", service=None), "/tree"))


def test_texts_reach_the_package_as_they_were_written() -> None:
    odd = replace(PACKAGE, description="costs $5\tof ${HOME}\x1b[31m\n\nsecond\rline\x00\n", vendor="A\nMaintainer: B")
    data = json.loads(nfpm_configuration(odd, "/tree"))
    assert data["description"] == "costs ${DOLLAR}5 of ${DOLLAR}{HOME} [31m\n\nsecond\nline"
    assert data["vendor"] == "A Maintainer: B"


def test_a_deb_without_a_maintainer_is_refused() -> None:
    with pytest.raises(DefinitionError, match="needs a maintainer"):
        nfpm_configuration(replace(PACKAGE, maintainer=""), "/tree")


def unit(service: ServiceUnit) -> configparser.RawConfigParser:
    """The unit as systemd's parser would take it apart; a key that stands twice is no fault there."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit_file(service))
    return parser


def test_the_unit_says_what_is_run_by_whom() -> None:
    found = unit(SERVICE)
    assert found.sections() == ["Unit", "Service", "Install"]
    assert dict(found["Install"]) == {"WantedBy": "multi-user.target"}
    service = found["Service"]
    assert (service["ExecStart"], service["User"], service["StateDirectory"]) == ("/usr/bin/shop serve", "shop", "shop")
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    assert "RuntimeDirectory" not in service
    assert "\n\n\n" not in unit_file(SERVICE)


def test_no_value_adds_a_line_to_the_unit() -> None:
    evil = replace(
        SERVICE, description="a\nExecStartPre=/bin/evil %n", command=("/usr/bin/shop", "x\nExecStop=/bin/evil", "\x1b")
    )
    found = unit(evil)
    assert "ExecStop" not in found["Service"]
    assert "ExecStartPre" not in found["Unit"]
    assert found["Unit"]["Description"] == "a ExecStartPre=/bin/evil %%n"
    assert found["Service"]["ExecStart"] == r'/usr/bin/shop "x\x0aExecStop=/bin/evil" "\x1b"'


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("a b", '"a b"'),
        ("", '""'),
        (";", '";"'),
        ("50%", "50%%"),
        ("$HOME", "$$HOME"),
        ('say "hi"', r'"say \"hi\""'),
        ("it's", '"it\'s"'),
        ("a\\b", r'"a\\b"'),
    ],
)
def test_words_of_a_command_are_quoted_for_systemd(word: str, written: str) -> None:
    assert unit(replace(SERVICE, command=("/usr/bin/shop", word)))["Service"]["ExecStart"] == f"/usr/bin/shop {written}"


def test_every_package_has_a_copyright_file_and_those_with_a_user_make_it() -> None:
    files = staged_files(PACKAGE)
    assert set(files) == {
        "usr/share/doc/shop/copyright", "usr/lib/sysusers.d/shop.conf", "usr/lib/systemd/system/shop.service",
    }  # fmt: skip
    assert files["usr/lib/sysusers.d/shop.conf"] == b'u shop - "shop service" /nonexistent /usr/sbin/nologin\n'
    assert set(staged_files(replace(PACKAGE, user="", service=None))) == {"usr/share/doc/shop/copyright"}
    text = copyright_file(replace(PACKAGE, vendor="A\nLicense: none", licence=""))
    assert text.splitlines()[4:] == ["Files: *", "Copyright: A License: none", "License: unspecified"]


VARIANTS = [PACKAGE, replace(PACKAGE, service=None), replace(PACKAGE, service=replace(SERVICE, state_directory=""))]


@pytest.mark.parametrize("package", VARIANTS)
def test_maintainer_scripts_are_valid_shell(package: LinuxPackage) -> None:
    scripts = maintainer_scripts(package)
    assert set(scripts) == {"postinst", "prerm", "postrm"}
    for text in scripts.values():
        assert text.startswith(b"#!/bin/sh\nset -e\n")
        assert b"@" not in text
        subprocess.run(["sh", "-n"], input=text, check=True)
    assert (b"/var/lib" in scripts["postrm"]) == bool(package.service and package.service.state_directory)
    assert maintainer_scripts(replace(package, user="", service=None)) == {}


# Stands in for the system's own commands: says what it would have taken away.
FAKES = """
PATH=/nonexistent
exec 3>&1
getent() { echo "shop:x:990:990:$COMMENT:/nonexistent:/usr/sbin/nologin"; }
cut() { echo "$COMMENT"; }
userdel() { echo "userdel $*" >&3; }
groupdel() { echo "groupdel $*" >&3; }
rm() { echo "rm $*" >&3; }
"""


@pytest.mark.parametrize(
    ("action", "comment", "done"),
    [
        ("purge", "shop service", ["rm -rf /var/lib/shop", "userdel shop", "groupdel shop"]),
        ("purge", "Web server", ["rm -rf /var/lib/shop"]),
        ("remove", "shop service", []),
        ("upgrade", "shop service", []),
    ],
)
def test_a_purge_takes_away_what_the_package_made_and_no_more(action: str, comment: str, done: list[str]) -> None:
    script = f"COMMENT={shlex.quote(comment)}\n{FAKES}\nset -- {action}\n{maintainer_scripts(PACKAGE)['postrm'].decode()}"
    found = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == done
