"""From an unpacked system to a base: what goes, what stays, what is added, and that nothing else matters."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from nexus_oci.bases.cleaning import NONROOT, Metadata, clean
from nexus_oci.errors import ArchiveError

EPOCH = 1_000_000

Members = dict[str, bytes | str | int | None]
"""Name to a file's bytes, a symbolic link's target (`->x`), a hard link's (`=>x`), a device (int) or a directory (None)."""


def raw(members: Members, *, seed: int = 0, order: int = 1) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, value in list(members.items())[::order]:
            info = tarfile.TarInfo(f"./{name}")
            info.mtime, info.uid, info.gid, info.mode = (
                500 + (EPOCH if value is None else 0) + seed * (value is None),
                seed,
                seed,
                0o644,
            )
            data = b""
            if value is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o2775 if seed else 0o755
            elif isinstance(value, int):
                info.type, info.devmajor = tarfile.CHRTYPE, value
            elif isinstance(value, str):
                info.type, info.linkname = (
                    (tarfile.SYMTYPE, value[2:]) if value.startswith("->") else (tarfile.LNKTYPE, f"./{value[2:]}")
                )
            else:
                data, info.size = value, len(value)
            tar.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


def cleaned(members: Members, *packages: Metadata, **options: Any) -> bytes:
    out = io.BytesIO()
    clean(raw(members, **options), out, packages, EPOCH)
    return out.getvalue()


def entries(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def content(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


@pytest.mark.parametrize(
    "name",
    [
        "etc/apt/sources.list",
        "etc/dpkg/origins/debian",
        "etc/fstab",
        "etc/hostname",
        "etc/machine-id",
        "etc/resolv.conf",
        "usr/lib/systemd/system/x.service",
        "usr/lib/x86_64-linux-gnu/gconv/EUC-KR.so",
        "usr/share/doc/libc6/changelog.Debian.gz",
        "usr/share/locale/de/LC_MESSAGES/x.mo",
        "usr/share/man/man1/x.1.gz",
        "usr/lib/python3/dist-packages/__pycache__/x.cpython-313.pyc",
        "var/cache/apt/archives/x.deb",
        "var/lib/apt/lists/lock",
        "var/lib/dpkg/status",
        "var/log/apt/term.log",
        "dev/shm/x",
        "tmp/x",
    ],
)
def test_what_only_a_machine_or_a_package_manager_wants_is_gone(name: str) -> None:
    assert name not in entries(cleaned({name: b"x"}))


@pytest.mark.parametrize(
    "name",
    [
        "etc/services",
        "usr/bin/python3",
        "usr/lib/x86_64-linux-gnu/gconv/ISO8859-1.so",
        "usr/lib/x86_64-linux-gnu/gconv/gconv-modules.d/extra.conf",
        "usr/share/common-licenses/GPL-3",
        "usr/share/doc/libc6/copyright",
        "usr/share/zoneinfo/Europe/Berlin",
        "usr/lib/os-release",
    ],
)
def test_what_programs_and_licences_need_stays(name: str) -> None:
    data = cleaned({name: b"x"})
    assert content(data, name) == b"x"


def test_device_nodes_are_gone_and_the_mount_points_are_there() -> None:
    found = entries(cleaned({"dev": None, "dev/null": 1, "lib/odd": 3}))
    assert not [entry.name for entry in found.values() if entry.ischr()]
    assert all(found[name].isdir() for name in ("dev", "proc", "sys", "run", "tmp", "var/tmp"))
    assert oct(found["tmp"].mode) == oct(found["var/tmp"].mode) == "0o1777"


def test_owner_time_and_special_bits_of_the_maker_do_not_show() -> None:
    members: Members = {"etc": None, "usr/bin/x": b"x", "var/local": None, "usr/bin/y": "->x"}
    assert cleaned(members) == cleaned(members, seed=77) == cleaned(members, order=-1)
    for entry in entries(cleaned(members, seed=77)).values():
        assert entry.uid == (NONROOT if entry.name == "home/nonroot" else 0)
        assert entry.mtime <= EPOCH
        assert not entry.mode & 0o6022 or entry.mode in (0o1777, 0o777)


def test_a_user_without_privileges_is_there_for_images_to_run_as() -> None:
    data = cleaned({})
    assert f"nonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n".encode() in content(data, "etc/passwd")
    assert f"nonroot:x:{NONROOT}:\n".encode() in content(data, "etc/group")
    assert (entries(data)["home/nonroot"].uid, entries(data)["home/nonroot"].mode) == (NONROOT, 0o700)


def test_certificate_authorities_become_one_sorted_bundle_that_openssl_finds() -> None:
    folder = "usr/share/ca-certificates/mozilla"
    members: Members = {f"{folder}/b.crt": b"B", f"{folder}/a.crt": b"A\n", "usr/lib/aarch64-linux-gnu/libssl.so.3": b""}
    data = cleaned(members)
    assert content(data, "etc/ssl/certs/ca-certificates.crt") == b"A\nB\n"
    found = entries(data)
    assert found["usr/lib/ssl/cert.pem"].linkname == "/etc/ssl/certs/ca-certificates.crt"
    assert f"{folder}/a.crt" not in found
    with_openssl = entries(cleaned({**members, "usr/bin/openssl": b"", "usr/lib/ssl/certs": "->/elsewhere"}))
    assert f"{folder}/a.crt" in with_openssl
    assert with_openssl["usr/lib/ssl/certs"].linkname == "/elsewhere"


def test_alternatives_are_linked_where_their_program_is_there() -> None:
    found = entries(cleaned({"usr/bin/mawk": b"x"}))
    assert found["usr/bin/awk"].linkname == "mawk"
    assert "usr/bin/cc" not in found
    assert entries(cleaned({"usr/bin/mawk": b"x", "usr/bin/awk": "->own"}))["usr/bin/awk"].linkname == "own"


def test_scanners_find_a_stanza_and_the_checksums_of_what_is_left() -> None:
    sums = b"0" * 32 + b"  usr/bin/x\n" + b"1" * 32 + b"  usr/share/man/x.1\n"
    data = cleaned({"usr/bin/x": b"x", "usr/share/man/x.1": b""}, Metadata(name="x", control=b"Package: x\n", md5sums=sums))
    assert content(data, "var/lib/dpkg/status.d/x") == b"Package: x\n"
    assert content(data, "var/lib/dpkg/status.d/x.md5sums") == b"0" * 32 + b"  usr/bin/x\n"


def test_hard_links_stay_one_file_even_where_the_first_name_is_dropped() -> None:
    data = cleaned({"tmp/first": b"same", "usr/bin/b": "=>tmp/first", "usr/bin/a": "=>tmp/first"})
    found = entries(data)
    assert found["usr/bin/a"].isreg()
    assert found["usr/bin/b"].islnk()
    assert content(data, "usr/bin/b") == b"same"


def test_names_are_sorted_and_every_directory_comes_before_what_is_in_it() -> None:
    names = list(entries(cleaned({"usr/share/x/y": b"", "usr/bin": None})))
    assert names == sorted(names)
    assert {"usr", "usr/share", "usr/share/x"} <= set(names)


def test_what_is_no_tar_is_refused() -> None:
    with pytest.raises(ArchiveError, match="cannot be read"):
        clean(io.BytesIO(b"no tar at all" * 100), io.BytesIO(), (), EPOCH)
