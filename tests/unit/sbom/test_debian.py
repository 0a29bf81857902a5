from __future__ import annotations

from nexus_oci.sbom.debian import debian_packages
from tests.unit.sbom.kit import tree

RELEASE = b'ID=debian\nVERSION_ID="13"\n'
COPYRIGHT = b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: Expat\n"


def stanza(name: str, version: str = "1.0-1", **more: str) -> bytes:
    fields = {"Package": name, "Version": version, "Architecture": "amd64", "Maintainer": "A <a@x.example>", **more}
    return ("\n".join(f"{key}: {value}" for key, value in fields.items()) + "\n").encode()


def test_packages_of_an_image_without_dpkg():
    found = tree(
        {
            "usr/lib/os-release": RELEASE,
            "var/lib/dpkg/status.d/libx": stanza("libx", "1:2.0+b1-3", Source="x (2.0-3)", Homepage="https://x.example"),
            "var/lib/dpkg/status.d/libx.md5sums": b"0" * 32 + b"  usr/lib/libx.so\n" + b"0" * 32 + b"  usr/lib/gone\n",
            "usr/lib/libx.so": b"x",
            "usr/share/doc/libx/copyright": COPYRIGHT,
        },
        base=1,
    )
    (package,) = debian_packages(found)
    assert package.purl == "pkg:deb/debian/libx@1:2.0%2Bb1-3?arch=amd64&distro=debian-13&upstream=x%402.0-3"
    assert (package.licence, package.supplier, package.home) == ("MIT", "A <a@x.example>", "https://x.example")
    assert package.in_base
    assert package.files == (
        "usr/lib/libx.so",
        "usr/share/doc/libx/copyright",
        "var/lib/dpkg/status.d/libx",
        "var/lib/dpkg/status.d/libx.md5sums",
    )


def test_packages_of_an_image_with_dpkg_are_those_that_are_installed():
    status = b"\n".join([
        stanza("one", Status="install ok installed", Description="x\n more\n ."),
        stanza("two", Status="deinstall ok config-files"),
        stanza("three", "3", Status="hold ok installed"),
    ])  # fmt: skip
    found = tree({
        "var/lib/dpkg/status": status,
        "var/lib/dpkg/info/one:amd64.list": b"/.\n/lib\n/lib/one.so\n",
        "lib": "usr/lib",
        "usr/lib/one.so": b"1",
    })  # fmt: skip
    assert {package.name: package.files for package in debian_packages(found)} == {"one": ("usr/lib/one.so",), "three": ()}


def test_a_copyright_that_is_another_packages_is_read_and_not_owned():
    found = tree({
        "var/lib/dpkg/status.d/a": stanza("a"),
        "usr/share/doc/a": "b",
        "usr/share/doc/b/copyright": COPYRIGHT,
    })  # fmt: skip
    (package,) = debian_packages(found)
    assert package.licence == "MIT"
    assert "usr/share/doc/b/copyright" not in package.files
