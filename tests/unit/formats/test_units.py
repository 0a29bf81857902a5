"""systemd's files: what they say, and that no value can say more than its place allows."""

from __future__ import annotations

import configparser
import json
from dataclasses import replace

from nexus_oci.formats.package import LinuxPackage, ServiceUnit, SocketUnit
from nexus_oci.formats.units import preset, service_unit, socket_manifest, socket_unit, sysusers, tmpfiles, unit_names


def parsed(data: bytes) -> dict[str, dict[str, list[str]]]:
    """Settings by section; one that is given again has several values."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in data.decode().splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line:
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return found


def units(package: LinuxPackage) -> tuple[ServiceUnit, SocketUnit]:
    assert package.service
    assert package.socket
    return package.service, package.socket


def test_a_service_without_a_socket_is_confined_and_on_its_own(package: LinuxPackage) -> None:
    service = units(package)[0]
    data = service_unit(service)
    said = parsed(data)
    assert said["Unit"]["Description"] == ["Shop: 50%% off and more"]
    assert "Requires" not in said["Unit"]
    own = said["Service"]
    assert (own["Type"], own["User"], own["Group"], own["Restart"]) == (["exec"], ["shop"], ["shop"], ["on-failure"])
    assert (own["StateDirectory"], own["StateDirectoryMode"], own["RuntimeDirectory"]) == (["shop"], ["0750"], ["shop-run"])
    assert own["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert own["CapabilityBoundingSet"] == [""]
    assert not {"RuntimeDirectoryPreserve", "MemoryDenyWriteExecute"} & set(own)
    assert said["Install"] == {"WantedBy": ["multi-user.target"]}
    configparser.RawConfigParser(strict=False).read_string(data.decode())


def test_a_service_with_a_socket_waits_for_it_and_leaves_its_directory(package: LinuxPackage) -> None:
    service, socket = units(package)
    said = parsed(service_unit(replace(service, kind="notify"), socket))
    assert said["Unit"]["Requires"] == said["Install"]["Also"] == ["shop.socket"]
    assert said["Unit"]["After"] == ["network-online.target shop.socket"]
    assert said["Service"]["Type"] == ["notify"]
    assert said["Service"]["RuntimeDirectoryPreserve"] == ["yes"]
    elsewhere = replace(socket, listen=("/run/other/shop.sock",))
    assert "RuntimeDirectoryPreserve" not in parsed(service_unit(service, elsewhere))["Service"]


def test_words_reach_the_program_as_they_were_written(package: LinuxPackage) -> None:
    command = ("/usr/bin/shop", "50%", "$HOME", "a b", 'say "x"', "it's", "", "a\\b", "two\nlines")
    said = parsed(service_unit(replace(units(package)[0], command=command, environment={"A": 'x "$y" %z', "B": ""})))["Service"]
    quoted = [r"/usr/bin/shop", "50%%", "$$HOME", '"a b"', r'"say \"x\""', '"it\'s"', '""', r'"a\\b"', r'"two\x0alines"']
    assert said["ExecStart"] == [" ".join(quoted)]
    assert said["Environment"] == [r'"A=x \"$y\" %%z"', "B="]


def test_the_socket_says_who_may_connect(package: LinuxPackage) -> None:
    socket = units(package)[1]
    own = parsed(socket_unit(socket))["Socket"]
    assert own["ListenStream"] == ["/run/shop-run/shop.sock", "8080"]
    assert (own["SocketMode"], own["SocketUser"], own["SocketGroup"], own["RemoveOnStop"]) == (
        ["0660"],
        ["root"],
        ["buyers"],
        ["yes"],
    )
    ports = parsed(socket_unit(replace(socket, listen=("127.0.0.1:80",))))["Socket"]
    assert set(ports) == {"ListenStream"}


def test_units_of_the_definition_are_taken_as_they_are(package: LinuxPackage) -> None:
    service, socket = units(package)
    assert service_unit(replace(service, unit=b"[Service]\n"), socket) == b"[Service]\n"
    assert socket_unit(replace(socket, unit=b"[Socket]\n")) == b"[Socket]\n"


def test_the_manifest_lists_each_socket_with_those_who_may_connect(package: LinuxPackage) -> None:
    data = json.loads(socket_manifest(package))
    assert (data["unit"], data["service"]) == ("shop.socket", "shop.service")
    assert data["sockets"] == [
        {
            "listen": "/run/shop-run/shop.sock", "type": "unix", "mode": "0660", "owner": "root", "group": "buyers",
            "may_connect": "root, members of the group buyers",
        },
        {"listen": "8080", "type": "tcp", "may_connect": "whoever reaches the port"},
    ]  # fmt: skip
    assert socket_manifest(replace(package, socket=None)) == b""


def test_the_manifest_tells_what_a_unit_of_the_definition_says(package: LinuxPackage) -> None:
    unit = b"[Socket]\n# SocketMode=0600\nListenStream=/run/a.sock\nListenStream = [::1]:80\nSocketUser=ann\n"
    data = json.loads(socket_manifest(replace(package, socket=replace(units(package)[1], unit=unit))))
    assert data["sockets"] == [
        {
            "listen": "/run/a.sock", "type": "unix", "mode": "0666", "owner": "ann", "group": "ann",
            "may_connect": "every user of this machine",
        },
        {"listen": "[::1]:80", "type": "tcp", "may_connect": "every process on this machine"},
    ]  # fmt: skip


def test_users_directories_and_presets_follow_from_the_units(package: LinuxPackage) -> None:
    assert sysusers(package) == b'u shop - "shop service" /nonexistent /usr/sbin/nologin\ng buyers -\n'
    assert tmpfiles(package) == b"d /var/lib/shop 0750 shop shop -\nd /run/shop-run 0755 shop shop -\n"
    assert preset(package) == b"enable shop.socket\nenable shop.service\n"
    bare = replace(package, user="", service=None, socket=None)
    assert (sysusers(bare), tmpfiles(bare), preset(bare), unit_names(bare)) == (b"", b"", b"", ())
    own_group = replace(package, socket=replace(units(package)[1], group="shop"))
    assert b"\ng " not in sysusers(own_group)
