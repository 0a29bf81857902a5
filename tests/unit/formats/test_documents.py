"""The files that a package gets beside the engine's own."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.documents import (
    changelog_entries,
    compressed,
    copyright_file,
    debian_changelog,
    lintian_overrides,
    meta_package,
    nfpm_changelog,
    staged_files,
)
from nexus_oci.formats.package import PACKAGE_FORMATS, Launcher, LinuxPackage, Relations

CHANGELOG = """\
# Changelog
All notable changes.

## [Unreleased]
- Not yet.

## [1.0.0-rc.1] - 2026-01-31
### Added
- Tills, with [receipts](https://shop.example/receipts) and `coins`,
  and drawers.
### Fixed
* A price.

## v0.9.0 (2025-12-24)
First version
[Unreleased]: https://shop.example/compare
"""


def test_every_format_gets_systemds_files_and_the_engines_texts(package: LinuxPackage) -> None:
    common = {
        "/usr/lib/systemd/system/shop.service", "/usr/lib/systemd/system/shop.socket", "/usr/lib/sysusers.d/shop.conf",
        "/usr/lib/systemd/system-preset/80-shop.preset", "/usr/lib/tmpfiles.d/shop.conf", "/usr/share/shop/sockets.json",
        "/usr/share/man/man8/shop.8.gz", "/usr/share/bash-completion/completions/shop",
        "/usr/share/fish/vendor_completions.d/shop.fish",
    }  # fmt: skip
    for name in (*PACKAGE_FORMATS, "tar"):
        assert common <= set(staged_files(package, name))
        assert {mode for _, mode in staged_files(package, name).values()} == {0o644}
    special = {name: set(staged_files(package, name)) - common for name in (*PACKAGE_FORMATS, "tar")}
    licences = {"/usr/share/licenses/shop/LICENSE", "/usr/share/licenses/shop/NOTICE"}
    zsh = "/usr/share/zsh/site-functions/_shop"
    assert special["rpm"] == special["apk"] == special["archlinux"] == special["ipk"] == {zsh, *licences}
    assert special["tar"] == {zsh, "/usr/share/doc/shop/LICENSE", "/usr/share/doc/shop/NOTICE"}
    assert special["deb"] == {
        "/usr/share/zsh/vendor-completions/_shop", "/usr/share/doc/shop/NOTICE", "/usr/share/doc/shop/copyright",
        "/usr/share/doc/shop/changelog.gz", "/usr/share/lintian/overrides/shop",
    }  # fmt: skip


def test_the_program_may_be_called_otherwise_than_the_package(package: LinuxPackage, launcher: Launcher) -> None:
    files = staged_files(replace(package, program="shopctl", launcher=replace(launcher, name="shopctl")), "deb")
    assert "/usr/share/zsh/vendor-completions/_shopctl" in files
    assert files["/usr/bin/shopctl"][1] == 0o755


def test_a_manual_page_without_a_section_is_refused(package: LinuxPackage) -> None:
    with pytest.raises(DefinitionError, match="'shop.txt' is no manual page"):
        staged_files(replace(package, manual={"shop.txt": b""}), "rpm")


def test_the_copyright_file_names_a_licence_that_debian_has_and_quotes_another(package: LinuxPackage) -> None:
    text = copyright_file(package).decode()
    assert "License: Apache-2.0\n On Debian systems the text of Apache-2.0 is in /usr/share/common-licenses/Apache-2.0.\n" in text
    assert "as you like" not in text
    text = copyright_file(replace(package, licence="MIT OR Zlib")).decode()
    assert "License: MIT or Zlib\n The file LICENSE says:\n .\n Do\n .\n as you like.\n" in text
    assert "Copyright: 2026 Shop\n" in copyright_file(replace(package, vendor="Shop\n")).decode()


def test_the_changelog_begins_with_the_packages_version(package: LinuxPackage) -> None:
    first, second = changelog_entries(replace(package, changelog=CHANGELOG))
    assert (first.version, first.date) == ("1.0.0-rc.1", 1_769_817_600)
    assert first.changes == ("Tills, with receipts and coins, and drawers.", "A price.")
    assert (second.version, second.changes) == ("0.9.0", ("First version",))
    assert [entry.version for entry in changelog_entries(replace(package, changelog=CHANGELOG, version="0.9.0"))] == ["0.9.0"]
    new, *rest = changelog_entries(replace(package, changelog=CHANGELOG, version="1.0.0"))
    assert (new.version, new.date, new.changes, len(rest)) == ("1.0.0", package.epoch, ("Release of version 1.0.0.",), 2)


def test_debian_and_rpm_read_the_changelog(package: LinuxPackage) -> None:
    text = debian_changelog(replace(package, changelog=CHANGELOG)).decode()
    assert text.startswith("shop (1.0.0~rc.1) unstable; urgency=medium\n\n  * Tills, with")
    assert "\n\n -- Ann <ann@shop.example>  Sat, 31 Jan 2026 00:00:00 +0000\n\nshop (0.9.0) unstable;" in text
    assert max(map(len, text.splitlines())) <= 80
    entries = json.loads(nfpm_changelog(replace(package, changelog=CHANGELOG)))
    assert entries[0]["semver"] == "1.0.0~rc.1-1"
    assert entries[1]["date"] == "2025-12-24T00:00:00Z"


def test_a_lintian_override_stands_behind_its_reason(package: LinuxPackage) -> None:
    assert lintian_overrides(package) == b"# It is so, for a reason.\nshop: some-tag\n"


def test_texts_are_compressed_without_time_or_name() -> None:
    data = compressed(b"page\n" * 1000)
    assert data[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"
    assert gzip.decompress(data) == b"page\n" * 1000
    assert compressed(b"page\n" * 1000) == data


def test_the_meta_package_draws_in_the_same_version_and_has_no_service(package: LinuxPackage) -> None:
    meta = meta_package(package, "deb")
    assert meta.relations == Relations(depends=("shop (= 1.0.0~rc.1)", "till"))
    assert set(staged_files(meta, "deb")) == {
        "/usr/share/doc/shop-all/copyright", "/usr/share/doc/shop-all/changelog.gz", "/usr/share/doc/shop-all/NOTICE",
    }  # fmt: skip
    assert meta_package(package, "rpm").relations.depends[0] == "shop = 1.0.0~rc.1-1"
    with pytest.raises(DefinitionError, match="shop has no meta-package"):
        meta_package(replace(package, meta=None), "deb")
