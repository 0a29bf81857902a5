"""A package of macOS before readers of others: libarchive, 7-Zip, GNU cpio, file, and OpenSSL for both of its signatures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nexus_oci.formats.macos.fat_binary import join
from nexus_oci.formats.macos.flat_package import Product, write_package
from nexus_oci.formats.macos.xar import read_xar
from tests.support.clean_debian import Machine, clean_debian, machine
from tests.unit.formats.macos.kit import EPOCH, authority_and_signer, file_entry, link_entry, mach_o

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

PRODUCT = Product(
    identifier="example.engine", version="1.2.3", title="Engine", architectures=("arm64", "x86_64"), licence="MIT\n"
)


@pytest.fixture(scope="module")
def debian() -> Iterator[Machine]:
    with machine(clean_debian(["7zip", "cpio", "file", "libarchive-tools", "openssl"])) as running:
        yield running


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, debian: Machine) -> Path:
    """A signed package, in the container as /root/x.pkg with its digest, signatures, key and authority beside it."""
    folder = tmp_path_factory.mktemp("macos")
    authority, signer = authority_and_signer()
    with (folder / "engine").open("wb") as out:
        join([mach_o(folder / "intel", "x86_64", b"i" * 9000), mach_o(folder / "arm", "arm64", b"a" * 9000)], out)
    files = [
        file_entry("./usr/local/bin/engine", (folder / "engine").read_bytes(), 0o755),
        file_entry("./usr/local/etc/engine/ä b.toml", b"x = 1\n"),
        link_entry("./usr/local/bin/alias", "engine"),
    ]
    path = folder / "x.pkg"
    with path.open("wb") as out:
        write_package(out, PRODUCT, files, {"postinstall": b"#!/bin/sh\nexit 0\n"}, EPOCH, signer)
    archive = read_xar(path)
    signatures = {one.style: one.data for one in archive.signatures}
    texts = {
        "digest": archive.digest, "rsa": signatures["RSA"], "cms": signatures["CMS"],
        "authority.pem": authority.public_bytes(Encoding.PEM),
        "key.pem": signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }  # fmt: skip
    for name, data in texts.items():
        (folder / name).write_bytes(data)
        debian.put(folder / name)
    debian.put(path)
    debian.put(folder / "engine")
    return path


def test_libarchive_and_7zip_list_and_test_it(package: Path, debian: Machine) -> None:
    listed = debian.run("bsdtar", "-tf", "/root/x.pkg").split()
    assert {"Distribution", "component.pkg/Bom", "component.pkg/Payload", "component.pkg/PackageInfo"} <= set(listed)
    assert "Everything is Ok" in debian.run("7z", "t", "/root/x.pkg")


def test_the_payload_is_the_tree_by_gnu_cpio(package: Path, debian: Machine) -> None:
    debian.run("sh", "-c", "mkdir -p /root/out /root/tree && bsdtar -C /root/out -xf /root/x.pkg")
    debian.run("sh", "-c", "cd /root/tree && gzip -dc ../out/component.pkg/Payload | cpio -idm --quiet")
    debian.run("cmp", "/root/tree/usr/local/bin/engine", "/root/engine")
    assert debian.run("readlink", "/root/tree/usr/local/bin/alias").strip() == "engine"
    assert debian.run("cat", "/root/tree/usr/local/etc/engine/ä b.toml") == "x = 1\n"
    assert debian.run("stat", "-c", "%a %Y", "/root/tree/usr/local/bin/engine").split() == ["755", str(EPOCH)]


def test_the_program_is_universal_by_file(package: Path, debian: Machine) -> None:
    told = debian.run("file", "-b", "/root/engine")
    assert "universal binary with 2 architectures" in told
    assert "x86_64" in told and "arm64" in told


def test_openssl_verifies_both_signatures_of_the_table(package: Path, debian: Machine) -> None:
    rsa = (
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "/root/key.pem",
        "-sigfile",
        "/root/rsa",
        "-pkeyopt",
        "digest:sha1",
    )
    cms = ("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "/root/cms", "-CAfile", "/root/authority.pem",
           "-purpose", "any", "-out", "/dev/null")  # fmt: skip
    assert "Verified Successfully" in debian.run(*rsa, "-in", "/root/digest")
    assert "successful" in debian.run(*cms, "-content", "/root/digest")
    debian.run("sh", "-c", "head -c 20 /dev/zero > /root/other")
    assert debian.attempt(*rsa, "-in", "/root/other")[0] != 0
    assert debian.attempt(*cms, "-content", "/root/other")[0] != 0


def test_a_flipped_byte_of_the_payload_is_found_by_others_too(package: Path, debian: Machine, tmp_path: Path) -> None:
    member = read_xar(package).member("component.pkg/Payload")
    data = bytearray(package.read_bytes())
    data[member.offset + member.size // 2] ^= 1
    changed = tmp_path / "changed.pkg"
    changed.write_bytes(data)
    place = debian.put(changed)
    assert debian.attempt("bsdtar", "-xOf", place, "component.pkg/Payload")[0] != 0
