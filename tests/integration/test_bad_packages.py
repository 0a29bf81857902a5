"""What a package cannot be made of, or only by care: refused with one message before the container engine is asked, or packed.

Policies, secrets and conflicts are in test_staging.py; keys that cannot sign are in test_repositories.py.
"""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.acceptance_project import PROGRAMS
from tests.support.clean_debian import clean_debian, machine
from tests.support.projects import NEVER, Project

pytestmark = pytest.mark.integration

_NEXUS = """\
engine:
  name: small
  version: {version}
  maintainer: Small Makers <makers@small.example>
  licenses: MIT
  source: engine
  runtime: binary
  command: [/usr/lib/small/run]
  binary: {{trees: {{linux/amd64: tree}}}}
platforms: [linux/amd64]
"""
_RUNTIME = "distribution: runtime\nformats: [{formats}]\npackage:\n  files:\n    /usr/share/small/readme: readme\n"


def small(folder: Path, formats: str = "deb, rpm", version: str = "1.0.0") -> Project:
    project = Project(root=folder)
    project.write("images/nexus.yaml", _NEXUS.format(version=version))
    project.write("images/runtime.yaml", _RUNTIME.format(formats=formats))
    project.write("engine/readme", "read me\n")
    run = project.write("engine/tree/run", "")
    run.write_bytes(PROGRAMS["amd64"])
    run.chmod(0o755)
    return project


def add(project: Project, lines: str) -> None:
    """More of `package.files`."""
    path = project.root / "images/runtime.yaml"
    path.write_text(path.read_text() + lines)


def refused(project: Project, code: int = 2) -> str:
    """The message of a build for which there is no container engine."""
    return project.run("build", DOCKER_HOST=NEVER).refused(code)


def a_huge_file(project: Project, size: int) -> None:
    with (project.root / "engine/huge").open("wb") as file:
        file.truncate(size)
    add(project, "    /usr/share/small/huge: huge\n")


def a_newline_in_a_name(project: Project) -> None:
    project.write("engine/odd/a\nb", "")
    add(project, "    /usr/share/small/odd: odd\n")


REFUSED: dict[str, tuple[Callable[[Project], None], str]] = {
    "no maintainer": (lambda p: p.edit("images/nexus.yaml", "  maintainer: Small Makers <makers@small.example>\n", ""), "maintainer"),
    "no licence": (lambda p: p.edit("images/nexus.yaml", "  licenses: MIT\n", ""), "licen"),
    "a file of 5 GiB in an rpm": (lambda p: a_huge_file(p, 5 << 30), "5368709120 bytes do not fit into rpm, which takes 4294967295"),
    "a newline in a name": (a_newline_in_a_name, "/usr/share/small/odd/a\\nb: the name has a newline"),
    "a component that is too long": (
        lambda p: add(p, f"    /usr/share/small/{'n' * 256}: readme\n"), "a component has 256 bytes",
    ),
    "a path that leaves its folder": (lambda p: add(p, "    /usr/share/../../etc/passwd: readme\n"), "/usr/share/../../etc/passwd"),
    "a path with Windows' separators": (lambda p: add(p, '    "/usr/share\\\\small": readme\n'), "is not a plain absolute path"),
    "a path twice": (lambda p: add(p, "    /usr/share/small/./readme: tree/run\n"),
        "'/usr/share/small/readme' and '/usr/share/small/./readme' are one path"),
    "a folder and a file at one path": (lambda p: add(p, "    /usr/share/small/readme/more: readme\n"), "/usr/share/small/readme"),
    "a source that is not there": (lambda p: add(p, "    /usr/share/small/other: gone\n"), "'gone' is not in the engine's source"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_it_is_refused_with_one_message_before_any_work(tmp_path: Path, fault: str) -> None:
    project = small(tmp_path)
    spoil, message = REFUSED[fault]
    spoil(project)
    assert message in refused(project)
    assert not (project.dist / "artifacts").exists()


def test_links_that_lead_nowhere_stop_the_staging_with_all_their_faults(tmp_path: Path) -> None:
    project = small(tmp_path)
    add(project, "    /usr/share/small/link: {kind: link, target: gone}\n")
    add(project, "    /usr/share/small/up: {kind: link, target: ../../../../etc}\n")
    (project.root / "engine/tree/gone").symlink_to("nowhere")
    message = project.run("build").refused(1)
    assert "/usr/share/small/link: the link leads to gone, which is in the package's own folder and not there" in message
    assert "/usr/share/small/up: the link leads to ../../../../etc, above the root of the file system" in message
    assert "/usr/lib/small/gone: the link leads to nowhere" in message
    assert not (project.dist / "artifacts").exists()


ODD = {
    "with blanks": "two  words .txt",
    "with quotes": 'it\'s "quoted" `here`.txt',
    "with a leading dash": "-rf",
    "with what shells and YAML read": "$HOME ${DOLLAR} $(id) #no *[a]? {b}: !c & %d~.txt",
    "of other scripts": "Größe 大きさ \N{GRINNING FACE}.txt",
    "with a backslash": "back\\slash.txt",
    "of 300 letters": "/".join(["d" * 74] * 4),
}
FORMATS = ("tar.gz", "tar.zst", "deb", "rpm", "srpm", "apk", "archlinux", "ipk")
VERSIONED = {
    "deb": "small_1.0.0~rc.1+build.5_amd64.deb",
    "rpm": "small-1.0.0~rc.1+build.5-1.x86_64.rpm",
    "srpm": "small-1.0.0~rc.1+build.5-1.x86_64.src.rpm",
    "apk": "small_1.0.0_rc1_git5-r1_x86_64.apk",
    "archlinux": "small-1.0.0rc.1+build.5-1-x86_64.pkg.tar.zst",
    "ipk": "small_1.0.0~rc.1+build.5_x86_64.ipk",
    "tar.gz": "small-1.0.0-rc.1+build.5-linux-amd64.tar.gz",
    "tar.zst": "small-1.0.0-rc.1+build.5-linux-amd64.tar.zst",
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every format of a version and of files with names that few tools expect."""
    project = small(tmp_path_factory.mktemp("odd"), ", ".join(FORMATS), "1.0.0-rc.1+build.5")
    for name in ODD.values():
        project.write(f"engine/tree/{name}", f"{name}\n")
        project.write(f"engine/odd/{name}", f"{name}\n")
    project.write("engine/odd/raise", "#!/bin/sh\n").chmod(0o4755)
    add(project, "    /usr/share/small/odd: odd\n")
    project.done("build")
    return project.dist / "artifacts/runtime"


@pytest.mark.parametrize("name", VERSIONED)
def test_a_version_is_told_in_each_format_s_own_words(odd: Path, name: str) -> None:
    assert (odd / VERSIONED[name]).is_file()


@pytest.mark.parametrize(("file", "install"), [(VERSIONED["deb"], "dpkg -i"), (VERSIONED["rpm"], "rpm --noplugins -i")])
def test_files_of_any_name_are_installed_as_they_are(odd: Path, native: str, file: str, install: str) -> None:
    if native != "linux/amd64":
        pytest.skip("the packages are for amd64")
    with machine(clean_debian(["rpm"])) as debian:
        debian.run("sh", "-c", f"{install} '{debian.put(odd / file)}'")
        for name in ODD.values():
            for folder in ("/usr/lib/small", "/usr/share/small/odd"):
                assert debian.run("cat", f"{folder}/{name}") == f"{name}\n"
        debian.run("sh", "-c", "cd / && sha256sum --quiet -c /usr/share/small/SHA256SUMS")
        # Of a file's mode in the source only that it can be run counts: setuid needs the definition's word.
        assert debian.run("stat", "-c", "%a", "/usr/share/small/odd/raise").strip() == "755"
        debian.run(*{"deb": ("dpkg", "-P", "small"), "rpm": ("rpm", "--noplugins", "-e", "small")}[file[-3:]])
        assert debian.attempt("ls", "/usr/lib/small", "/usr/share/small")[0] == 2


@pytest.mark.parametrize("name", ["tar.gz", "tar.zst", "apk", "archlinux"])
def test_files_of_any_name_are_in_every_archive(odd: Path, name: str) -> None:
    listed = subprocess.run(
        ["tar", "--list", "--quoting-style=literal", "--file", odd / VERSIONED[name]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for path in ODD.values():
        assert any(line.endswith(f"lib/small/{path}") for line in listed), path


def test_an_archive_is_installed_with_files_of_any_name(odd: Path, tmp_path: Path) -> None:
    with tarfile.open(odd / VERSIONED["tar.gz"]) as archive:
        archive.extractall(tmp_path, filter="tar")
    (top,) = tmp_path.iterdir()
    root = tmp_path / "a root"
    subprocess.run([top / "install.sh", "--destdir", root], check=True, capture_output=True)
    for name in ODD.values():
        assert (root / "usr/local/share/small/odd" / name).read_text() == f"{name}\n"
    subprocess.run([root / "usr/local/share/small/uninstall.sh", "--destdir", root, "--purge"], check=True, capture_output=True)
    assert [path for path in root.rglob("*") if not path.is_dir()] == []


def test_what_apk_cannot_say_is_refused_before_any_work(tmp_path: Path) -> None:
    message = refused(small(tmp_path, "apk", "1.0.0-nightly.5"))
    assert "apk cannot say the version 1.0.0-nightly.5" in message
    assert "call it 1.0.0-rc.1 (or alpha, beta, dev, pre), or leave apk out of `formats`" in message
