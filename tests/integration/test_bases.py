"""Bases from the real archive: resolved, fetched, unpacked here and in a container, and run. Needs apt and Debian's mirror."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from nexus_oci.bases import host as hosts
from nexus_oci.bases.apt import PrivateApt, Source
from nexus_oci.bases.fetch import LockedPackageGone, cached, fetch
from nexus_oci.bases.host import Host
from nexus_oci.bases.resolve import choose, resolve
from nexus_oci.bases.rootfs import RootFs, make_rootfs
from nexus_oci.bases.values import BaseLock, DebianBase, LockedDebian, LockedPackage
from nexus_oci.definition.base_model import BasesFile
from nexus_oci.docker_engine import ContainerRequest, Engine, connect
from nexus_oci.errors import LockError, UnreachableError, VerificationError
from nexus_oci.oci.values import Platform
from nexus_oci.pipeline.container_tools import container_runner
from nexus_oci.pipeline.local_images import LOCAL

pytestmark = pytest.mark.integration

IMAGES = Path(__file__).parents[2] / "images"
PREFIX = f"nexus-oci-bases-test-{os.getpid()}"
MACHINES = {"amd64": 62, "arm64": 183}
"""ELF's e_machine of an architecture (System V ABI)."""


def shipped(name: str) -> DebianBase:
    base = BasesFile.model_validate(yaml.safe_load((IMAGES / "bases.yaml").read_text())).bases[name]
    debian = base.debian  # type: ignore[union-attr]
    return DebianBase(
        suite=debian.suite,
        packages=debian.packages,
        components=debian.components,
        exclude=debian.exclude,
        dependencies=debian.dependencies,
    )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def lock(host: Host) -> BaseLock:
    """Today's packages, so that the tests do not depend on what the mirror still has of the shipped lock."""
    wanted = {name: shipped(name) for name in ("static", "python", "node", "toolbox")}
    return BaseLock(bases=MappingProxyType(dict(resolve(wanted, ["amd64", "arm64"], host))))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    reached = connect(environment=os.environ)
    yield reached
    reached.clean_up()


def rootfs(name: str, lock: BaseLock, host: Host, architecture: str = "amd64") -> RootFs:
    base = shipped(name)
    entry, packages = lock.debian(name, base, architecture)
    return make_rootfs(name, base, packages, architecture=architecture, epoch=entry.epoch, host=host)


def runs(engine: Engine, made: RootFs, name: str, *command: str) -> str:
    """What a program says in a container of the base, as a user with no rights on a root it cannot write."""
    tag = f"{PREFIX}/{name}:test"
    engine.load_base(made.path, tag=tag, platform=Platform(os="linux", architecture="amd64"), diff_id=made.digest)
    try:
        done = engine.run(ContainerRequest(image=tag, command=command, user="65532:65532", read_only=True))
    finally:
        engine.remove_image(tag, quiet=True)
    assert done.exit_code == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_a_base_is_exactly_what_is_locked_and_small(host: Host, lock: BaseLock) -> None:
    made = rootfs("static", lock, host)
    with tarfile.open(made.path) as tar:
        names = set(tar.getnames())
    found = {name.rpartition("/")[2] for name in names if name.startswith("var/lib/dpkg/status.d/")}
    packages = set(shipped("static").packages)
    assert found == packages | {f"{name}.md5sums" for name in packages}
    assert not {"bin/sh", "usr/bin/sh", "usr/bin/dash"} & names
    assert made.size < 3_000_000


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_a_base_has_programs_of_its_architecture_only(architecture: str, host: Host, lock: BaseLock) -> None:
    made = rootfs("python", lock, host, architecture)
    machines = set()
    with tarfile.open(made.path) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            head = file.read(20) if file else b""
            if head.startswith(b"\x7fELF"):
                machines.add(struct.unpack_from("<H", head, 18)[0])
    assert machines == {MACHINES[architecture]}


def test_python_runs_on_its_base_with_what_its_library_links_to(engine: Engine, host: Host, lock: BaseLock) -> None:
    program = (
        "import bz2, ctypes, lzma, pwd, socket, sqlite3, ssl, uuid, zoneinfo;"
        "ctypes.CDLL('libstdc++.so.6'); zoneinfo.ZoneInfo('Europe/Berlin'); uuid.uuid1();"
        "assert len(ssl.create_default_context().get_ca_certs()) > 100;"
        "assert socket.getservbyname('https') == 443;"
        "print(pwd.getpwuid(65532).pw_name)"
    )
    assert runs(engine, rootfs("python", lock, host), "python", "python3", "-c", program) == "nonroot"


def test_node_runs_on_its_base(engine: Engine, host: Host, lock: BaseLock) -> None:
    program = (
        "require('http2'); require('zlib').brotliCompressSync('x');"
        "const day = new Intl.DateTimeFormat('de', {timeZone: 'Europe/Berlin', month: 'long'}).format(0);"
        "console.log(day, require('crypto').createHash('sha256').update('').digest('hex').slice(0, 8))"
    )
    assert runs(engine, rootfs("node", lock, host), "node", "node", "-e", program) == "Januar e3b0c442"


def test_the_toolbox_has_what_packaging_scripts_call(engine: Engine, host: Host, lock: BaseLock) -> None:
    script = (
        "set -eu; for tool in awk cat find grep gzip sed sha256sum sort tar touch xargs xz zip zstd;"
        " do command -v $tool >/dev/null; done; echo whole | xz | xz -d"
    )
    assert runs(engine, rootfs("toolbox", lock, host), "toolbox", "sh", "-c", script) == "whole"


def test_the_same_lock_gives_the_same_bytes_in_a_clean_cache(host: Host, lock: BaseLock, tmp_path: Path) -> None:
    first = rootfs("static", lock, host, "arm64")
    again = rootfs("static", lock, Host(cache=tmp_path), "arm64")
    assert first.path != again.path
    assert first.path.read_bytes() == again.path.read_bytes()
    assert first.digest == again.digest


def test_a_container_makes_the_same_bytes_where_mmdebstrap_is_missing(
    host: Host, lock: BaseLock, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rootfs("static", lock, host)
    tags = []
    run = container_runner(lambda: engine, None)

    def recorded(*, tag: str, **rest: object) -> tuple[int, str]:
        tags.append(f"{PREFIX}-{tag}")
        return run(tag=tags[-1], **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hosts, "have", lambda name: name != "mmdebstrap" and shutil.which(name) is not None)
    try:
        assert rootfs("static", lock, Host(cache=tmp_path, containers=recorded)).digest == expected.digest
    finally:
        for name in set(tags):
            engine.remove_image(f"{LOCAL}/{name}", quiet=True)
    assert tags


def test_a_user_without_privileges_makes_the_same_bytes(host: Host, lock: BaseLock) -> None:
    """mmdebstrap's chrootless mode serves root and others alike, so its tar is the only thing that could differ."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user to compare with")
    expected = rootfs("static", lock, host)
    base = shipped("static")
    entry, packages = lock.debian("static", base, "amd64")
    folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    try:
        os.chown(folder, 65534, 65534)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other tests leave threads behind; the child needs none of them
            child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                other = Host(cache=folder / "cache")
                made = make_rootfs("static", base, packages, architecture="amd64", epoch=entry.epoch, host=other)
                code = 0 if made.digest == expected.digest else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        shutil.rmtree(folder)


def test_a_second_call_reads_nothing_but_the_cache(host: Host, lock: BaseLock, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rootfs("static", lock, host)
    monkeypatch.setattr(Host, "mmdebstrap", lambda *_: pytest.fail("it was made again"))
    assert rootfs("static", lock, host) == made


def test_a_root_filesystem_that_somebody_changed_is_made_again(host: Host, lock: BaseLock) -> None:
    made = rootfs("static", lock, host)
    with made.path.open("r+b") as file:
        file.write(b"tampered")
    assert rootfs("static", lock, host) == made
    assert not made.path.read_bytes().startswith(b"tampered")


def test_an_unchanged_resolution_keeps_its_epoch(host: Host, lock: BaseLock) -> None:
    entry = lock.bases["static"]
    assert isinstance(entry, LockedDebian)
    old = BaseLock(bases={"static": replace(entry, epoch=5)})
    again = resolve({"static": shipped("static")}, ["amd64", "arm64"], host, old)
    assert again["static"] == replace(entry, epoch=5)


def test_a_package_that_does_not_exist_is_named(host: Host) -> None:
    base = DebianBase(suite="trixie", packages=("base-files", "no-such-package"))
    with pytest.raises(LockError, match="base 'mine': trixie has no package 'no-such-package' for arm64"):
        resolve({"mine": base}, ["arm64"], host)


def test_a_suite_that_does_not_exist_is_the_definitions_fault(host: Host) -> None:
    with pytest.raises(LockError, match="does not have the suite"):
        resolve({"mine": DebianBase(suite="no-such-suite", packages=("base-files",))}, ["amd64"], host)


def test_a_version_that_the_mirror_has_dropped_is_named(host: Host, lock: BaseLock) -> None:
    _, packages = lock.debian("static", shipped("static"), "amd64")
    old = replace(packages[0], version="0.1", filename="pool/main/b/base-files/base-files_0.1_amd64.deb", sha256="0" * 64)
    with pytest.raises(LockedPackageGone, match=r"locked package base-files 0\.1 \(amd64\) is no longer on the mirror"):
        fetch(shipped("static"), [old], host)


def test_other_bytes_under_the_locked_name_are_refused(host: Host, lock: BaseLock) -> None:
    _, packages = lock.debian("static", shipped("static"), "amd64")
    other = replace(packages[0], sha256="1" * 64)
    with pytest.raises(VerificationError, match="not what the lock says"):
        fetch(shipped("static"), [other], host)
    assert not cached(other, host.cache).exists()


def test_without_a_network_cached_packages_serve_and_others_are_unreachable(
    host: Host, lock: BaseLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, packages = lock.debian("static", shipped("static"), "amd64")
    fetch(shipped("static"), packages, host)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    fetch(shipped("static"), packages, host)
    with pytest.raises(UnreachableError, match="could not be fetched"):
        fetch(shipped("static"), packages[:1], Host(cache=tmp_path))


def test_mmdebstrap_knows_where_a_suite_comes_from_on_other_hosts(host: Host) -> None:
    assert "trixie" in host.default_sources("trixie")


class Archive:
    """A little archive on disk, of packages made here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index: list[str] = []

    def add(self, name: str, **fields: str) -> None:
        tree = self.folder / f"{name}-tree"
        (tree / "DEBIAN").mkdir(parents=True)
        control = {"Package": name, "Version": "1.0", "Architecture": "all", "Maintainer": "t", "Description": "t"}
        control |= {key.replace("_", "-"): value for key, value in fields.items()}
        text = "".join(f"{key}: {value}\n" for key, value in control.items())
        (tree / "DEBIAN" / "control").write_text(text)
        deb = self.folder / f"{name}.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, deb], check=True, capture_output=True)
        checksum = subprocess.run(["sha256sum", deb], check=True, capture_output=True, text=True).stdout.split()[0]
        self.index.append(f"{text}Filename: ./{name}.deb\nSize: {deb.stat().st_size}\nSHA256: {checksum}\n")
        (self.folder / "Packages").write_text("\n".join(self.index))

    def apt(self, state: Path) -> PrivateApt:
        apt = PrivateApt(state, "amd64")
        source = f"Types: deb\nURIs: copy:{self.folder}\nSuites: ./\nTrusted: yes\n"
        (state / "sources.list.d" / "base.sources").write_text(source)
        apt.update()
        return apt


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive(tmp_path)
    made.add("app", Depends="library, data (= 1.0), shell | other-shell")
    made.add("library", Recommends="extra")
    made.add("data", Depends="tool", Multi_Arch="foreign")
    made.add("tool")
    made.add("shell")
    made.add("extra")
    return made


def names(packages: tuple[LockedPackage, ...]) -> list[str]:
    return [package.name for package in packages]


def test_dependencies_are_followed_and_recommendations_are_not(archive: Archive, tmp_path: Path) -> None:
    apt = archive.apt(tmp_path / "apt")
    found = choose(apt, "x", DebianBase(suite="./", packages=("app",)))
    assert names(found) == ["app", "data", "library", "shell", "tool"]


def test_an_excluded_package_is_cut_with_what_only_it_needs(archive: Archive, tmp_path: Path) -> None:
    apt = archive.apt(tmp_path / "apt")
    found = choose(apt, "x", DebianBase(suite="./", packages=("app",), exclude=("data", "shell")))
    assert names(found) == ["app", "library"]


def test_without_dependencies_exactly_the_listed_packages_are_taken(archive: Archive, tmp_path: Path) -> None:
    apt = archive.apt(tmp_path / "apt")
    found = choose(apt, "x", DebianBase(suite="./", packages=("data", "app"), dependencies=False))
    assert names(found) == ["app", "data"]


def test_packages_that_exclude_each_other_are_explained(archive: Archive, tmp_path: Path) -> None:
    archive.add("rival", Conflicts="tool")
    apt = archive.apt(tmp_path / "apt")
    with pytest.raises(LockError, match=r"base 'x' for amd64 cannot be installed as it is defined[\s\S]*Conflicts"):
        choose(apt, "x", DebianBase(suite="./", packages=("app", "rival")))


def test_a_source_names_its_keys_and_asks_for_packages_only() -> None:
    stanza = Source(uri="http://mirror.example/", suite="trixie", keyrings=("/k.gpg",)).stanza()
    assert "Signed-By: /k.gpg\n" in stanza
    assert "Targets: Packages\n" in stanza
