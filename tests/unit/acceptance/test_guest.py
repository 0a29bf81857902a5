"""The parts of the guest that can be tried without a testbed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from nexus_oci.acceptance.guest.apk import _members
from nexus_oci.acceptance.guest.report import Failure, Report, Skipped, run
from nexus_oci.acceptance.guest.subject import Subject
from nexus_oci.acceptance.guest.tree import Entry, differences, read_manifest, read_tar
from nexus_oci.acceptance.guest.units import find_units, users_of
from nexus_oci.acceptance.machine import FOLDER, load, programs


def results(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_end_of_a_check_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    for problem in (None, Failure("not so"), Skipped("not here"), KeyError("bug")):
        with report.check("group", "name"):
            if problem:
                raise problem
    found = results(capsys)
    assert [item["status"] for item in found] == ["passed", "failed", "skipped", "failed"]
    assert [str(item["why"]).split(" (")[0] for item in found] == ["", "not so", "not here", "KeyError: 'bug'"]


def test_after_a_vital_failure_the_rest_is_skipped_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()

    def install() -> None:
        with report.check("install", "it installs", vital=True):
            raise Failure("no")

    report.sequence([("install", install), ("remove", lambda: pytest.fail("this must not run"))])
    assert results(capsys)[1] | {"seconds": 0} == {
        "group": "remove", "name": "remove", "status": "skipped", "why": "not reached, since this failed: it installs", "seconds": 0,
    }  # fmt: skip


def test_a_command_that_fails_gives_the_end_of_what_it_said() -> None:
    with pytest.raises(Failure, match=r"ended with 3: (?s:.)*last words"):
        run("sh", "-c", "echo last words; exit 3").must()


def test_a_command_that_ends_well_may_still_have_failed() -> None:
    with pytest.raises(Failure, match="ended with 1"):
        run("echo", "scriptlet failed").unless("scriptlet failed").must()


def test_files_are_held_against_what_the_package_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "file").chmod(0o600)
    (tmp_path / "link").symlink_to("elsewhere")
    owner = read_owner(tmp_path / "file")
    wanted = [
        Entry(
            path="/file", kind="file", mode=0o644, owner="nobody-there", group=owner[1], sha256=hashlib.sha256(b"x").hexdigest()
        ),
        Entry(path="/link", kind="link", mode=0o777, owner="root", group="root", link="target"),
        Entry(path="/gone", kind="file", mode=0o644, owner="root", group="root"),
        Entry(path="/may-be-gone", kind="file", mode=0o644, owner="root", group="root", may_be_absent=True),
    ]
    assert differences(wanted, root=str(tmp_path)) == [
        "/file has mode 0600, not 0644",
        f"/file belongs to {owner[0]}:{owner[1]}, not to nobody-there:{owner[1]}",
        "/file has other content than in the package",
        "/link points to elsewhere, not to target",
        "/gone is missing",
    ]


def read_owner(path: Path) -> tuple[str, str]:
    return path.owner(), path.group()


def test_a_bundles_own_manifest_is_read(tmp_path: Path) -> None:
    files = [{"path": "bin/x", "type": "file", "mode": "0755", "owner": "root", "group": "adm", "sha256": "ab"}]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    (entry,) = read_manifest(tmp_path / "manifest.json")
    assert entry == Entry(path="bin/x", kind="file", mode=0o755, owner="root", group="adm", sha256="ab")


def test_a_user_without_a_name_in_an_archive_is_root_or_its_number() -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for number in (0, 7):
            info = tarfile.TarInfo(f"./file{number}")
            info.uid = info.gid = number
            archive.addfile(info)
    data.seek(0)
    assert [(entry.path, entry.owner) for entry in read_tar(data)] == [("/file0", "root"), ("/file7", "7")]


def test_units_are_found_by_their_folder_and_templates_are_none() -> None:
    units = find_units(
        [
            "/usr/lib/systemd/system/a.service", "/etc/systemd/system/a.socket", "/usr/lib/systemd/system/b@.service",
            "/usr/lib/systemd/system/a.service.d/x.service", "/usr/share/doc/c.service",
        ]
    )  # fmt: skip
    assert (units.services, units.sockets) == (("a.service",), ("a.socket",))


def test_users_of_sysusers_files_are_those_of_its_user_lines() -> None:
    assert users_of(['# u no -\nu one - "A B"\ng group -\nu! two -\n']) == ["one", "two"]


def test_gzip_members_beside_each_other_are_told_apart() -> None:
    import gzip

    first, second = gzip.compress(b"control"), gzip.compress(b"data")
    assert _members(first + second) == [(first, b"control"), (second, b"data")]
    with pytest.raises(Failure, match="cut off"):
        _members(first + second[:-6])


def test_a_subject_arrives_as_it_was_sent(tmp_path: Path) -> None:
    subject = Subject(format="deb", file="/x.deb", health=("a", "b"), beside={"/x.deb": "/y.deb"}, foreign="arm64")
    (tmp_path / "x.deb").write_bytes(b"package")
    with tarfile.open(fileobj=io.BytesIO(load(subject, {"x.deb": tmp_path / "x.deb"}))) as archive:
        archive.extractall(tmp_path, filter="data")
    arrived = tmp_path / FOLDER.lstrip("/")
    assert Subject.read(arrived / "subject.json") == subject
    assert (arrived / "x.deb").read_bytes() == b"package"
    assert {f"guest/{path.name}" for path in (arrived / "guest").iterdir()} == dict(programs()).keys()


def test_the_guest_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    for name, data in programs():
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    modules = ", ".join(f"guest.{Path(name).stem}" for name, _ in programs() if not name.endswith("__.py"))
    done = run(
        "env",
        "-i",
        f"PATH={os.defpath}",
        "python3",
        "-S",
        "-I",
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {modules}",
    )
    assert done.code == 0, done.text


def test_a_program_of_another_processor_says_what_is_missing(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF" + bytes(60))
    program.chmod(0o755)
    subject = Subject(format="deb", file="x", foreign="arm64")
    assert subject.cannot_run([tmp_path / "missing", program]) == "no handler for linux/arm64 is registered"
    assert Subject(format="deb", file="x").cannot_run([program]) == ""


def test_a_token_is_put_where_the_checker_looks_for_it(tmp_path: Path) -> None:
    token, place = tmp_path / "a.token", tmp_path / "etc/shop/entitlement.token"
    token.write_text("token\n")
    token.chmod(0o600)
    Subject(format="deb", file="x.deb", entitlement=str(token), entitlement_place=str(place)).put_entitlement()
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("token\n", 0o644)
    Subject(format="deb", file="x.deb").put_entitlement()


def test_an_engine_without_its_entitlement_does_not_run(tmp_path: Path) -> None:
    assert Subject(format="deb", file="x.deb", unentitled="none is named").cannot_run([tmp_path]) == "none is named"
    assert Subject(format="deb", file="x.deb").cannot_run([tmp_path]) == ""
