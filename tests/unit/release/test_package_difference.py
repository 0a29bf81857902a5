"""What two packages differ in, of packages that nfpm made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.rpm import read_rpm
from nexus_oci.release.tree_difference import archive_differences

NFPM = Path(sys.executable).parent / "nfpm"
FORMS = {"rpm": "rpm", "deb": "deb", "apk": "tar.gz", "ipk": "tar.gz", "archlinux": "tar.zst"}
TEXT = "one\ntwo\nthree\n"


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Makes a package of a program and a text; `changes` are of the text's content, mode and time, or of nfpm's configuration."""
    count = 0

    def make(kind: str, text: str = TEXT, mode: int = 0o644, mtime: str = "2026-01-02T03:04:05Z", **changes: Any) -> Path:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "text").write_text(text)
        (folder / "program").write_bytes(bytes(range(256)) * 20)
        times = {"mtime": "2026-01-02T03:04:05Z"}
        contents = [
            {"src": str(folder / "text"), "dst": "/etc/x.conf", "file_info": {"mode": mode, "mtime": mtime}},
            {"src": str(folder / "program"), "dst": "/usr/bin/x", "file_info": {"mode": 0o755, **times}},
        ]
        about = {"name": "x", "arch": "amd64", "platform": "linux", "version": "1.0.0", "maintainer": "A <a@a.example>", "description": "x",
                 "mtime": "2026-01-02T03:04:05Z", "contents": contents, "rpm": {"compression": "gzip", "buildhost": "host"}, **changes}  # fmt: skip
        (folder / "nfpm.yaml").write_text(json.dumps(about))
        target = folder / f"x.{kind}"
        command = [NFPM, "package", "-f", folder / "nfpm.yaml", "-p", kind, "-t", target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return target

    return make


class Opened:
    """A file as a blob's reader has it."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()

    def __iter__(self) -> Any:
        return (self._data[at : at + 1000] for at in range(0, len(self._data), 1000))

    def close(self) -> None:
        """There is nothing to close."""


def compare(form: Any, then: Path, now: Path, **options: Any) -> dict[tuple[str, ...], tuple[str, str]]:
    found = archive_differences(form, lambda: Opened(then), lambda: Opened(now), "it", **options)  # type: ignore[arg-type, return-value]
    return {(*each.where, each.field): (each.then, each.now) for each in found}


@pytest.mark.parametrize("kind", ["rpm", "deb", "apk", "ipk"])
@pytest.mark.parametrize(
    ("changes", "field", "before", "after"),
    [
        ({"mtime": "2026-01-02T03:04:06Z"}, "mtime", "1767323045", "1767323046"),
        ({"mode": 0o600}, "mode", "0644", "0600"),
        ({"text": TEXT.replace("two", "TWO")}, "line 2", "two", "TWO"),
    ],
    ids=["mtime", "mode", "content"],
)
def test_one_change_of_one_file_in_a_package_is_named(
    package: Callable[..., Path], kind: str, changes: Mapping[str, Any], field: str, before: str, after: str
) -> None:
    found = compare(FORMS[kind], package(kind), package(kind, **changes))
    of_the_file = {where[-1]: values for where, values in found.items() if where[-2] == "etc/x.conf"}
    expected = {"rpm": {"mode": ("100644", "100600")}}.get(kind, {}).get(field, (before, after))
    assert of_the_file == {field: expected}
    assert [where for where in found if where[-2] != "etc/x.conf"] == []


@pytest.mark.parametrize("kind", ["rpm", "deb"])
def test_a_package_s_version_is_named(package: Callable[..., Path], kind: str) -> None:
    found = compare(FORMS[kind], package(kind), package(kind, version="1.0.1"))
    if kind == "deb":
        assert found == {("control.tar.gz", "control", "line 2"): ("Version: 1.0.0", "Version: 1.0.1")}
    else:
        assert found[("header", "version")] == ("1.0.0", "1.0.1")
        # It provides itself in that version, comes out of a source package of it, and says both in its header alone.
        assert all(where[0] == "header" for where in found)


def test_an_rpm_whose_payload_nobody_unpacks_is_compared_by_its_header(package: Callable[..., Path]) -> None:
    zstd = {"rpm": {"compression": "zstd", "buildhost": "host"}}
    (one,) = compare("rpm", package("rpm", **zstd), package("rpm", TEXT.upper(), **zstd))
    assert one == ("etc/x.conf", "content")
    assert compare("rpm", package("rpm", **zstd), package("rpm", mtime="2026-01-02T03:04:06Z", **zstd)) == {
        ("etc/x.conf", "mtime"): ("1767323045", "1767323046")
    }


@pytest.mark.parametrize("compression", ["gzip", "xz"])
def test_an_rpm_s_files_are_read(package: Callable[..., Path], compression: str) -> None:
    made = package("rpm", rpm={"compression": compression, "buildhost": "host"})
    found = read_rpm(Opened(made), "it")
    assert found.files is not None
    assert {name: b"".join(map(bytes, data)) for name, data in found.files} == {
        "etc/x.conf": TEXT.encode(),
        "usr/bin/x": bytes(range(256)) * 20,
    }
    assert found.header[1000] == ("x",)


def test_an_archlinux_package_is_looked_into_where_somebody_unpacks_it(package: Callable[..., Path]) -> None:
    a, b = package("archlinux"), package("archlinux", TEXT.upper())
    assert all(where[0].startswith(("byte", "size")) for where in compare("tar.zst", a, b))


def test_a_signature_in_an_rpm_is_named_or_passed_over(package: Callable[..., Path], tmp_path: Path) -> None:
    from tests.support.openpgp_keys import armored, make_key

    (tmp_path / "key").write_bytes(armored(make_key()))
    signing = {"compression": "gzip", "buildhost": "host", "signature": {"key_file": str(tmp_path / "key")}}
    plain, signed = package("rpm"), package("rpm", rpm=signing)
    found = compare("rpm", plain, signed)
    assert set(found) == {("signatures", "signature")}
    assert found["signatures", "signature"][0] == ""
    assert compare("rpm", plain, signed, signatures=False) == {}
    assert set(compare("rpm", package("rpm", TEXT.upper()), signed, signatures=False)) == {("etc/x.conf", "line 1")}


@pytest.mark.parametrize("part", [0.01, 0.05, 0.3, 0.6, 0.99])
def test_a_truncated_rpm_is_refused_and_compared_as_bytes(package: Callable[..., Path], tmp_path: Path, part: float) -> None:
    whole = package("rpm")
    length = int(whole.stat().st_size * part)
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:length])
    with pytest.raises(ArchiveError):
        for _ in read_rpm(Opened(tmp_path / "cut"), "it").files or ():
            pass
    assert set(compare("rpm", whole, tmp_path / "cut")) == {("size",), (f"byte {length}",)}
