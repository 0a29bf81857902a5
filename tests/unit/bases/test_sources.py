"""Where packages come from: the host's own archives with the wanted suite, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_oci.bases.apt import Source
from nexus_oci.bases.sources import HostTarget, from_host_targets, from_text, host_codename

MIRROR = "http://mirror.example/debian/"
SECURITY = "http://mirror.example/debian-security/"


def target(uri: str, release: str, **more: str) -> HostTarget:
    return HostTarget(uri=uri, release=release, component=more.pop("component", "main"), **more)


HOST = (
    target(MIRROR, "bookworm", origin="Debian"),
    target(MIRROR, "bookworm", origin="Debian", component="contrib"),
    target(MIRROR, "bookworm-updates", origin="Debian"),
    target(SECURITY, "bookworm-security", origin="Debian"),
    target(MIRROR, "bookworm-backports", origin="Debian"),
)


def suites(sources: tuple[Source, ...]) -> set[tuple[str, str]]:
    return {(source.uri, source.suite) for source in sources}


def test_the_hosts_archives_are_taken_with_the_wanted_suite() -> None:
    found = from_host_targets(HOST, "bookworm", "trixie")
    assert suites(found) == {(MIRROR, "trixie"), (MIRROR, "trixie-updates"), (SECURITY, "trixie-security")}


def test_an_archive_of_another_vendor_that_is_named_after_the_suite_is_left_out() -> None:
    vendor = "http://vendor.example/apt/"
    known = target(vendor, "bookworm", origin="Vendor")
    not_yet_fetched = target(vendor, "bookworm", signed_by="/usr/share/keyrings/vendor.gpg")
    found = from_host_targets((*HOST, known, not_yet_fetched, target(vendor, "vendor-bookworm")), "bookworm", "trixie")
    assert vendor not in {source.uri for source in found}


def test_before_the_first_update_an_archive_signed_with_debians_keys_is_debians() -> None:
    fresh = target(MIRROR, "bookworm", signed_by="/usr/share/keyrings/debian-archive-keyring.gpg")
    assert suites(from_host_targets((fresh,), "bookworm", "trixie")) == {(MIRROR, "trixie")}


def test_a_companys_mirror_keeps_its_own_key(tmp_path: Path) -> None:
    key = tmp_path / "company.gpg"
    key.touch()
    mirror = target(MIRROR, "bookworm", origin="Debian", signed_by=str(key))
    assert from_host_targets((mirror,), "bookworm", "trixie")[0].keyrings == (str(key),)


def test_a_host_that_follows_stable_is_understood() -> None:
    host = (target(MIRROR, "stable"), target(SECURITY, "stable-security"))
    assert suites(from_host_targets(host, "trixie", "trixie")) == {(MIRROR, "trixie"), (SECURITY, "trixie-security")}


def test_unstable_has_neither_updates_nor_a_security_suite() -> None:
    assert suites(from_host_targets(HOST, "bookworm", "sid")) == {(MIRROR, "sid")}


def test_a_host_that_is_not_debian_gives_no_archive() -> None:
    assert from_host_targets(HOST, None, "trixie") == ()


def test_a_list_of_mirrors_is_opened(tmp_path: Path) -> None:
    mirrors = tmp_path / "debian.list"
    mirrors.write_text(f"# ours\n{MIRROR}\tpriority:1\nhttp://other.example/debian/\n")
    host = (target(f"mirror+file:{mirrors}/", "bookworm"),)
    assert suites(from_host_targets(host, "bookworm", "trixie")) == {(MIRROR, "trixie")}


def test_sources_are_read_in_both_of_apts_forms() -> None:
    one_line = (
        f"deb [signed-by=/k.gpg arch=amd64] {MIRROR} trixie main contrib\n"
        f"# deb http://no.example x main\ndeb-src {MIRROR} trixie main\n"
    )
    deb822 = f"Types: deb\nURIs: {SECURITY}\nSuites: trixie-security trixie-extra\nComponents: main\n"
    assert suites(from_text(one_line)) == {(MIRROR, "trixie")}
    assert suites(from_text(deb822)) == {(SECURITY, "trixie-security"), (SECURITY, "trixie-extra")}


@pytest.mark.parametrize(
    ("text", "codename"),
    [
        ('ID=debian\nVERSION_CODENAME="bookworm"\n', "bookworm"),
        ("ID=debian\n", "sid"),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", None),
    ],
)
def test_the_hosts_release_is_read_from_os_release(tmp_path: Path, text: str, codename: str | None) -> None:
    path = tmp_path / "os-release"
    path.write_text(text)
    assert host_codename(path) == codename


def test_a_host_without_os_release_is_not_debian(tmp_path: Path) -> None:
    assert host_codename(tmp_path / "absent") is None
