"""Versions of packages, ordered by each package manager's own comparison as semver orders them.

apk-tools is in no Debian: for apk the judge is go-apk-version, a port of its version.c that security scanners use.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import pytest
import semver

from nexus_oci.errors import DefinitionError
from nexus_oci.formats.versions import full_version
from tests.support.clean_debian import Machine, clean_debian, machine

pytestmark = pytest.mark.integration

CORES = ["0.9.9", "1.0.0", "1.0.1", "1.0.10", "1.2.0", "10.0.0"]
WORDS = ["alpha", "beta", "dev", "pre", "rc"]
BEFORE = [
    "", "0", "1", "10", "1.alpha", "alpha.beta", "alpha.beta.1", "alpha.gamma", "beta.1.rc", "rc.1.dev",
    *(word + rest for word in WORDS for rest in ("", ".0", ".1", ".1.0", ".1.5", ".1.5.1", ".2", ".9", ".10", ".20261120123456")),
    *(f"dev.{count}.gabc123{count}" for count in (3, 4, 11)),
]  # fmt: skip
BUILDS = ["", "+5", "+build.5", "+20261120.gabc1234"]
GO_APK = """\
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	apk "github.com/knqyf263/go-apk-version"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		older, newer, _ := strings.Cut(lines.Text(), " ")
		a, err := apk.NewVersion(older)
		b, other := apk.NewVersion(newer)
		if err != nil || other != nil || a.Compare(b) > -1 {
			fmt.Println(lines.Text(), err, other)
		}
	}
}
"""
GO_MODULE = "github.com/knqyf263/go-apk-version v0.0.0-20200609155635-041fdbb8563f"
GO_SUM = f"""\
{GO_MODULE} h1:GvCU5GXhHq+7LeOzx/haG7HSIZokl3/0GkoUFzsRJjg=
{GO_MODULE}/go.mod h1:q59u9px8b7UTj0nIjEjvmTWekazka6xIt6Uogz5Dm+8=
"""


def in_order(builds: list[str]) -> list[str]:
    found = [core + ("-" + pre if pre else "") + build for core, pre, build in product(CORES, BEFORE, builds)]
    return sorted(found, key=lambda version: (semver.Version.parse(version).replace(build=None), "+" in version))


def pairs(package_format: str) -> list[tuple[str, str]]:
    """Neighbours in semver's order, one that comes after the same version with something added included."""
    found = []
    for build in BUILDS[1:]:
        said: list[str] = []
        for version in in_order(["", build]):
            try:
                text = full_version(version, "1", package_format)
            except DefinitionError:
                assert package_format == "apk"
                continue
            # apk leaves out build metadata that it would order wrongly.
            if not (package_format == "apk" and "+" in version and text == said[-1]):
                said.append(text)
        found += list(pairwise(said))
    assert len(found) > 500
    return sorted(set(found))


@pytest.fixture(scope="module")
def judge() -> Iterator[Machine]:
    with machine(clean_debian(["makepkg", "rpm"])) as made:
        yield made


def judged(judge: Machine, command: str, pairs: list[tuple[str, str]]) -> list[str]:
    """The pairs for which a shell command over $a and $b fails."""
    lines = "".join(f"{older} {newer}\n" for older, newer in pairs)
    script = f"while read -r a b; do {command} || echo \"$a $b\"; done <<'END'\n{lines}END\n"
    return judge.run("sh", "-c", script).splitlines()


@pytest.mark.parametrize(
    ("package_format", "command"),
    [
        ("deb", 'dpkg --compare-versions "$a" lt "$b"'),
        ("archlinux", '[ "$(vercmp "$a" "$b")" -lt 0 ]'),
    ],
)
def test_the_manager_orders_versions_as_semver_does(judge: Machine, package_format: str, command: str) -> None:
    assert judged(judge, command, pairs(package_format)) == []


def test_rpm_orders_versions_as_semver_does(judge: Machine) -> None:
    listed = ", ".join(f'{{"{older}", "{newer}"}}' for older, newer in pairs("rpm"))
    program = f"for _, p in ipairs({{{listed}}}) do if rpm.vercmp(p[1], p[2]) >= 0 then print(p[1], p[2]) end end"
    assert judge.run("sh", "-c", f"rpm --eval '%{{lua:{program}}}'").split() == []


def test_apk_orders_versions_as_semver_does(tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed: apk's comparison cannot be built")
    (tmp_path / "main.go").write_text(GO_APK)
    (tmp_path / "go.mod").write_text(f"module judge\n\ngo 1.22\n\nrequire {GO_MODULE}\n")
    (tmp_path / "go.sum").write_text(GO_SUM)
    lines = "".join(f"{older} {newer}\n" for older, newer in pairs("apk"))
    done = subprocess.run([go, "run", "."], cwd=tmp_path, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == []
