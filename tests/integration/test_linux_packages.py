"""What the formats of Linux say, read by Linux's own tools."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from nexus_oci.formats.linux import LinuxPackage, ServiceUnit, debian_version, maintainer_scripts, nfpm_configuration, unit_file

pytestmark = pytest.mark.integration

# The example of semver.org's clause 11, and what stands around it.
ORDERED = [
    "0.9.9", "1.0.0-0", "1.0.0-1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
    "1.0.0-rc.1", "1.0.0", "1.0.0+5", "1.0.1-rc.1", "1.0.1", "1.0.10", "1.2.0", "10.0.0",
]  # fmt: skip
SERVICE = ServiceUnit(
    name="shop", description="Shop: 50% off\nand more", documentation="https://shop.example/doc", user="root", restart="on-failure",
    command=("/bin/sh", "-c", 'echo "$HOME" 100%; true', "it's", "", "a\\b", "two\nlines"), state_directory="shop", runtime_directory="shop",
)  # fmt: skip
PACKAGE = LinuxPackage(
    name="shop", version="1.0.0-rc.1", architecture="amd64", maintainer="Ann <ann@shop.example>", homepage="https://shop.example",
    description="costs $5 and ${HOME}\n\nmore\tof it", vendor="Shop", licence="Apache-2.0", section="net", priority="optional",
    depends=("passwd",), config_files=("/etc/shop/a[1].toml",), user="shop", service=SERVICE, epoch=1,
)  # fmt: skip


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_dpkg_orders_versions_as_semver_does() -> None:
    dpkg = tool("dpkg")
    for older, newer in pairwise(map(debian_version, ORDERED)):
        assert subprocess.run([dpkg, "--compare-versions", older, "lt", newer]).returncode == 0, (older, newer)


@pytest.mark.parametrize("service", [SERVICE, replace(SERVICE, documentation="", state_directory="", runtime_directory="")])
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path, service: ServiceUnit) -> None:
    (tmp_path / "shop.service").write_text(unit_file(service))
    done = subprocess.run([tool("systemd-analyze"), "verify", tmp_path / "shop.service"], capture_output=True, text=True)
    assert "shop.service" not in done.stderr
    assert done.returncode == 0


def test_nfpm_packs_what_the_description_says(tmp_path: Path) -> None:
    for name in ("tree/usr/bin/shop", "tree.config/etc/shop/a[1].toml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "nfpm.json").write_bytes(nfpm_configuration(PACKAGE, "tree"))
    for name, text in maintainer_scripts(PACKAGE).items():
        (tmp_path / name).write_bytes(text)
    command = [tool("nfpm"), "package", "--config", "nfpm.json", "--packager", "deb", "--target", PACKAGE.deb_file]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env={"DOLLAR": "$", "SOURCE_DATE_EPOCH": "1"})

    def field(name: str) -> str:
        return subprocess.run(
            [tool("dpkg-deb"), "--field", tmp_path / PACKAGE.deb_file, name], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert field("Description") == "costs $5 and ${HOME}\n .\n more of it"
    assert (field("Version"), field("Architecture"), field("Depends")) == ("1.0.0~rc.1", "amd64", "passwd")
    conffiles = subprocess.run(
        [tool("dpkg-deb"), "--info", tmp_path / PACKAGE.deb_file, "conffiles"], capture_output=True, text=True, check=True
    )
    assert conffiles.stdout == "/etc/shop/a[1].toml\n"
