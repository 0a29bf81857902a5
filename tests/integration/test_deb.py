"""The deb in a clean Debian, with systemd and without: installed, asked, upgraded, removed and purged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Reference
from tests.support.clean_debian import Machine, clean_debian, machine
from tests.support.projects import Project

pytestmark = pytest.mark.integration

CONFIG = "/etc/nexus-engine/runtime.toml"
CONFFILES = {CONFIG, *(f"/etc/nexus-engine/policies/{name}.json" for name in ("access", "rate", "release-gate"))}
UNIT = "/usr/lib/systemd/system/nexus-engine.service"
OF_DPKG = ("/var/lib/dpkg", "/var/log", "/var/cache", "/root", "/tmp", "/run")
"""Where dpkg itself writes, whatever it installs; /run is empty at every start of a machine."""
ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid")
BACKUPS = {f"{path}-" for path in ACCOUNTS} | {"/etc/.pwd.lock"}
"""What useradd and userdel leave beside them."""


@pytest.fixture(scope="module", params=["", "systemd"], ids=["without-systemd", "with-systemd"])
def debian(request: pytest.FixtureRequest) -> str:
    """A local image of Debian as it is after an installation of nothing."""
    return clean_debian([request.param] if request.param else [])


@pytest.fixture
def clean(debian: str) -> Iterator[Machine]:
    with machine(debian) as made:
        yield made


@pytest.fixture(scope="module")
def deb(reference: Reference, native: str) -> Path:
    return reference.dist / "artifacts" / "runtime" / f"nexus-engine_1.0.0_{native.partition('/')[2]}.deb"


@pytest.fixture(scope="module")
def newer(reference: Reference, native: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deb of the next version, in which a configuration file has changed."""
    project: Project = reference.project.copy(tmp_path_factory.mktemp("newer") / "project")
    project.write("images/engine/VERSION", "1.0.1\n")
    project.edit("images/engine/config/runtime.toml", "drain_seconds = 10", "drain_seconds = 11")
    project.commit()
    project.done("build", "-d", "runtime", "-p", native, "-f", "deb")
    return project.dist / "artifacts" / "runtime" / f"nexus-engine_1.0.1_{native.partition('/')[2]}.deb"


def accounts(clean: Machine) -> dict[str, str]:
    return {path: clean.run("cat", path) for path in ACCOUNTS if clean.attempt("test", "-e", path)[0] == 0}


def owned(clean: Machine) -> set[str]:
    return {
        line.split()[0]
        for line in clean.run("dpkg-query", "-W", "-f=${Conffiles}\n", "nexus-engine").splitlines()
        if line.strip()
    }


def test_it_says_what_a_package_must(clean: Machine, deb: Path, native: str) -> None:
    path = clean.put(deb)
    fields = dict(line.split(": ", 1) for line in clean.run("dpkg-deb", "--field", path).splitlines() if not line.startswith(" "))
    assert (fields["Package"], fields["Version"], fields["Section"]) == ("nexus-engine", "1.0.0", "net")
    assert fields["Architecture"] == native.partition("/")[2]
    assert "@" in fields["Maintainer"]
    assert fields["Description"]
    listing = clean.run("dpkg-deb", "--contents", path)
    assert {line.split()[1] for line in listing.splitlines()} == {"root/root"}
    assert "2026-03-04" in listing.splitlines()[0]


def test_it_installs_runs_and_purges_without_a_trace(clean: Machine, deb: Path) -> None:
    path = clean.put(deb)
    files, people = clean.files(*OF_DPKG), accounts(clean)
    clean.run("dpkg", "--install", path)

    assert clean.run("dpkg-query", "-W", "-f=${Status}", "nexus-engine") == "install ok installed"
    assert "1.0.0" in clean.run("nexus-engine", "--version")
    assert owned(clean) == CONFFILES
    name, _, uid, gid, _, home, shell = clean.run("getent", "passwd", "nexus-engine").strip().split(":")
    assert (name, home, shell) == ("nexus-engine", "/nonexistent", "/usr/sbin/nologin")
    assert 0 < int(uid) < 1000
    assert clean.run("getent", "group", "nexus-engine").split(":")[2] == gid
    unit = clean.run("cat", UNIT)
    assert "User=nexus-engine" in unit
    assert "ExecStart=/usr/bin/nexus-engine serve" in unit
    assert "The configuration is valid" in clean.run("nexus-engine", "admin", "check-config")
    added = set(clean.files(*OF_DPKG)) - set(files)
    assert {"/usr/bin/nexus-engine", "/usr/share/man/man8/nexus-engine.8.gz", UNIT, *CONFFILES} <= added

    clean.run("dpkg", "--remove", "nexus-engine")
    assert set(clean.files(*OF_DPKG)) >= CONFFILES
    assert clean.attempt("test", "-e", "/usr/bin/nexus-engine")[0] == 1

    clean.run("dpkg", "--purge", "nexus-engine")
    assert clean.attempt("dpkg-query", "-W", "nexus-engine")[0] == 1
    assert accounts(clean) == people
    left = clean.files(*OF_DPKG)
    changed = {place for place in {*left, *files} if left.get(place) != files.get(place)}
    assert changed <= BACKUPS | set(ACCOUNTS)
    assert not {place for place in changed if place in ACCOUNTS and left[place].split()[-1] != files[place].split()[-1]}


def test_an_edited_configuration_outlives_upgrades_and_reinstallation(clean: Machine, deb: Path, newer: Path) -> None:
    first, second = clean.put(deb), clean.put(newer)
    clean.run("dpkg", "--install", first)
    clean.run("sh", "-c", f"echo '# edited' >> {CONFIG}")
    mine = clean.run("cat", CONFIG)
    clean.run("dpkg", "--install", first)
    assert clean.run("cat", CONFIG) == mine
    user = clean.run("getent", "passwd", "nexus-engine")
    clean.run("dpkg", "--force-confold", "--install", second)
    assert "1.0.1" in clean.run("nexus-engine", "--version")
    assert clean.run("cat", CONFIG) == mine
    assert "drain_seconds = 11" in clean.run("cat", f"{CONFIG}.dpkg-dist")
    assert clean.run("getent", "passwd", "nexus-engine") == user
    clean.run("dpkg", "--remove", "nexus-engine")
    clean.run("dpkg", "--install", second)
    assert clean.run("cat", CONFIG) == mine
    clean.run("dpkg", "--purge", "nexus-engine")
    assert clean.attempt("test", "-e", "/etc/nexus-engine")[0] == 1


def test_an_untouched_configuration_follows_the_upgrade(clean: Machine, deb: Path, newer: Path) -> None:
    clean.run("dpkg", "--install", clean.put(deb))
    clean.run("dpkg", "--install", clean.put(newer))
    assert "drain_seconds = 11" in clean.run("cat", CONFIG)
    assert clean.attempt("test", "-e", f"{CONFIG}.dpkg-dist")[0] == 1


def test_the_installed_service_answers_as_its_user(clean: Machine, deb: Path) -> None:
    """What the unit would start, as the user that it would start it as."""
    clean.run("dpkg", "--install", clean.put(deb))
    clean.container.exec_run(["/usr/bin/nexus-engine", "serve"], user="nexus-engine", detach=True)
    probe = "i=0; until nexus-engine admin health; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done"
    assert "ready" in clean.run("sh", "-c", probe)


def test_systemd_finds_no_fault_in_the_unit(deb: Path) -> None:
    with machine(clean_debian(["systemd"])) as clean:
        clean.run("dpkg", "--install", clean.put(deb))
        code, said = clean.attempt("systemd-analyze", "verify", "--man=no", UNIT)
        assert "nexus-engine.service" not in said
        assert code == 0, said
        assert clean.run("systemctl", "is-enabled", "nexus-engine.service").strip() == "enabled"
