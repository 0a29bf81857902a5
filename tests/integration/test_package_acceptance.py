"""nfpm's acceptance cases for deb and rpm, each seen in a real installation; docs/linux-packages.md lists them.

Two builds, one container for each format: a session installs, upgrades, removes and purges, and notes what it sees; every test
reads those notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.acceptance_project import LOG, acceptance_project, companion, file_of
from tests.support.clean_debian import Machine, clean_debian, machine

pytestmark = pytest.mark.integration

_FACTS = "stat -c '%n %A %a %U:%G' /usr/libexec/shelf/raise /usr/libexec/shelf/private /etc/shelf/private.conf /var/spool/shelf"
_CONFIG = 'cd /etc/shelf && for f in *.conf* extra/*; do printf "%s: " "$f"; tr "\\n" ";" <"$f"; echo; done'
_OWN = (
    "/usr/lib/shelf",
    "/usr/share/shelf",
    "/usr/share/shelf/empty",
    "/usr/libexec/shelf",
    "/var/spool/shelf",
    "/etc/shelf/extra",
)
_SYSTEM = ("/usr/lib/systemd/system", "/usr/share/doc", "/usr/bin", "/etc", "/var/spool")
_CHANGE = (
    "echo edited >>/etc/shelf/edited.conf; echo edited >>/etc/shelf/replaced.conf; rm /etc/shelf/optional.conf; "
    "rm /etc/shelf/deleted.conf; echo index >/var/cache/shelf-index"
)


@dataclass(kw_only=True)
class Session:
    """What one container saw: what each step printed, and whether it succeeded, by the step's name."""

    packager: str
    debian: Machine
    folder: Path
    builds: Mapping[str, Path]
    seen: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def step(self, name: str, script: str) -> None:
        code, self.seen[name] = self.debian.attempt("sh", "-c", script)
        if code:
            self.failed.add(name)

    def must(self, name: str, script: str) -> None:
        self.step(name, script)
        assert name not in self.failed, f"{name}: {self.seen[name]}"

    def log(self, name: str) -> None:
        """Note what the scripts logged since the last time."""
        self.step(name, f"cat {LOG}; : >{LOG}")

    def other(self, name: str, version: str = "1.0", **fields: Any) -> str:
        """A package of another maker, in the container."""
        return self.debian.put(companion(self.folder, self.packager, name, version, **fields))

    def package(self, version: str, name: str = "shelf") -> str:
        (found,) = (
            path
            for path in self.builds[version].glob(f"*.{self.packager}")
            if path.name.startswith((f"{name}_", f"{name}-{version}"))
        )
        return self.debian.put(found)

    def lines(self, name: str) -> list[str]:
        return self.seen[name].splitlines()


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory, native: str) -> dict[str, Path]:
    """The packages of two versions."""
    if native != "linux/amd64":
        pytest.skip("what is expected here is spelled for amd64")
    found = {}
    for version in ("1.0.0", "1.1.0"):
        project = acceptance_project(tmp_path_factory.mktemp("shelf") / version, version)
        project.done("build", "--platform", "linux/amd64")
        found[version] = project.dist / "artifacts/runtime"
    return found


@pytest.fixture(scope="module")
def session(builds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Session]:
    """The session of a format, gone through when it is first asked for."""
    sessions: dict[str, Session] = {}

    def of(packager: str) -> Session:
        if packager not in sessions:
            with machine(clean_debian(["rpm"])) as debian:
                folder = tmp_path_factory.mktemp(packager)
                sessions[packager] = Session(packager=packager, debian=debian, folder=folder, builds=builds)
                {"deb": go_through_dpkg, "rpm": go_through_rpm}[packager](sessions[packager])
        return sessions[packager]

    return of


@pytest.fixture
def deb(session: Callable[[str], Session]) -> Session:
    return session("deb")


@pytest.fixture
def rpm(session: Callable[[str], Session]) -> Session:
    return session("rpm")


def go_through_dpkg(s: Session) -> None:
    first, second = s.package("1.0.0"), s.package("1.1.0")
    s.must("control", f"dpkg-deb --info {first}; dpkg-deb --ctrl-tarfile {first} | tar -t; ar t {first} 2>/dev/null || :")
    s.must("compressed", f"for p in {first} {second} {s.package('1.0.0', 'shelf-all')}; do grep -ao 'data.tar[.a-z]*' $p; done")
    s.step("without what it pre-depends on", f"dpkg -i {first}")
    s.must("companions", f"dpkg -i {s.other('shelf-first')} {s.other('shelf-that')} {s.other('shelf-base', '1.9')}")
    s.step("without what it depends on", f"dpkg -i {first}")
    s.must("clean", f"dpkg -P shelf; dpkg -i {s.other('shelf-base', '2.1')}; : >{LOG}")
    s.must("a rival", f"dpkg -i {s.other('shelf-rival')}")
    s.step("beside a rival", f"dpkg -i {first}")
    s.must("no rival", f"dpkg -P shelf-rival; dpkg -i {s.other('shelf-plugin', '1.0')}")
    s.step("beside what it breaks", f"dpkg -i {first}")
    s.must("nothing broken", f"dpkg -i {s.other('shelf-plugin', '2.0')}; : >{LOG}")
    reader = s.other("shelf-user", depends=["shelf-reader (>= 1.0)"])
    s.step("without what is provided", f"dpkg -i {reader}; dpkg -P shelf-user")
    old = s.other(
        "shelf-old", "0.9", contents=[file_of(s.folder, path) for path in ("/usr/share/shelf/shared/old", "/usr/share/old/own")]
    )
    s.must("the old one", f"dpkg -i {old}")
    s.must("install", f"dpkg -i {first}")
    s.log("log of the installation")
    s.must("facts", _FACTS)
    s.must("status", "dpkg-query -s shelf")
    s.must(
        "owners", "dpkg -S /usr/share/shelf/shared/old /usr/share/old/own; readlink -f /usr/bin/shelf /usr/share/shelf/current"
    )
    s.must(
        "files",
        "dpkg -L shelf; zcat /usr/share/doc/shelf/changelog.gz; cat /usr/share/doc/shelf/copyright /usr/share/shelf/format",
    )
    s.must("debconf", "debconf-show shelf; cat /var/lib/shelf/boards")
    s.must("with what is provided", f"dpkg -i {reader}")
    s.step("the meta-package alone", f"dpkg -i {s.package('1.0.0', 'shelf-all')}")
    s.must("the meta-package", f"dpkg -i {s.other('shelf-extra')} {s.package('1.0.0', 'shelf-all')}; dpkg -s shelf-all")
    plugin = s.other("shelf-wood", contents=[file_of(s.folder, "/usr/share/shelf-plugins/wood")])
    s.must("a trigger", f": >{LOG}; dpkg -i {plugin}")
    s.log("log of the trigger")
    heard = s.folder / "heard"
    heard.write_text('#!/bin/sh\necho "listener $*" >>/var/log/acceptance-listener.log\n')
    listener = s.other("shelf-listener", deb={"triggers": {"interest": ["shelf-changed"]}}, scripts={"postinstall": str(heard)})
    s.must("a listener", f"dpkg -i {listener}; : >/var/log/acceptance-listener.log")
    s.must("change", _CHANGE)
    s.must("upgrade", f"dpkg --force-confold -i {second} {s.package('1.1.0', 'shelf-all')} </dev/null")
    s.log("log of the upgrade")
    s.must("heard", "cat /var/log/acceptance-listener.log")
    s.must("configuration after the upgrade", _CONFIG)
    s.must("remove", "dpkg -r shelf-old shelf-all shelf-user shelf")
    s.log("log of the removal")
    s.must(
        "left after the removal",
        f"{_CONFIG}; ls -d {' '.join(_OWN + _SYSTEM)} 2>/dev/null || :; dpkg -s shelf | grep Status; getent passwd shelf",
    )
    s.must("purge", "dpkg -P shelf")
    s.log("log of the purge")
    s.must(
        "left after the purge",
        f"ls -d /etc/shelf* /var/lib/shelf {' '.join(_OWN + _SYSTEM)} 2>/dev/null; getent passwd shelf; debconf-show shelf; dpkg -l shelf 2>&1; :",
    )


def go_through_rpm(s: Session) -> None:
    # Its plugin that takes a scriptlet out of the machine's namespaces needs a right that the container has not got.
    rpm = "rpm --noplugins"
    first, second = s.package("1.0.0"), s.package("1.1.0")
    s.must("tags", f"rpm -qp --qf '%{{EPOCH}}|%{{VERSION}}|%{{RELEASE}}|%{{GROUP}}|%{{PREFIXES}}|%{{ARCH}}\\n' {first}")
    s.must("compressed", f"rpm -qp --qf '%{{PAYLOADCOMPRESSOR}}\\n' {first} {second} {s.package('1.0.0', 'shelf-all')}")
    s.must(
        "relations",
        f"rpm -qp --requires {first}; for k in provides conflicts obsoletes recommends suggests; do echo; echo $k; rpm -qp --$k {first}; done",
    )
    s.must("companions", f"{rpm} -U {s.other('shelf-base', '1.9')}")
    s.step("without what it depends on", f"{rpm} -U {first}")
    s.must("more companions", f"{rpm} -U {s.other('shelf-base', '2.1')} {s.other('shelf-that')} {s.other('shelf-post')}")
    s.must("a rival", f"{rpm} -U {s.other('shelf-rival')}")
    s.step("beside a rival", f"{rpm} -U {first}")
    s.must("no rival", f"{rpm} -e shelf-rival")
    reader = s.other("shelf-user", depends=["shelf-reader >= 1.0"])
    s.step("without what is provided", f"{rpm} -U {reader}")
    old = s.other(
        "shelf-old", "0.9", contents=[file_of(s.folder, path) for path in ("/usr/share/shelf/shared/old", "/usr/share/old/own")]
    )
    s.must("the old one", f"{rpm} -U {old}")
    s.must("install", f"{rpm} -U {first}")
    s.log("log of the installation")
    s.must("facts", _FACTS)
    s.must(
        "owners",
        "rpm -qf /usr/share/shelf/shared/old; rpm -q shelf-old || :; readlink -f /usr/bin/shelf /usr/share/shelf/current; cat /usr/share/shelf/format",
    )
    s.must("documents", "rpm -qd shelf")
    s.must("licences", "rpm -qL shelf")
    s.must("configuration", "rpm -qc shelf")
    s.must("files", "rpm -ql shelf; rpm -q --changelog shelf")
    s.must("flags", "rpm -q --qf '[%{FILENAMES} %{FILEFLAGS:fflags} %{FILELANGS}\\n]' shelf")
    s.must("with what is provided", f"{rpm} -U {reader}")
    s.step("the meta-package alone", f"{rpm} -U {s.package('1.0.0', 'shelf-all')}")
    s.must("the meta-package", f"{rpm} -U {s.other('shelf-extra')} {s.package('1.0.0', 'shelf-all')}; rpm -q shelf-all")
    for language in ("fr", "de"):
        root = f"{rpm} --root /{language} --nodeps --noscripts --define '_install_langs {language}'"
        s.must(
            f"in {language}", f"mkdir /{language}; {root} -i {first} 2>/dev/null; find /{language}/usr/share/shelf -name 'de.txt'"
        )
    s.must(
        "elsewhere",
        f"mkdir /re; {rpm} --root /re --nodeps --noscripts --relocate /usr=/opt/shelf -i {first} 2>/dev/null; ls /re/opt/shelf/lib/shelf/bin /re/etc/shelf",
    )
    s.step("unharmed", f"{rpm} -V shelf")
    s.log("log of the verification")
    s.must("change", _CHANGE)
    s.step("changed", f"{rpm} -V shelf")
    s.must("upgrade", f": >{LOG}; {rpm} -U {second} {s.package('1.1.0', 'shelf-all')}")
    s.log("log of the upgrade")
    s.must("configuration after the upgrade", _CONFIG)
    s.must("ghost", "cat /var/cache/shelf-index; rpm -qf /var/cache/shelf-index")
    s.must("owners of folders", f"for path in {' '.join(_OWN + _SYSTEM)}; do printf '%s ' $path; rpm -qf $path; done 2>&1 || :")
    s.must("remove", f"{rpm} -e shelf-all shelf-user shelf")
    s.log("log of the removal")
    s.must(
        "left after the removal",
        f"{_CONFIG} 2>/dev/null; ls -d {' '.join(_OWN + _SYSTEM)} /var/cache/shelf-index 2>/dev/null; getent passwd shelf; :",
    )


def logged(lines: list[str]) -> list[str]:
    """What was run, without what it found."""
    return [line.rpartition(")")[0] + ")" for line in lines]


# Configuration


def test_deb_keeps_an_edited_conffile_and_puts_the_new_one_beside_it(deb: Session) -> None:
    config = deb.lines("configuration after the upgrade")
    assert "edited.conf: version = 1.0.0;edited;" in config
    assert "edited.conf.dpkg-dist: version = 1.1.0;" in config


def test_deb_does_not_bring_back_a_deleted_conffile(deb: Session) -> None:
    names = [line.partition(":")[0] for line in deb.lines("configuration after the upgrade")]
    assert "deleted.conf" not in names
    assert "deleted.conf.dpkg-dist" in names


def test_deb_follows_with_an_untouched_conffile(deb: Session) -> None:
    config = deb.lines("configuration after the upgrade")
    assert "untouched.conf: version = 1.1.0;" in config
    assert "extra/nested: version = 1.1.0;" in config


def test_deb_leaves_configuration_on_removal_and_takes_it_on_purge(deb: Session) -> None:
    assert "edited.conf: version = 1.0.0;edited;" in deb.lines("left after the removal")
    assert "dropped.conf: version = 1.0.0;" in deb.lines("left after the removal")
    assert [line for line in deb.lines("left after the purge") if line.startswith(("/etc/shelf", "/var/lib/shelf"))] == []


def test_rpm_keeps_edited_configuration_with_the_new_one_as_rpmnew(rpm: Session) -> None:
    config = rpm.lines("configuration after the upgrade")
    assert "edited.conf: version = 1.0.0;edited;" in config
    assert "edited.conf.rpmnew: version = 1.1.0;" in config


def test_rpm_follows_with_untouched_configuration_and_takes_what_was_dropped(rpm: Session) -> None:
    config = rpm.lines("configuration after the upgrade")
    assert "untouched.conf: version = 1.1.0;" in config
    assert "extra/nested: version = 1.1.0;" in config
    assert "dropped.conf" not in rpm.seen["configuration after the upgrade"]


def test_rpm_replaces_edited_configuration_and_saves_the_old_one_where_told_so(rpm: Session) -> None:
    config = rpm.lines("configuration after the upgrade")
    assert "replaced.conf: version = 1.1.0;" in config
    assert "replaced.conf.rpmsave: version = 1.0.0;edited;" in config


def test_rpm_brings_back_deleted_configuration(rpm: Session) -> None:
    assert "deleted.conf: version = 1.1.0;" in rpm.lines("configuration after the upgrade")


def test_rpm_misses_deleted_configuration_but_for_what_may_be_missing(rpm: Session) -> None:
    assert "missing   c /etc/shelf/deleted.conf" in rpm.lines("changed")
    assert "/etc/shelf/optional.conf" not in rpm.seen["changed"]
    assert "S.5....T.  c /etc/shelf/edited.conf" in rpm.lines("changed")


def test_rpm_saves_edited_configuration_on_removal_and_takes_the_rest(rpm: Session) -> None:
    left = [line for line in rpm.lines("left after the removal") if ".conf" in line]
    assert "edited.conf.rpmsave: version = 1.0.0;edited;" in left
    assert "untouched.conf: version = 1.1.0;" not in left


# Scripts


def test_dpkg_runs_the_scripts_in_its_order_with_its_arguments(deb: Session) -> None:
    assert logged(deb.lines("log of the installation")) == ["1.0.0 before-install(install)", "1.0.0 after-install(configure )"]
    assert logged(deb.lines("log of the upgrade")) == [
        "1.0.0 before-remove(upgrade 2:1.1.0)", "1.1.0 before-install(upgrade 2:1.0.0 2:1.1.0)",
        "1.0.0 after-remove(upgrade 2:1.1.0)", "1.1.0 after-install(configure 2:1.0.0)",
    ]  # fmt: skip
    assert logged(deb.lines("log of the removal")) == ["1.1.0 before-remove(remove)", "1.1.0 after-remove(remove)"]
    assert logged(deb.lines("log of the purge")) == ["1.1.0 after-remove(purge)"]


def test_rpm_runs_the_scripts_in_its_order_with_its_arguments(rpm: Session) -> None:
    # %posttrans counts the installed package too, whoever made it.
    assert logged(rpm.lines("log of the installation")) == [
        "1.0.0 pretrans(1)", "1.0.0 before-install(1)", "1.0.0 after-install(1)", "1.0.0 posttrans(2)",
    ]  # fmt: skip
    assert logged(rpm.lines("log of the upgrade")) == [
        "1.1.0 pretrans(2)", "1.1.0 before-install(2)", "1.1.0 after-install(2)", "1.0.0 before-remove-rpm(1)",
        "1.0.0 after-remove(1)", "1.1.0 posttrans(2)",
    ]  # fmt: skip
    assert logged(rpm.lines("log of the removal")) == ["1.1.0 before-remove-rpm(0)", "1.1.0 after-remove(0)"]


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_own_scripts_surround_the_generated_ones(session: Callable[[str], Session], packager: str) -> None:
    found = {line.rpartition(") ")[2] for line in session(packager).lines("log of the installation") if "before-install" in line}
    assert found == {"no-user no-program"}
    found = {line.rpartition(") ")[2] for line in session(packager).lines("log of the installation") if "after-install" in line}
    assert found == {"user program"}
    (last,) = (line for line in session(packager).lines("log of the removal") if "after-remove" in line)
    assert last.endswith("no-program")


def test_rpm_runs_a_verify_script(rpm: Session) -> None:
    assert rpm.seen["unharmed"] == ""
    assert "unharmed" not in rpm.failed
    assert logged(rpm.lines("log of the verification")) == ["1.0.0 verify(1)"]


def test_dpkg_triggers_it_and_is_triggered_by_it(deb: Session) -> None:
    assert logged(deb.lines("log of the trigger")) == ["1.0.0 after-install(triggered /usr/share/shelf-plugins)"]
    assert deb.seen["heard"].strip() == "listener triggered shelf-changed"


def test_debconf_asks_its_questions_and_forgets_them_on_purge(deb: Session) -> None:
    assert [line.strip(" *") for line in deb.lines("debconf")] == ["shelf/boards: seven", "boards seven"]
    assert "shelf/boards" not in deb.seen["left after the purge"]


# Relations


def test_dpkg_refuses_without_what_it_pre_depends_on(deb: Session) -> None:
    assert "without what it pre-depends on" in deb.failed
    assert "shelf pre-depends on shelf-first" in deb.seen["without what it pre-depends on"]


def test_dpkg_refuses_without_what_it_depends_on_in_that_version(deb: Session) -> None:
    assert "without what it depends on" in deb.failed
    assert "shelf depends on shelf-base (>= 2.0)" in deb.seen["without what it depends on"]
    # The other of two alternatives is there.
    assert "shelf-this" not in deb.seen["without what it depends on"]


def test_rpm_refuses_without_what_it_depends_on_in_that_version(rpm: Session) -> None:
    assert "without what it depends on" in rpm.failed
    assert "shelf-base >= 2.0 is needed by shelf-2:1.0.0-3" in rpm.seen["without what it depends on"]
    assert "(shelf-this or shelf-that) is needed" in rpm.seen["without what it depends on"]
    assert "shelf-post is needed" in rpm.seen["without what it depends on"]


@pytest.mark.parametrize(
    ("packager", "message"), [("deb", "conflicting packages - not installing shelf"), ("rpm", "shelf-rival conflicts with shelf")]
)
def test_it_is_refused_beside_what_it_conflicts_with(session: Callable[[str], Session], packager: str, message: str) -> None:
    assert "beside a rival" in session(packager).failed
    assert message in session(packager).seen["beside a rival"]


def test_dpkg_refuses_it_beside_what_it_breaks(deb: Session) -> None:
    assert "beside what it breaks" in deb.failed
    assert "shelf breaks shelf-plugin (<< 2.0)" in deb.seen["beside what it breaks"]


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_what_it_provides_satisfies_others(session: Callable[[str], Session], packager: str) -> None:
    assert "shelf-reader" in session(packager).seen["without what is provided"]
    assert "with what is provided" not in session(packager).failed


def test_dpkg_lets_it_take_over_a_file_of_what_it_replaces(deb: Session) -> None:
    assert deb.lines("owners")[:2] == ["shelf: /usr/share/shelf/shared/old", "shelf-old: /usr/share/old/own"]


def test_rpm_lets_it_take_the_place_of_what_it_replaces(rpm: Session) -> None:
    assert rpm.lines("owners")[:2] == ["shelf-1.0.0-3.x86_64", "package shelf-old is not installed"]


def test_deb_spells_every_relation_in_its_own_way(deb: Session) -> None:
    fields = dict(line.split(": ", 1) for line in deb.lines("status") if ": " in line)
    assert fields["Depends"].split(", ")[:2] == ["shelf-base (>= 2.0)", "shelf-this | shelf-that"]
    assert fields["Pre-Depends"] == "shelf-first"
    assert fields["Recommends"] == "shelf-extra"
    assert fields["Conflicts"] == "shelf-rival"
    assert fields["Breaks"] == "shelf-plugin (<< 2.0)"
    assert fields["Replaces"] == "shelf-old (<< 1.0)"
    assert fields["Provides"] == "shelf-reader (= 1.0.0)"


def test_rpm_spells_every_relation_in_its_own_way(rpm: Session) -> None:
    blocks = {block.splitlines()[0]: block.splitlines()[1:] for block in rpm.seen["relations"].split("\n\n")}
    requires = [next(iter(blocks)), *next(iter(blocks.values()))]
    assert {"shelf-base >= 2.0", "(shelf-this or shelf-that)", "shelf-post"} <= set(requires)
    assert "shelf-reader = 1.0.0" in blocks["provides"]
    assert (blocks["conflicts"], blocks["obsoletes"]) == (["shelf-rival"], ["shelf-old < 1.0"])
    assert blocks["recommends"] == ["shelf-extra"]


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_the_meta_package_draws_in_its_version_and_the_others(session: Callable[[str], Session], packager: str) -> None:
    assert "the meta-package alone" in session(packager).failed
    assert "shelf-extra" in session(packager).seen["the meta-package alone"]
    assert "the meta-package" not in session(packager).failed


# Files


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_modes_and_owners_are_what_the_definition_says(session: Callable[[str], Session], packager: str) -> None:
    assert session(packager).lines("facts") == [
        "/usr/libexec/shelf/raise -rwsr-xr-x 4755 root:root", "/usr/libexec/shelf/private -rwxr-x--- 750 shelf:shelf",
        "/etc/shelf/private.conf -rw-r----- 640 root:shelf", "/var/spool/shelf drwx------ 700 shelf:shelf",
    ]  # fmt: skip


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_links_lead_where_they_say(session: Callable[[str], Session], packager: str) -> None:
    found = [line for line in session(packager).lines("owners") if line.startswith("/usr/lib")]
    assert found == ["/usr/lib/shelf/bin/shelf", "/usr/lib/shelf/bin"]


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_a_folder_of_the_source_comes_with_all_that_is_in_it(session: Callable[[str], Session], packager: str) -> None:
    assert {"/usr/share/shelf/guides/start.txt", "/usr/share/shelf/guides/more/deep.txt"} <= set(session(packager).lines("files"))


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_files_of_one_format_are_in_that_one_only(session: Callable[[str], Session], packager: str) -> None:
    found = [path for path in session(packager).lines("files") if path.startswith("/usr/share/shelf/of-")]
    assert found == [f"/usr/share/shelf/of-{packager}"]


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_its_own_folders_go_with_it_and_the_system_s_stay(session: Callable[[str], Session], packager: str) -> None:
    left = session(packager).lines("left after the removal")
    kept = {"/etc/shelf/extra"} if packager == "deb" else set()  # a conffile is in it
    assert {path for path in left if path in _OWN} == kept
    assert {path for path in left if path in _SYSTEM} == set(_SYSTEM)


def test_rpm_owns_its_own_folders_and_none_of_the_system_s(rpm: Session) -> None:
    owners = dict(line.split(" ", 1) for line in rpm.lines("owners of folders"))
    assert {owners[path] for path in _OWN} == {"shelf-1.1.0-3.x86_64"}
    assert {"not owned" in owners[path] for path in _SYSTEM} == {True}


def test_rpm_knows_documents_and_licences(rpm: Session) -> None:
    assert {"/usr/share/shelf/GUIDE.txt", "/usr/share/doc/shelf/CHANGELOG.md"} <= set(rpm.lines("documents"))
    assert set(rpm.lines("licences")) == {"/usr/share/shelf/TERMS.txt", "/usr/share/licenses/shelf/TERMS"}


def test_rpm_says_how_each_file_is_treated(rpm: Session) -> None:
    flags = dict(line.split(" ", 1) for line in rpm.lines("flags"))
    assert flags["/etc/shelf/edited.conf"].strip() == "cn"
    assert flags["/etc/shelf/replaced.conf"].strip() == "c"
    assert flags["/etc/shelf/optional.conf"].strip() == "cm"
    assert flags["/var/cache/shelf-index"].strip() == "g"
    assert flags["/usr/share/shelf/by-nfpm"].strip() == "r"
    assert flags["/usr/share/shelf/words/de.txt"].strip() == "de"


def test_rpm_removes_a_ghost_with_the_package_and_deb_knows_none(rpm: Session, deb: Session) -> None:
    assert rpm.lines("ghost") == ["index", "shelf-1.1.0-3.x86_64"]
    assert "/var/cache/shelf-index" not in rpm.lines("left after the removal")
    assert "/var/cache/shelf-index" not in deb.lines("files")


def test_rpm_leaves_out_texts_in_languages_that_are_not_wanted(rpm: Session) -> None:
    assert (rpm.seen["in fr"], rpm.seen["in de"].strip()) == ("", "/de/usr/share/shelf/words/de.txt")


def test_rpm_installs_it_elsewhere(rpm: Session) -> None:
    assert rpm.lines("elsewhere")[-1] == "shelf"
    assert "untouched.conf" in rpm.lines("elsewhere")


# What it says about itself


def test_deb_has_the_fields_that_only_it_knows(deb: Session) -> None:
    status = deb.lines("status")
    assert "Bugs: https://shelf.example/bugs?price=$5" in status
    assert "Multi-Arch: foreign" in status
    assert " Architecture-Variant: amd64v1" in deb.lines("control")
    assert {"./rules", "./templates", "./config"} <= {
        line if line.startswith("./") else f"./{line}" for line in deb.lines("control")
    }


def test_rpm_has_the_fields_that_only_it_knows(rpm: Session) -> None:
    assert rpm.seen["tags"].strip() == "2|1.0.0|3|Applications/Shelves|/usr|x86_64"


def test_an_epoch_is_part_of_the_version_everywhere(deb: Session, rpm: Session) -> None:
    assert "Version: 2:1.0.0" in deb.lines("status")
    assert "Depends: shelf (= 2:1.0.0), shelf-extra" in deb.lines("the meta-package")
    assert "shelf-reader = 1.0.0\nshelf = 2:1.0.0-3" in rpm.seen["relations"]


def test_overrides_hold_for_their_format_alone(deb: Session, rpm: Session) -> None:
    assert {"Section: utils", "Priority: important", "Suggests: shelf-docs-deb"} <= set(deb.lines("status"))
    assert deb.lines("files")[-1] == "deb"
    assert rpm.lines("owners")[-1] == "rpm"
    assert "shelf-docs-rpm" in rpm.lines("relations")
    assert not any("before-remove-rpm" in line for line in deb.lines("log of the removal"))


@pytest.mark.parametrize("packager", ["deb", "rpm"])
def test_the_changelog_is_in_the_format_s_own_place(session: Callable[[str], Session], packager: str) -> None:
    found = "\n".join(session(packager).lines("files"))
    bullets = {"deb": ("  * More boards.", "  * Fewer nails."), "rpm": ("- More boards.", "- Fewer nails.")}[packager]
    assert all(bullet in found for bullet in bullets)
    assert "Shelf Makers <makers@shelf.example>" in found


def test_packages_of_every_compression_are_installed(deb: Session, rpm: Session) -> None:
    assert deb.lines("compressed") == ["data.tar.zst", "data.tar.gz", "data.tar.xz"]
    assert rpm.lines("compressed") == ["xz", "gzip", "zstd"]


def test_purge_leaves_nothing(deb: Session) -> None:
    left = set(deb.lines("left after the purge"))
    assert not left & set(_OWN)
    assert not any(line.startswith("shelf:") for line in left)
    assert any("no packages found matching shelf" in line or line.startswith("un  shelf") for line in left)
