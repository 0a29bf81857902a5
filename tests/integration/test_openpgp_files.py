"""OpenPGP signatures of files and charts among others: gpgv, sqv and Helm accept what is signed here, we accept what gpg and Helm sign,
and all of them refuse the same attacks.

Helm is built from its source by scripts/peers.sh with the Go tool chain; gpg, gpgv and sqv are Debian's, in a container.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexus_oci.chart import package_chart
from nexus_oci.chart.provenance import statement_text
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.release.assemble import Named, store_chart, store_release
from nexus_oci.release.outputs import Output, write_outputs
from nexus_oci.trust.openpgp import load_key
from nexus_oci.trust.openpgp_signature import sign_clear, sign_detached
from tests.support.clean_debian import clean_debian, machine
from tests.support.gnupg import PACKAGES, Gnupg, Key
from tests.support.peers import Outcome, peer
from tests.support.projects import NEVER, REPOSITORY, Project

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]
pytest_plugins = ["tests.support.registry"]

THEN = "20240110T000000"
"""When the old key was good."""
NAME = "nexus-engine"


def nexus(*words: str | Path) -> Outcome:
    """Our own program, as a user runs it, with no engine to be reached."""
    done = subprocess.run(
        [sys.executable, "-m", "nexus_oci", *map(str, words)],
        env={"PATH": "/usr/bin:/bin", "DOCKER_HOST": NEVER, "HOME": "/nonexistent"}, cwd=REPOSITORY, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def gnupg() -> Iterator[Gnupg]:
    with machine(clean_debian(PACKAGES)) as running:
        yield Gnupg(running)


@pytest.fixture(scope="module")
def keys(gnupg: Gnupg, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    """Keys by gpg: the one that is trusted, another, and one that has expired."""
    folder = tmp_path_factory.mktemp("keys")
    return {
        "mine": gnupg.make_key(folder, "mine"),
        "other": gnupg.make_key(folder, "other"),
        "old": gnupg.make_key(folder, "old", "--faked-system-time", "20240101T000000", lifetime="30d"),
    }


@pytest.fixture(scope="session")
def helm() -> Callable[..., Outcome]:
    """The real Helm."""
    program = peer("helm")

    def run(*words: str | Path) -> Outcome:
        done = subprocess.run([str(program), *map(str, words)], capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@dataclass(frozen=True)
class Chart:
    """A chart's archive and its provenance file, as they are to be released."""

    archive: bytes
    provenance: bytes
    config: bytes
    tag: str
    file_name: str


def chart(version: str, sign: Callable[[bytes], bytes]) -> Chart:
    """The shipped chart; `sign` makes the provenance file of its statement."""
    made = package_chart(REPOSITORY / "helm" / NAME, version=version, app_version=version, values={}, epoch=1_800_000_000)
    text = statement_text(made.config, made.file_name, made.archive)
    return Chart(archive=made.archive, provenance=sign(text), config=made.config, tag=made.tag, file_name=made.file_name)


def ours(key: Key) -> Callable[[bytes], bytes]:
    """Signs as a build does."""
    loaded = load_key(str(key.secret), environment={})
    return lambda text: sign_clear(loaded, text, loaded.time(0))


def released(folder: Path, found: Chart) -> Path:
    """A release of nothing but a chart, in folder/dist."""
    store = Store.create(folder / "dist" / "oci")
    provenance = store.put(found.provenance, media_types.HELM_PROVENANCE)
    manifest = store_chart(store, config=found.config, archive=found.archive, annotations={}, provenance=provenance)
    named = Named(descriptor=manifest, repository=f"charts/{NAME}", tag=found.tag)
    notes = {media_types.CREATED: "2026-03-04T05:06:07Z"}
    root = store_release(store, images=[], artifacts=[], charts=[named], annotations=notes)
    store.replace_tags({found.tag: root, f"charts/{NAME}:{found.tag}": manifest}, [])
    outputs = [
        Output(distribution=None, platform=None, format=kind, path=f"charts/{found.file_name}{suffix}", descriptor=blob)
        for blob, kind, suffix in zip(store.manifest(manifest).layers, ("chart", "prov"), ("", ".prov"), strict=True)
    ]
    write_outputs(store, folder / "dist", outputs, {})
    return folder / "dist"


def flipped(data: bytes, position: int) -> bytes:
    """One bit of one byte is another."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


def in_signature(data: bytes) -> int:
    """A place in the middle of the signature's own digits."""
    return data.rindex(b"-----BEGIN PGP SIGNATURE-----") + 200


@pytest.fixture(scope="module")
def charts(gnupg: Gnupg, keys: dict[str, Key]) -> dict[str, Chart]:
    """The good chart, and what attacks make of it."""
    good = chart("1.0.0", ours(keys["mine"]))
    next_one = chart("1.0.1", ours(keys["mine"]))

    def changed(archive: bytes = good.archive, provenance: bytes = good.provenance) -> Chart:
        return Chart(archive, provenance, good.config, good.tag, good.file_name)

    return {
        "good": good,
        "by gpg": chart("1.0.0", lambda text: gnupg.clear_sign("mine", text)),
        "a byte of the chart": changed(archive=flipped(good.archive, 4)),  # in the gzip header's time: still a chart
        "a byte of what was signed": changed(provenance=good.provenance.replace(b"Kubernetes", b"Kubernetez")),
        "a byte of the signature": changed(provenance=flipped(good.provenance, in_signature(good.provenance))),
        "another key": chart("1.0.0", ours(keys["other"])),
        "an expired key": chart("1.0.0", lambda text: gnupg.clear_sign("old", text, "--faked-system-time", THEN)),
        "moved from another version": changed(provenance=next_one.provenance),
    }


@pytest.mark.parametrize(
    "case",
    ["good", "by gpg", "a byte of the chart", "a byte of what was signed", "a byte of the signature", "another key",
     "an expired key", "moved from another version"],
)  # fmt: skip
def test_helm_and_we_say_the_same_of_a_chart_on_disk_and_in_a_registry(
    case: str, charts: dict[str, Chart], keys: dict[str, Key], helm: Callable[..., Outcome], registry: str, tmp_path: Path
) -> None:
    dist = released(tmp_path, charts[case])
    file = dist / "charts" / f"{NAME}-1.0.0.tgz"
    trusted = keys["old" if case == "an expired key" else "mine"]
    with_key = ("--openpgp-certificate", trusted.certificate)
    place = f"{registry}/{''.join(letter for letter in case if letter.isalpha())}"
    pushed = nexus("-C", tmp_path, "--json", "push", place, "--plain-http")
    assert pushed.code == 0, pushed.err
    (tmp_path / "pulled").mkdir()
    pull = ("pull", f"oci://{place}/charts/{NAME}", "--version", "1.0.0", "--plain-http", "-d", tmp_path / "pulled")
    (dist / "SHA256SUMS").unlink()
    asked = {
        "helm verify": (helm, "verify", "--keyring", trusted.keyring, file),
        "helm pull --verify": (helm, *pull, "--verify", "--keyring", trusted.keyring),
        "nexus-oci verify FILE": (nexus, "verify", file, *with_key),
        "nexus-oci verify DIST": (nexus, "verify", dist, *with_key),
        "nexus-oci verify RELEASE": (nexus, "verify", json.loads(pushed.out)["release"], "--plain-http", *with_key),
        "nexus-oci verify CHART": (nexus, "verify", f"{place}/charts/{NAME}:1.0.0", "--plain-http", *with_key),
    }
    with ThreadPoolExecutor(3) as pool:
        verdicts = dict(zip(asked, pool.map(lambda words: words[0](*words[1:]), asked.values()), strict=True))
    wrong = {name: each for name, each in verdicts.items() if (each.code == 0) != (case in ("good", "by gpg"))}
    assert not wrong
    assert {each.code for name, each in verdicts.items() if name.startswith("nexus")} == {0 if case in ("good", "by gpg") else 4}


def test_a_version_with_a_plus_sign_verifies_under_the_name_that_helm_gives_it(
    keys: dict[str, Key], helm: Callable[..., Outcome], registry: str, tmp_path: Path
) -> None:
    dist = released(tmp_path, chart("1.2.0+build.7", ours(keys["mine"])))
    assert helm("verify", "--keyring", keys["mine"].keyring, dist / "charts" / f"{NAME}-1.2.0+build.7.tgz").code == 0
    pushed = nexus("-C", tmp_path, "--json", "push", f"{registry}/plus", "--plain-http")
    assert pushed.code == 0, pushed.err
    outcome = helm("pull", f"oci://{registry}/plus/charts/{NAME}", "--version", "1.2.0+build.7", "--plain-http", "--verify",
                   "--keyring", keys["mine"].keyring, "-d", tmp_path)  # fmt: skip
    assert outcome.code == 0, outcome.err


def test_a_chart_whose_provenance_file_was_taken_away_is_refused_by_both(
    charts: dict[str, Chart], keys: dict[str, Key], helm: Callable[..., Outcome], registry: str, tmp_path: Path
) -> None:
    dist = released(tmp_path, charts["good"])
    store = Store.open(dist / "oci")
    good = charts["good"]
    bare = store_chart(store, config=good.config, archive=good.archive, annotations={})
    named = Named(descriptor=bare, repository=f"charts/{NAME}", tag="1.0.0")
    root = store_release(store, images=[], artifacts=[], charts=[named], annotations={})
    store.replace_tags({"1.0.0": root, f"charts/{NAME}:1.0.0": bare}, [])
    assert nexus("-C", tmp_path, "push", f"{registry}/bare", "--plain-http").code == 0
    certificate = ("--openpgp-certificate", keys["mine"].certificate)
    refused = nexus("verify", f"{registry}/bare/releases:1.0.0", "--plain-http", *certificate)
    assert refused.code == 4
    assert "has no provenance file" in refused.err
    pull = ("pull", f"oci://{registry}/bare/charts/{NAME}", "--version", "1.0.0", "--plain-http", "-d", tmp_path)
    assert helm(*pull, "--verify", "--keyring", keys["mine"].keyring).code != 0


def test_we_accept_what_helm_signs_and_pushes(
    keys: dict[str, Key], helm: Callable[..., Outcome], gnupg: Gnupg, registry: str, tmp_path: Path
) -> None:
    ring = tmp_path / "secring.gpg"
    ring.write_bytes(gnupg._output("--export-secret-keys", "mine@nexus.example"))
    shutil.copytree(REPOSITORY / "helm" / NAME, tmp_path / NAME)
    packed = helm("package", tmp_path / NAME, "--version", "3.0.0", "--sign", "--key", "mine", "--keyring", ring, "-d", tmp_path)
    assert packed.code == 0, packed.err
    file = tmp_path / f"{NAME}-3.0.0.tgz"
    with_key = ("--openpgp-certificate", keys["mine"].certificate)
    assert nexus("verify", file, *with_key).code == 0
    pushed = helm("push", file, f"oci://{registry}/byhelm", "--plain-http")
    assert pushed.code == 0, pushed.err
    found = nexus("--json", "verify", f"{registry}/byhelm/{NAME}:3.0.0", "--plain-http", *with_key)
    assert found.code == 0, found.err
    (one,) = json.loads(found.out)["charts"]
    assert one["key"] == keys["mine"].user
    file.write_bytes(flipped(file.read_bytes(), 4))
    assert nexus("verify", file, *with_key).code == 4


@pytest.fixture
def listed(keys: dict[str, Key], charts: dict[str, Chart], tmp_path: Path) -> Path:
    """A release whose list of files is signed, by `sign` with no engine to be reached."""
    dist = released(tmp_path, charts["good"])
    outcome = nexus("-C", tmp_path, "sign", "--openpgp-key", keys["mine"].secret)
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip() == Store.open(dist / "oci").tags()["1.0.0"].digest
    return dist


@pytest.mark.parametrize(
    ("case", "sqv_too"),
    [("good", True), ("by gpg", True), ("a byte of the list", True), ("a byte of the signature", True), ("another key", True),
     ("an expired key", False), ("moved from another list", True)],
)  # fmt: skip
def test_gpgv_sqv_and_we_say_the_same_of_a_list_of_files(
    case: str, sqv_too: bool, listed: Path, keys: dict[str, Key], gnupg: Gnupg
) -> None:
    sums, signature = listed / "SHA256SUMS", listed / "SHA256SUMS.asc"
    made, data = signature.read_bytes(), sums.read_bytes()
    if case == "by gpg":
        signature.write_bytes(gnupg.detach_sign("mine", data))
    elif case == "a byte of the list":
        sums.write_bytes(flipped(data, 3))
    elif case == "a byte of the signature":
        signature.write_bytes(flipped(made, in_signature(made)))
    elif case == "another key":
        signature.write_bytes(gnupg.detach_sign("other", data))
    elif case == "an expired key":
        signature.write_bytes(gnupg.detach_sign("old", data, "--faked-system-time", THEN))
    elif case == "moved from another list":
        signature.write_bytes(gnupg.detach_sign("mine", b"another list\n"))
    expected = case in ("good", "by gpg")
    trusted = keys["old" if case == "an expired key" else "mine"]
    assert gnupg.gpgv_accepts(trusted.keyring, signature, sums) is expected
    # sqv judges a key as of the time of its signature, and so takes what an expired key signed in its time.
    assert gnupg.sqv_accepts(trusted.keyring, signature, sums) is (expected or not sqv_too)
    for target in (sums, signature):
        outcome = nexus("verify", target, "--openpgp-certificate", trusted.certificate)
        assert outcome.code == (0 if expected else 4), outcome.err
    outcome = nexus("verify", listed, "--openpgp-certificate", trusted.certificate)
    assert outcome.code == (0 if expected else 4), outcome.err
    if case == "an expired key":
        assert "expired on 2024-01-31" in outcome.err


def test_signing_twice_changes_nothing_and_an_older_key_is_replaced(listed: Path, keys: dict[str, Key], tmp_path: Path) -> None:
    signature = listed / "SHA256SUMS.asc"
    before = signature.stat().st_ino, signature.read_bytes()
    assert nexus("-C", tmp_path, "sign", "--openpgp-key", keys["mine"].secret).code == 0
    assert (signature.stat().st_ino, signature.read_bytes()) == before
    signature.unlink()
    assert nexus("-C", tmp_path, "sign", "--openpgp-key", keys["mine"].secret).code == 0
    assert signature.read_bytes() == before[1]
    assert nexus("-C", tmp_path, "sign", "--openpgp-key", keys["other"].secret).code == 0
    assert nexus("verify", listed / "SHA256SUMS", "--openpgp-certificate", keys["mine"].certificate).code == 4
    assert nexus("verify", listed / "SHA256SUMS", "--openpgp-certificate", keys["other"].certificate).code == 0
    refused = nexus("-C", tmp_path, "sign", "--openpgp-key", keys["old"].secret)
    assert refused.code == 2
    assert "expired" in refused.err


def test_a_build_with_a_key_signs_chart_and_list_the_same_each_time_and_one_without_it_leaves_neither(
    built: Project, keys: dict[str, Key], helm: Callable[..., Outcome], gnupg: Gnupg
) -> None:
    bare = built.done("build", "--distribution", "container", DOCKER_HOST=NEVER).out
    with_key = ("build", "--distribution", "container", "--openpgp-key", str(keys["mine"].secret))
    first = built.done(*with_key, DOCKER_HOST=NEVER).out
    assert first != bare
    (file,) = (built.dist / "charts").glob("*.tgz")
    signature, sums = built.dist / "SHA256SUMS.asc", built.dist / "SHA256SUMS"
    assert helm("verify", "--keyring", keys["mine"].keyring, file).code == 0
    assert gnupg.gpgv_accepts(keys["mine"].keyring, signature, sums)
    assert f"charts/{file.name}.prov" in sums.read_text()
    made = Path(f"{file}.prov").read_bytes()
    for path in (signature, Path(f"{file}.prov")):
        path.unlink()
    assert built.done(*with_key, DOCKER_HOST=NEVER).out == first
    assert Path(f"{file}.prov").read_bytes() == made
    assert gnupg.gpgv_accepts(keys["mine"].keyring, signature, sums)
    plan = json.loads((built.dist / "metadata.json").read_text())["plan"]
    other = built.done("build", "--distribution", "container", "--openpgp-key", str(keys["other"].secret), DOCKER_HOST=NEVER).out
    assert other not in (first, bare)
    assert json.loads((built.dist / "metadata.json").read_text())["plan"] != plan
    assert helm("verify", "--keyring", keys["other"].keyring, file).code == 0
    assert built.done("build", "--distribution", "container", DOCKER_HOST=NEVER).out == bare
    assert not signature.exists()
    assert not Path(f"{file}.prov").exists()


def test_what_is_signed_is_what_gpg_signs_byte_for_byte(gnupg: Gnupg, keys: dict[str, Key]) -> None:
    loaded = load_key(str(keys["mine"].secret), environment={})
    text = b"From a\n- b\n\n--- c\nend\n"
    when = ("--faked-system-time", f"{loaded.time(0)}!")
    assert sign_detached(loaded, text, loaded.time(0)) == gnupg.detach_sign(f"{loaded.signer}!", text, *when)
    assert sign_clear(loaded, text, loaded.time(0)) == gnupg.clear_sign(f"{loaded.signer}!", text, *when)
