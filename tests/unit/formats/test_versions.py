"""A semantic version in each format's words; that the order holds is for tests/integration/test_versions.py to show."""

from __future__ import annotations

import re

import pytest

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.package import PACKAGE_FORMATS, LinuxPackage
from nexus_oci.formats.versions import file_name, full_version, package_version

PACKAGE = LinuxPackage(
    name="shop", version="1.0.0-rc.1+build.5", architecture="arm64", platform="linux/arm64",
    maintainer="Ann <ann@shop.example>", description="Sells.", epoch=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("version", "deb", "rpm", "apk", "archlinux"),
    [
        ("1.0.0", "1.0.0", "1.0.0", "1.0.0", "1.0.0"),
        ("1.0.0-rc.1+build.5", "1.0.0~rc.1+build.5", "1.0.0~rc.1+build.5", "1.0.0_rc1_git5", "1.0.0rc.1+build.5"),
        ("1.0.0+5", "1.0.0+5", "1.0.0+b5", "1.0.0_git5", "1.0.0+b5"),
        ("1.0.0-rc1", "1.0.0~rc1", "1.0.0~rc1", "1.0.0_rc1", "1.0.0rc1"),
        ("1.0.0-rc-x.1+build-7", "1.0.0~rc.x.1+build.7", "1.0.0~rc.999999999999999.x.1+build.7", None,
         "1.0.0rc.999999999999999.x.1+build.7"),
        ("1.2.4-dev.5.g0123abc", "1.2.4~dev.5.g0123abc", "1.2.4~dev.5.g0123abc", "1.2.4_pre_alpha5", "1.2.4dev.5.g0123abc"),
        ("1.0.0-7", "1.0.0~7", "1.0.0~~7", None, "1.0.0A.7"),
        ("1.0.0-rc+5", "1.0.0~rc+5", "1.0.0~rc+b5", "1.0.0_rc", "1.0.0rc+b5"),
    ],
)  # fmt: skip
def test_a_version_is_written_as_each_manager_reads_it(version: str, deb: str, rpm: str, apk: str | None, archlinux: str) -> None:
    assert package_version(version, "deb") == package_version(version, "ipk") == deb
    assert package_version(version, "rpm") == rpm
    assert package_version(version, "archlinux") == archlinux
    if apk is None:
        with pytest.raises(DefinitionError, match=f"apk cannot say the version {re.escape(version)}"):
            package_version(version, "apk")
    else:
        assert package_version(version, "apk") == apk


@pytest.mark.parametrize("version", ["1.0.0-snapshot", "1.0.0-rc.1.dev", "1.0.0-m1", "1.0.0-rc.1234567890123456789"])
def test_what_apk_cannot_say_comes_with_what_to_write(version: str) -> None:
    with pytest.raises(DefinitionError, match="knows alpha, beta, pre and rc") as caught:
        package_version(version, "apk")
    assert "call it 1.0.0-rc.1" in (caught.value.hint or "")


def test_only_formats_with_revisions_have_one() -> None:
    found = {name: full_version("1.0.0", "2", name) for name in PACKAGE_FORMATS}
    assert found == {"deb": "1.0.0", "rpm": "1.0.0-2", "apk": "1.0.0-r2", "archlinux": "1.0.0-2", "ipk": "1.0.0"}


def test_files_are_called_as_is_customary() -> None:
    assert {name: file_name(PACKAGE, name) for name in (*PACKAGE_FORMATS, "srpm")} == {
        "deb": "shop_1.0.0~rc.1+build.5_arm64.deb",
        "rpm": "shop-1.0.0~rc.1+build.5-1.aarch64.rpm",
        "apk": "shop_1.0.0_rc1_git5-r1_aarch64.apk",
        "archlinux": "shop-1.0.0rc.1+build.5-1-aarch64.pkg.tar.zst",
        "ipk": "shop_1.0.0~rc.1+build.5_aarch64_generic.ipk",
        "srpm": "shop-1.0.0~rc.1+build.5-1.aarch64.src.rpm",
    }


def test_an_architecture_that_a_format_has_not_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(DefinitionError, match="archlinux has no packages for s390x"):
        file_name(replace(PACKAGE, architecture="s390x"), "archlinux")
