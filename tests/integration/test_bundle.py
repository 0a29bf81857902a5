"""Bundles among others: real readers read them, real registries take them, and whatever goes wrong on the way leaves no half of one.

skopeo is Debian's, in a container; oras, helm, cosign and containerd are built from their sources by scripts/peers.sh.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Manifest
from nexus_oci.trust.keys import write_key_pair
from tests.support.bundles import PREFIX, Maker, maker
from tests.support.clean_debian import clean_debian
from tests.support.containerd import running_containerd
from tests.support.peers import PASSPHRASE, Outcome, peer, real_cosign

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
pytest_plugins = ["tests.support.registry"]

ROOT = () if os.geteuid() == 0 else ("sudo", "-n", "-E")
"""Who may mount a small disk, which nobody else sees."""


class Site:
    """The release's maker and, in another folder, who loads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: Maker = maker(folder)
        write_key_pair(folder / "release", self.made.key, PASSPHRASE.encode())

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ, "NEXUS_OCI_KEY_PASSPHRASE": PASSPHRASE, "NEXUS_OCI_AUDIT": str(self.folder / "audit.jsonl"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }  # fmt: skip

    def run(self, *words: str | Path, program: tuple[str, ...] = (sys.executable, "-m", "nexus_oci")) -> Outcome:
        done = subprocess.run(
            [*program, "-C", str(self.folder), *map(str, words)],
            env=self.environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    def done(self, *words: str | Path) -> str:
        outcome = self.run(*words)
        assert outcome.code == 0, outcome.err
        return outcome.out

    def create(self, name: str, *words: str | Path) -> Path:
        self.done("bundle", "create", "-o", self.folder / name, "--name", PREFIX, "--key", self.folder / "release.key", *words)
        return self.folder / name

    def load(self, bundle: Path, place: str | Path, *words: str | Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.done("--json", "load", bundle, place, "--key", self.folder / "release.pub", "--plain-http", *words)
        )
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Path, Descriptor]:
    """A bundle for those who only read it."""
    site = Site(tmp_path_factory.mktemp("bundled"))
    root = site.made.release()
    return site, site.create("a.nexus"), root


def place_at(registry: str, name: str) -> str:
    return f"{registry}/{name}-{os.urandom(4).hex()}"


def test_it_arrives_in_a_registry_whole_signed_and_under_the_sites_names(
    bundled: tuple[Site, Path, Descriptor], registry: str, tmp_path: Path
) -> None:
    site, bundle, root = bundled
    place = place_at(registry, "arrived")
    first = site.load(bundle, place, "--values", tmp_path / "values")
    assert first["digest"] == root.digest and first["key"] == "release.pub"
    assert set(first["names"]) == {f"{place}/{name}" for name in ("releases:1.0.0", "engine:1.0.0", "charts/demo:1.0.0")}
    assert first["names"][-1] == f"{place}/releases:1.0.0"
    for name in ("releases", "engine", "charts/demo"):
        verified = site.done("verify", f"{place}/{name}:1.0.0", "--key", site.folder / "release.pub", "--plain-http")
        assert "release.pub" in verified and "covered by" not in verified
    again = site.load(bundle, place)
    assert (again["bytes_sent"], again["blobs_sent"], again["manifests_sent"]) == (0, 0, 0)
    cosign = real_cosign()
    for form in (False, True):
        accepted = cosign.verify(f"{place}/engine:1.0.0", site.folder / "release.pub", bundle=form)
        assert accepted.code == 0, accepted.err
    chart = ["template", "x", f"oci://{place}/charts/demo", "--version", "1.0.0", "--plain-http"]
    values = tmp_path / "values" / "demo.nexus-values.yaml"
    for words, expected in (([], PREFIX), (["-f", str(values)], place)):
        shown = subprocess.run([peer("helm"), *chart, *words], capture_output=True, text=True, check=True)
        assert f"image: {expected}/engine@sha256:" in shown.stdout
    record = json.loads(site.done("--json", "load", bundle, place, "--key", site.folder / "release.pub", "--plain-http"))[
        "record"
    ]
    oras = subprocess.run(
        [peer("oras"), "discover", "--plain-http", "--format", "json", f"{place}/releases:1.0.0"], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert record in oras.stdout and "application/vnd.nexus-oci.relocation.v1+json" in oras.stdout


def test_a_bundle_made_from_a_registry_carries_the_same(
    bundled: tuple[Site, Path, Descriptor], registry: str, tmp_path: Path
) -> None:
    site, bundle, root = bundled
    place = place_at(registry, "source")
    site.done("push", place, "--plain-http")
    made = site.folder / "from-registry.nexus"
    site.done("bundle", "create", f"{place}/releases:1.0.0", "--plain-http", "-o", made, "--key", site.folder / "release.key")
    difference = json.loads(site.done("--json", "bundle", "diff", bundle, made))
    assert (difference["names"], difference["added"], difference["removed"]) == ({}, [], [])
    site.done("bundle", "verify", made, "--key", site.folder / "release.pub")
    image = site.folder / "image.nexus"
    site.done("bundle", "create", f"{place}/engine:1.0.0", "--plain-http", "-o", image, "--key", site.folder / "release.key")
    site.done("bundle", "verify", image, "--key", site.folder / "release.pub")
    loaded = site.load(image, place_at(registry, "image"))
    assert [name.rpartition("/")[2] for name in loaded["names"]] == ["engine:1.0.0"]
    assert root.digest not in site.done("bundle", "inspect", image)


@contextlib.contextmanager
def skopeo(*folders: Path) -> Iterator[Any]:
    """Debian's skopeo in a container that sees some folders and this host's loopback."""
    with contextlib.closing(docker.from_env()) as client:
        volumes = {str(folder): {"bind": str(folder), "mode": "ro"} for folder in folders}
        container = client.containers.run(
            clean_debian(["ca-certificates", "skopeo"]), detach=True, network_mode="host", volumes=volumes, labels={"nexus-oci-test": "bundle"}
        )  # fmt: skip
        try:
            yield lambda *words: container.exec_run(["skopeo", *map(str, words)])
        finally:
            container.remove(force=True)


def test_skopeo_reads_it_and_enforces_the_makers_signature_at_the_site(
    bundled: tuple[Site, Path, Descriptor], registry: str, tmp_path: Path
) -> None:
    site, bundle, _ = bundled
    place = place_at(registry, "policy")
    identity = site.load(bundle, place)["relocation"]["signedIdentity"]
    demand = {"type": "sigstoreSigned", "keyPath": str(site.folder / "release.pub"), "signedIdentity": identity}
    for name, demanded in (("site", demand), ("other", {**demand, "signedIdentity": {"type": "matchRepository"}})):
        policy = {"default": [{"type": "reject"}], "transports": {"docker": {registry: [demanded]}}}
        (tmp_path / f"{name}.json").write_text(json.dumps(policy))
    (tmp_path / "registries.d").mkdir()
    (tmp_path / "registries.d" / "x.yaml").write_text(f"docker:\n  {registry}:\n    use-sigstore-attachments: true\n")
    with skopeo(site.folder, tmp_path) as run:
        for source in (f"oci-archive:{bundle}:engine:1.0.0", f"docker-archive:{bundle}:{PREFIX}/engine:1.0.0"):
            code, said = run("--insecure-policy", "copy", source, f"oci:/tmp/{hash(source)}:x")
            assert code == 0, said
        code, said = run("--insecure-policy", "copy", "--all", f"oci-archive:{bundle}:engine:1.0.0", "oci:/tmp/all:x")
        assert code == 0 and said.count(b"Copying config") == 2, said
        for name, expected in (("site", 0), ("other", 1)):
            enforced = [
                "--policy",
                tmp_path / f"{name}.json",
                "--registries.d",
                tmp_path / "registries.d",
                "copy",
                "--src-tls-verify=false",
            ]
            code, said = run(*enforced, f"docker://{place}/engine:1.0.0", f"dir:/tmp/{name}")
            assert code == expected, said


def test_oras_docker_and_containerd_read_it(bundled: tuple[Site, Path, Descriptor], tmp_path: Path) -> None:
    _, bundle, root = bundled
    copied = f"{tmp_path / 'copied'}:1.0.0"
    subprocess.run(
        [peer("oras"), "copy", "-r", "--from-oci-layout", f"{bundle}:1.0.0", "--to-oci-layout", copied],
        check=True,
        capture_output=True,
    )
    assert Store.open(tmp_path / "copied").resolve("1.0.0").digest == root.digest
    name = f"{PREFIX}/engine:1.0.0"
    with contextlib.closing(docker.from_env()) as client, bundle.open("rb") as file:
        loaded = client.images.load(file)
        try:
            assert [image.tags for image in loaded] == [[name]]
            assert loaded[0].attrs["Architecture"] == "amd64" and loaded[0].attrs["Config"]["Cmd"] == ["/app"]
        finally:
            client.images.remove(name, force=True)
    with running_containerd() as containerd:
        imported = containerd.ctr("images", "import", "--local", bundle)
        assert imported.code == 0 and f"unpacking {name}" in imported.out, imported.err
        # k3s takes what is in its folder in this way: every platform, without unpacking.
        every = containerd.ctr("images", "import", "--local", "--all-platforms", "--no-unpack", bundle)
        assert every.code == 0, every.err
        with tarfile.open(bundle) as archive:
            index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        entry = next(one for one in index["manifests"] if one.get("annotations", {}).get(media_types.CONTAINERD_NAME) == name)
        assert containerd.digest(name) == entry["digest"]


def test_a_registry_comes_along_and_starts_from_the_bundle(site: Site, registry: str) -> None:
    from tests.support.registry import registry_image

    site.made.release()
    with contextlib.closing(docker.from_env()) as client:
        image, program = registry_image(client)
        saved = site.folder / "registry.tar"
        with saved.open("wb") as file:
            for block in client.images.get(image).save(named=True):
                file.write(block)
        bundle = site.create("x.nexus", "--registry-image", saved)
        name = next(
            line.split()[1] for line in site.done("bundle", "inspect", bundle).splitlines() if line.startswith("registry ")
        )
        with bundle.open("rb") as file:
            client.images.load(file)
        try:
            said = client.containers.run(f"{PREFIX}/{name}", ["--version"], entrypoint=[program], remove=True, stderr=True)
            assert b"docker" in said or b"distribution" in said
            assert client.images.get(f"{PREFIX}/{name}").id == client.images.get(image).id
        finally:
            for tag in (name, "engine:1.0.0"):
                client.images.remove(f"{PREFIX}/{tag}", force=True)
    assert not any(name in loaded for loaded in site.load(bundle, place_at(registry, "registry"))["names"])


def test_one_platform_goes_where_a_registry_wants_all_of_an_index(site: Site, registry: str) -> None:
    site.made.release()
    bundle = site.create("arm.nexus", "--platform", "linux/arm64")
    place = place_at(registry, "arm")
    loaded = site.load(bundle, place)
    assert f"{place}/engine:1.0.0" in loaded["names"]
    verified = site.run("verify", f"{place}/engine:1.0.0", "--key", site.folder / "release.pub", "--plain-http")
    assert verified.code == 0, verified.err
    refused = [note for note in loaded["notes"] if "the registry takes no" in note]
    if refused:
        assert f"{place}/releases:1.0.0" not in loaded["names"]
        assert any("engine:1.0.0 names the image for linux/arm64" in note for note in refused)
    else:
        assert f"{place}/releases:1.0.0" in loaded["names"]


def test_a_delta_for_what_a_registry_has(site: Site, registry: str) -> None:
    site.made.release("1.0.0", app="old")
    place = place_at(registry, "delta")
    site.load(site.create("one.nexus", "--release", "1.0.0"), place)
    second = site.made.release("2.0.0", app="new")
    site.done("inventory", place, "--plain-http", "-o", site.folder / "site.json")
    delta = site.create("two.nexus", "--release", "2.0.0", "--since-inventory", site.folder / "site.json")
    whole = site.create("whole.nexus", "--release", "2.0.0")
    assert delta.stat().st_size < whole.stat().st_size - 100_000
    missing = json.loads(site.done("--json", "bundle", "inspect", delta))["inventory"]["base"]["needed"]
    elsewhere = place_at(registry, "elsewhere")
    refused = site.run("load", delta, elsewhere, "--key", site.folder / "release.pub", "--plain-http")
    assert refused.code == 1 and missing and all(one["digest"] in refused.err for one in missing)
    assert site.run("inventory", elsewhere, "--plain-http").code == 1
    assert site.load(delta, place)["digest"] == second.digest
    for name in ("releases:2.0.0", "engine:2.0.0", "releases:1.0.0"):
        site.done("verify", f"{place}/{name}", "--key", site.folder / "release.pub", "--plain-http")


def counted(left: int, asked: Any) -> None:
    """Let every call that writes a file, names one, or asks a registry count, and kill this process at one of them."""
    import http.client

    def counting(call: Any) -> Any:
        def counts(*words: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            asked.value += 1
            return call(*words, **named)

        return counts

    for module, name in ((os, "pwrite"), (os, "copy_file_range"), (os, "fsync"), (Path, "rename")):
        setattr(module, name, counting(getattr(module, name)))
    http.client.HTTPConnection.putrequest = counting(http.client.HTTPConnection.putrequest)  # type: ignore[method-assign]


def forked(site: Site, words: tuple[str | Path, ...], moment: int = 0) -> tuple[int, int, str]:
    """Run the program in a fork, which costs no start, and kill it at a moment; how it ended, after how many calls, its stderr."""
    from nexus_oci.cli import main as program

    calls = multiprocessing.get_context("fork").RawValue("q", 0)
    said = site.folder / "stderr"
    pid = os.fork()
    if not pid:
        code = 99
        try:
            with said.open("w") as file, Path(os.devnull).open("r+") as nowhere:
                sys.stdout, sys.stderr, sys.stdin = nowhere, file, nowhere
                os.environ.update(site.environment)
                tempfile.tempdir = str(site.folder)
                sys.argv = ["nexus-oci", "-C", str(site.folder), *map(str, words)]
                counted(moment, calls)
                code = 0
                try:
                    program.main()
                except SystemExit as ended:
                    code = int(ended.code or 0)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), calls.value, said.read_text()


def test_a_creation_that_is_killed_leaves_nothing_named_and_the_next_one_makes_the_same(site: Site) -> None:
    site.made.release(size=20_000)
    words = ("bundle", "create", "--name", PREFIX, "--key", site.folder / "release.key", "-o", site.folder / "x.nexus")

    def found() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.folder.glob("*x.nexus*")}

    for more in ((), ("--part-size", "40KB", "--parity", "1")):
        code, calls, said = forked(site, (*words, *more))
        assert code == 0, said
        expected = found()
        for moment in sorted(random.Random(5).sample(range(1, calls + 1), 8)):
            for path in site.folder.glob("x.nexus*"):
                path.unlink()
            code, _, said = forked(site, (*words, *more), moment)
            assert code == -signal.SIGKILL, said
            named = {name: digest for name, digest in found().items() if not name.startswith(".")}
            assert expected.items() >= named.items(), moment
            code, _, said = forked(site, (*words, *more))
            assert code == 0 and found() == expected, said


def state_of(place: str, repositories: tuple[str, ...] = ("releases", "engine", "charts/demo")) -> dict[str, list[str]]:
    """The tags of a namespace, as another client sees them."""
    found = {}
    for repository in repositories:
        listed = subprocess.run(
            [peer("oras"), "repo", "tags", "--plain-http", f"{place}/{repository}"], capture_output=True, text=True, check=False
        )
        found[repository] = sorted(listed.stdout.split())
    return found


def test_a_load_that_is_killed_names_nothing_and_the_next_one_ends_as_if_it_had_not_been(site: Site, registry: str) -> None:
    site.made.release(size=200_000)
    bundle = site.create("x.nexus")

    def words(place: str) -> tuple[str | Path, ...]:
        return "load", bundle, place, "--key", site.folder / "release.pub", "--plain-http"

    place = place_at(registry, "whole")
    code, calls, said = forked(site, words(place))
    assert code == 0, said
    expected = state_of(place)
    for moment in sorted(random.Random(6).sample(range(1, calls - 10), 4)):
        here = place_at(registry, f"killed{moment}")
        code, _, said = forked(site, words(here), moment)
        assert code == -signal.SIGKILL, said
        assert all("1.0.0" not in tags for tags in state_of(here).values())
        code, _, said = forked(site, words(here))
        assert code == 0, said
        assert state_of(here) == expected
    site.done("verify", f"{here}/releases:1.0.0", "--key", site.folder / "release.pub", "--plain-http")


def test_two_loads_at_once_into_one_place(site: Site, registry: str) -> None:
    site.made.release(size=200_000)
    bundle = site.create("x.nexus")
    for place in (place_at(registry, "twice"), str(site.folder / "store")):
        command = [sys.executable, "-m", "nexus_oci", "load", bundle, place, "--key", site.folder / "release.pub", "--plain-http"]
        both = [
            subprocess.Popen(command, env=site.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        ends = [(one.communicate(), one.returncode) for one in both]
        assert [code for _, code in ends] == [0, 0], "".join(err for (_, err), code in ends if code)
        verified = place if place.startswith("/") else f"{place}/releases:1.0.0"
        site.done("verify", verified, "--key", site.folder / "release.pub", "--plain-http")


def test_a_full_disk_leaves_nothing_and_says_so_in_a_line(site: Site) -> None:
    site.made.release(size=2_000_000)
    target = site.folder / "small"
    target.mkdir()
    create = f"{sys.executable} -m nexus_oci -C {site.folder} bundle create -o {target}/x.nexus --part-size 700KB; echo code $?; ls -A {target}"
    script = f"mount -t tmpfs -o size=3m none {target} && {{ {create}; }}"
    done = subprocess.run(
        [*ROOT, "unshare", "-m", "sh", "-c", script], env=site.environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "code 1\n", done.stderr
    assert "no space left to write" in done.stderr and "Traceback" not in done.stderr


def test_the_program_that_it_carries_runs_where_nothing_is_installed(site: Site, registry: str) -> None:
    root = site.made.release()
    bundle = site.create("x.nexus", "--include-program", "--part-size", "100MB", "--parity", "1")
    parts = [site.folder / "x.nexus.001", site.folder / "x.nexus.p001"]
    assert sorted(site.folder.glob("x.nexus.*")) == parts and not bundle.exists()
    header = int(
        subprocess.run(
            ["grep", "-abom1", ".nexus/inventory.json", parts[0]], capture_output=True, text=True, check=True
        ).stdout.partition(":")[0]
    )
    away = site.folder / "away"
    away.mkdir()
    script = f"tail -q -c +{header + 1} {parts[0]} | tar -x -C {away} -f - nexus-oci.pyz"
    subprocess.run(["sh", "-c", script], check=True)
    base = getattr(sys, "_base_executable", sys.executable)
    environment = {"PATH": os.environ["PATH"], "HOME": str(away), "NEXUS_OCI_AUDIT": str(away / "audit.jsonl")}

    def carried(*words: str | Path) -> str:
        done = subprocess.run(
            [base, "-I", str(away / "nexus-oci.pyz"), *map(str, words)], env=environment, cwd=away, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert carried("--version").startswith("nexus-oci ")
    place = place_at(registry, "carried")
    # Of one part nothing is left but its parity.
    parts[0].unlink()
    loaded = carried("load", site.folder / "x.nexus", place, "--key", site.folder / "release.pub", "--plain-http")
    assert loaded.splitlines()[0] == root.digest
    carried("verify", f"{place}/releases:1.0.0", "--key", site.folder / "release.pub", "--plain-http")


MEASURED = """\
import sys
from nexus_oci.cli.main import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print("peak of memory", next(line for line in status if line.startswith("VmHWM")).split()[1], file=sys.stderr)
"""
"""Runs the program, and says how much memory it took at most, in KiB. What wait4 says counts the process that started it too."""


def test_memory_does_not_grow_with_the_size(site: Site, registry: str) -> None:
    store = site.made.store
    blob = store.put(os.urandom(200 << 20), "application/octet-stream")
    manifest = {
        "schemaVersion": 2, "mediaType": media_types.MANIFEST, "artifactType": "application/vnd.test.large",
        "config": store.put(b"{}", media_types.EMPTY).to_json(), "layers": [blob.to_json()],
    }  # fmt: skip
    store.tag("large:1.0", store.put_manifest(Manifest.build(manifest)))
    key, whole, cut = site.folder / "release.pub", site.folder / "x.nexus", site.folder / "p.nexus"
    place = place_at(registry, "large")
    works: list[tuple[str | Path, ...]] = [
        ("bundle", "create", "-o", whole, "--release", "large:1.0", "--key", site.folder / "release.key"),
        ("load", whole, place, "--key", key, "--plain-http"),
        (
            "bundle",
            "create",
            "-o",
            cut,
            "--release",
            "large:1.0",
            "--key",
            site.folder / "release.key",
            "--part-size",
            "40MB",
            "--parity",
            "10%",
        ),
        ("load", cut, site.folder / "store", "--key", key),
    ]
    for words in works:
        if words[1] == cut:
            (site.folder / "p.nexus.002").unlink()
        done = site.run(*words, program=(sys.executable, "-c", MEASURED))
        assert done.code == 0, done.err
        assert int(done.err.rpartition("peak of memory ")[2]) < 120 << 10, words
