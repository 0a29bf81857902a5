"""The lock file: exact, readable as a diff, and suspicious of what it reads."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from nexus_oci.bases.lock import FORMAT, format_lock, parse_lock, read_lock, write_lock
from nexus_oci.bases.values import BaseLock, LockedDebian, LockedImage, LockedPackage
from nexus_oci.errors import LockError, NexusError
from nexus_oci.oci.values import digest_of

DIGEST = digest_of(b"x")


def package(name: str, **changes: Any) -> LockedPackage:
    fields = {
        "name": name,
        "version": "1:2.0~rc1+b1-3",
        "architecture": "amd64",
        "filename": f"pool/main/{name[0]}/{name}/{name}_2.0~rc1+b1-3_amd64.deb",
        "size": 12,
        "sha256": "0" * 64,
    }
    return LockedPackage(**{**fields, **changes})


LOCK = BaseLock(
    bases={
        "zeta": LockedDebian(
            definition=DIGEST,
            epoch=5,
            packages=MappingProxyType({"arm64": (package("b"),), "amd64": (package("b"), package("a"))}),
        ),
        "alpha": LockedImage(definition=DIGEST, image="registry.example/base:1", digest=DIGEST),
    }
)


def test_a_lock_survives_being_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "images" / "bases.lock"
    write_lock(path, LOCK)
    again = read_lock(path)
    assert again.bases["alpha"] == LOCK.bases["alpha"]
    entry = again.bases["zeta"]
    assert isinstance(entry, LockedDebian)
    assert entry.packages["amd64"] == (package("a"), package("b"))
    assert format_lock(again) == format_lock(LOCK) == path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["bases.lock"]


def test_a_lock_is_json_with_one_package_a_line_in_order() -> None:
    text = format_lock(LOCK).decode()
    assert json.loads(text)["format"] == FORMAT
    assert [line.split('"')[3] for line in text.splitlines() if '"sha256": ' in line] == ["a", "b", "b"]
    assert text.index('"alpha"') < text.index('"zeta"')


def test_an_empty_lock_is_a_lock() -> None:
    assert parse_lock(format_lock(BaseLock()), "lock").bases == {}


def test_a_missing_lock_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"there is no lock at [\s\S]*nexus-oci lock"):
        read_lock(tmp_path / "bases.lock")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"{}", b'{"format": 1}', b'{"format": 1, "bases": {"x": []}}', b"\xff\xfe", b"[" * 100_000],
)
def test_what_is_no_lock_is_refused_with_one_message(data: bytes) -> None:
    with pytest.raises(LockError, match="is not a lock of bases"):
        parse_lock(data, "images/bases.lock")


def test_a_lock_of_another_format_is_refused_by_its_number() -> None:
    with pytest.raises(LockError, match="format 99"):
        parse_lock(b'{"format": 99, "bases": {}}', "lock")


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "pool/../../../etc/passwd.deb"},
        {"filename": "/etc/x.deb"},
        {"filename": "pool/x"},
        {"filename": "pool/a b.deb"},
        {"filename": "-o.deb"},
        {"sha256": "../../x"},
        {"sha256": "A" * 64},
        {"name": "--help"},
        {"name": "a\nFilename: b"},
        {"version": "1 2"},
        {"architecture": "amd64,"},
        {"size": "many"},
    ],
)
def test_a_package_whose_fields_could_leave_their_place_is_refused(changes: dict[str, Any]) -> None:
    tree = json.loads(format_lock(LOCK))
    tree["bases"]["zeta"]["packages"]["amd64"][0] |= changes
    with pytest.raises(LockError, match="is not a lock of bases"):
        parse_lock(json.dumps(tree).encode(), "lock")


def test_a_lock_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file is in the way")
    with pytest.raises(NexusError, match="cannot be written"):
        write_lock(tmp_path / "images" / "bases.lock", LOCK)


def test_the_shipped_lock_answers_the_shipped_bases() -> None:
    import yaml

    from nexus_oci.bases.values import DebianBase
    from nexus_oci.definition.base_model import BasesFile
    from nexus_oci.definition.base_model import DebianBase as BaseModel

    images = Path(__file__).parents[3] / "images"
    shipped = BasesFile.model_validate(yaml.safe_load((images / "bases.yaml").read_text()))
    lock = read_lock(images / "bases.lock")
    assert lock.bases.keys() == shipped.bases.keys()
    for name, base in shipped.bases.items():
        assert isinstance(base, BaseModel)
        debian = base.debian
        wanted = DebianBase(
            suite=debian.suite,
            packages=debian.packages,
            components=debian.components,
            exclude=debian.exclude,
            dependencies=debian.dependencies,
        )
        for architecture in ("amd64", "arm64"):
            _, packages = lock.debian(name, wanted, architecture)
            assert {p.architecture for p in packages} <= {architecture, "all"}
            assert {p.name for p in packages} >= set(debian.packages)
            assert not {p.name for p in packages} & set(debian.exclude)
    assert b"://" not in (images / "bases.lock").read_bytes()
