"""The staging program as the `staged` stage runs it: what it lays out, writes and refuses."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_oci.staging import program_files
from nexus_oci.staging.tree import read_tree

EPOCH = 1_700_000_000


@pytest.fixture
def program(tmp_path: Path) -> Path:
    for name, data in program_files().items():
        (tmp_path / "nexus" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nexus" / name).write_bytes(data)
    return tmp_path / "nexus"


def layouts(root: Path) -> dict[str, object]:
    sources = [{"from": str(root / "payload"), "name": "the engine"}, {"from": str(root / "tree"), "name": "the package"}]
    said = {"type": "config|noreplace", "mode": "0640", "group": "engine"}
    share = "/usr/share/engine"
    return {
        "name": "engine", "version": "1.0.0", "platform": "linux/amd64", "distribution": "runtime", "commit": "0a1b", "epoch": EPOCH,
        "texts": str(root / "licences"),
        "layouts": [
            {
                "tree": str(root / "staged/deb"), "sources": sources, "formats": ["deb", "rpm"], "files": {"/etc/engine/a.toml": said},
                "licences": "/usr/share/doc/engine/licenses", "manifest": f"{share}/manifest.json", "sums": f"{share}/SHA256SUMS",
                "edited": True,
            },
            {
                "tree": str(root / "staged/tar/engine-1.0.0"), "sources": [{**source, "moves": {"/usr": "/"}} for source in sources],
                "formats": ["tar.gz"], "files": {}, "licences": "/share/doc/engine/licenses", "manifest": "/manifest.json",
                "sums": "/SHA256SUMS",
            },
        ],
    }  # fmt: skip


def engine(root: Path) -> None:
    for name, text in {
        "payload/usr/bin/engine": "#!/bin/sh\n",
        "payload/usr/lib/engine/node_modules/@a/b/package.json": '{"name": "@a/b", "version": "2.0.0", "license": "MIT"}',
        "payload/usr/lib/engine/node_modules/@a/b/LICENSE": "MIT License\n",
        "payload/usr/lib/engine/lib/c-3.dist-info/METADATA": "Name: c\nVersion: 3\nLicense-Expression: BSD-3-Clause\nLicense-File: LICENSE\n\nText",
        "payload/usr/lib/engine/lib/c-3.dist-info/licenses/LICENSE": "BSD\n",
        "tree/etc/engine/a.toml": "a = 1\n",
        'tree/usr/share/engine/-it\'s "odd" \\ ü': "odd\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "payload/usr/bin/engine").chmod(0o775)
    (root / "payload/usr/bin/alias").symlink_to("/usr/bin/engine")
    (root / "payload/usr/lib/engine/python3").symlink_to("../../bin/python3")
    (root / "tree/usr/share/engine/a.toml").symlink_to("../../../etc/engine/a.toml")


def run(program: Path, configuration: object, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    place = program.parent / "stage.json"
    place.write_text(json.dumps(configuration))
    return subprocess.run(
        [sys.executable, "-S", "-W", "error", "-m", "nexus_oci.staging.stage", str(place)],
        cwd=program.parent, env={"PYTHONPATH": str(program)}, text=True, capture_output=True, check=False, umask=umask,
    )  # fmt: skip


def facts(tree: Path) -> list[tuple[object, ...]]:
    found = []
    for item in read_tree(str(tree)):
        status = os.lstat(item.place)
        data = Path(item.place).read_bytes() if item.kind == "file" else b""
        found.append((item.path, item.kind, item.target or oct(status.st_mode), int(status.st_mtime), data))
    return found


def refused(finished: subprocess.CompletedProcess[str]) -> list[str]:
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    return finished.stderr.splitlines()


def test_the_layouts_are_the_same_whatever_the_clock_the_umask_and_the_order(program: Path, tmp_path: Path) -> None:
    staged = []
    for name, umask in (("one", 0o077), ("two", 0o000)):
        root = tmp_path / name
        engine(root)
        if name == "two":
            (root / "payload/usr/bin/engine").chmod(0o700)
            (root / "payload/usr/lib/engine").chmod(0o777)
            os.utime(root / "tree/etc/engine/a.toml", (1, 1))
        assert run(program, layouts(root), umask).stderr == ""
        staged.append(facts(root / "staged/deb") + facts(root / "staged/tar/engine-1.0.0"))
    assert staged[0] == staged[1]
    assert {fact[3] for fact in staged[0]} == {EPOCH}
    modes = {fact[0]: fact[2] for fact in facts(tmp_path / "two/staged/deb")}
    assert modes["/usr/bin/engine"] == oct(0o100755)
    assert modes["/etc/engine/a.toml"] == oct(0o100640)
    assert modes["/usr/lib/engine"] == oct(0o40755)


def test_sums_hold_where_the_bundle_stands_and_after_configuration_was_edited(program: Path, tmp_path: Path) -> None:
    engine(tmp_path)
    assert run(program, layouts(tmp_path)).stderr == ""
    deb, tar = tmp_path / "staged/deb", tmp_path / "staged/tar/engine-1.0.0"
    (deb / "etc/engine/a.toml").write_text("a = 2\n")
    for tree, sums in ((deb, "usr/share/engine/SHA256SUMS"), (tar, "SHA256SUMS")):
        check = subprocess.run(["sha256sum", "--check", "--strict", sums], cwd=tree, capture_output=True, text=True, check=True)
        assert "manifest.json: OK" in check.stdout
        assert "odd" in check.stdout
    assert "etc/engine/a.toml" in (tar / "SHA256SUMS").read_text()
    (tar / "bin/engine").write_text("changed")
    assert (
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tar, capture_output=True, check=False).returncode
        == 1
    )


def test_the_manifest_says_what_every_path_is(program: Path, tmp_path: Path) -> None:
    engine(tmp_path)
    assert run(program, layouts(tmp_path)).stderr == ""
    tree = tmp_path / "staged/deb"
    manifest = json.loads((tree / "usr/share/engine/manifest.json").read_bytes())
    head = {key: value for key, value in manifest.items() if key != "files"}
    assert head == {
        "schemaVersion": 1, "name": "engine", "version": "1.0.0", "platform": "linux/amd64", "distribution": "runtime",
        "commit": "0a1b", "epoch": EPOCH,
    }  # fmt: skip
    files = {entry["path"]: entry for entry in manifest["files"]}
    own = {"usr/share/engine/manifest.json", "usr/share/engine/SHA256SUMS"}
    assert {item.path[1:] for item in read_tree(str(tree))} - own == set(files)
    assert list(files) == sorted(files, key=os.fsencode)
    digest = subprocess.run(["sha256sum", "etc/engine/a.toml"], cwd=tree, capture_output=True, text=True, check=True).stdout[:64]
    assert files["etc/engine/a.toml"] == {
        "path": "etc/engine/a.toml", "type": "file", "mode": "0640", "owner": "root", "group": "engine", "size": 6, "sha256": digest,
        "config": True,
    }  # fmt: skip
    assert files["usr/bin/engine"]["mode"] == "0755"
    assert files["usr/bin/alias"]["target"] == "/usr/bin/engine"
    assert files["usr/bin"]["type"] == "directory"


def test_links_hold_in_an_archive_wherever_it_is_unpacked(program: Path, tmp_path: Path) -> None:
    engine(tmp_path)
    assert run(program, layouts(tmp_path)).stderr == ""
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "staged/tar/engine-1.0.0", moved)
    assert (moved / "bin/alias").resolve() == moved / "bin/engine"
    assert (moved / "share/engine/a.toml").read_text() == "a = 1\n"
    assert (moved / "lib/engine/python3").readlink() == Path("/usr/bin/python3")
    assert not (moved / "usr").exists()


def test_licences_of_what_is_inside_are_listed_with_their_texts(program: Path, tmp_path: Path) -> None:
    engine(tmp_path)
    assert run(program, layouts(tmp_path)).stderr == ""
    text = (tmp_path / "staged/tar/engine-1.0.0/share/doc/engine/licenses/THIRD-PARTY-LICENSES").read_text()
    assert text.split("\n\n")[1:] == [
        "Component: @a/b\nVersion: 2.0.0\nKind: node\nLicense: MIT\nText: lib/engine/node_modules/@a/b/LICENSE",
        "Component: c\nVersion: 3\nKind: python\nLicense: BSD-3-Clause\nText: lib/engine/lib/c-3.dist-info/licenses/LICENSE\n",
    ]


def test_modules_of_a_go_program_are_told_by_the_program_itself(program: Path, tmp_path: Path) -> None:
    engine(tmp_path)
    sentinel = b"0" * 16
    lines = b"path\tx\nmod\tx\t(devel)\t\ndep\texample.org/d\tv1.2.3\th1:a=\ndep\texample.org/e\tv1.0.0\n=>\texample.org/f\tv1.0.1\th1:b=\nbuild\tGOOS=linux\n"
    info = sentinel + lines + sentinel
    length = bytes([len(info) & 0x7F | 0x80, len(info) >> 7])
    build = b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\x08go1.26.8" + length + info
    (tmp_path / "payload/usr/bin/engine").write_bytes(b"\x7fELF" + bytes(5_000_012) + build + bytes(100))
    text = tmp_path / "licences/example.org/d@v1.2.3/LICENSE"
    text.parent.mkdir(parents=True)
    text.write_text("ISC\n")
    assert run(program, layouts(tmp_path)).stderr == ""
    folder = tmp_path / "staged/deb/usr/share/doc/engine/licenses"
    assert (folder / "example.org/d@v1.2.3/LICENSE").read_text() == "ISC\n"
    assert "The Go Authors" in (folder / "go@1.26.8/LICENSE").read_text()
    parts = (folder / "THIRD-PARTY-LICENSES").read_text().split("\n\n")
    assert "Component: example.org/f\nVersion: v1.0.1\nKind: go\nText: none came with it" in parts
    assert not any("example.org/e" in part for part in parts)


def test_every_problem_is_told_at_once_and_nothing_is_laid_out(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(tmp_path)
    (tmp_path / "payload/usr/lib/engine/token.txt").write_text("\n\nghp_" + "a1B2c3D4e5F6g7H8i9" * 2 + "\n")
    (tmp_path / "payload/etc/engine").mkdir(parents=True)
    (tmp_path / "payload/etc/engine/a.toml").write_text("a = 3\n")
    (tmp_path / "payload/usr/bin/engine").chmod(0o4755)
    (tmp_path / "tree/usr/share/engine/gone").symlink_to("missing")
    (tmp_path / "tree/usr/share/engine/manifest.json").write_text("{}")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # as the name of a socket is short
        listener.bind("payload/usr/s")
    configuration = layouts(tmp_path)
    configuration["layouts"] = configuration["layouts"][:1]  # type: ignore[index]
    lines = refused(run(program, configuration))
    assert sorted(line.partition(";")[0] for line in lines) == [
        "nexus-oci: /etc/engine/a.toml: both the engine and the package have it, of different content",
        "nexus-oci: /usr/bin/engine: the file is setuid (4755), which lets whoever runs it act as another user",
        "nexus-oci: /usr/lib/engine/token.txt:3: a GitHub token (ghp_…)",
        "nexus-oci: /usr/s: a socket cannot be packaged: it belongs to a running system",
        "nexus-oci: /usr/share/engine/gone: the link leads to missing, which is in the package's own folder and not there",
        "nexus-oci: /usr/share/engine/manifest.json: the build writes this file itself",
    ]
    assert not (tmp_path / "staged").exists()
