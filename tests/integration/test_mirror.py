"""`mirror` as a whole: between real registries, and on every bad day. What is written is whole, and messages say what to do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Manifest
from nexus_oci.registry.client import RegistryClient
from nexus_oci.registry.settings import RegistrySettings
from tests.support.faulty_registry import INDEX, FaultyRegistry, Handler, answer, faulty_registry, headers, reset_after
from tests.support.peers import peer
from tests.unit.mirroring.kit import Mirrors, Release, content, make_release
from tests.unit.transfer.graph import image, index

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.support.registry"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Program:
    """`nexus-oci` with a home of its own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache")}

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "nexus_oci", *map(str, words)]

    def run(self, *words: object, **environment: str) -> Finished:
        done = subprocess.run(
            self.command(*words), env=self.environment | environment, cwd=self.home, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def mirror(self, *words: object, **environment: str) -> Finished:
        return self.run("mirror", "--plain-http", *words, **environment)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "home").mkdir()
    return Program(tmp_path / "home")


@pytest.fixture
def servers() -> Iterator[tuple[FaultyRegistry, FaultyRegistry, FaultyRegistry]]:
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(faulty_registry()) for _ in range(3))
        yield first, second, third


@pytest.fixture
def mirrors(servers: tuple[FaultyRegistry, FaultyRegistry, FaultyRegistry], tmp_path: Path) -> Iterator[Mirrors]:
    made = Mirrors(servers=servers, folder=tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "made")


def published(mirrors: Mirrors, store: Store, *versions: str) -> list[Release]:
    releases = [make_release(store, version) for version in versions]
    for release in releases:
        mirrors.publish(store, release)
    return releases


def tags_of(server: FaultyRegistry) -> set[str]:
    return {f"{name}:{tag}" for name, held in server.repositories.items() for tag in held.tags}


def test_a_real_registry_is_filled_repeated_and_pruned(registry: str, program: Program, mirrors: Mirrors, store: Store) -> None:
    """Debian's docker-registry has no referrers API, wants every child of an index, and removes manifests by digest only."""
    published(mirrors, store, "1.0.0", "1.1.0")
    source, place = f"{mirrors.source.host}/team", f"{registry}/filled"
    plan = program.run("--json", "mirror", source, place, "--plain-http", "--dry-run")
    assert plan.code == 0, plan.err
    first = program.run("--json", "mirror", source, place, "--plain-http")
    assert first.code == 0, first.err
    (planned,), (done,) = plan.data["destinations"], first.data["destinations"]
    counts = ("bytes_new", "bytes_mounted", "bytes_present", "blobs_sent", "blobs_mounted", "manifests_sent", "tags_written")
    assert {name: planned[name] for name in counts} == {name: done[name] for name in counts}
    again = program.run("--json", "mirror", source, place, "--plain-http")
    (second,) = again.data["destinations"]
    assert (second["unchanged"], second["bytes_sent"], second["tags_written"]) == (2, 0, 0)
    crane = str(peer("crane"))
    for name, release in zip(("1.0.0", "1.1.0"), done["items"], strict=True):
        found = subprocess.run(
            [crane, "digest", "--insecure", f"{place}/releases:{name}"], capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() in {item["digest"] for item in done["items"]}, release
    for name in ("releases", "runtime"):
        read = subprocess.run([crane, "manifest", "--insecure", f"{place}/{name}:1.1.0"], capture_output=True, check=True)
        held = mirrors.source.repository(f"team/{name}")
        assert read.stdout.rstrip(b"\n") == held.manifests[held.tags["1.1.0"]][1]
    pruned = program.mirror(source, place, "--versions", ">=1.1", "--prune")
    assert pruned.code == 0, pruned.err
    assert f"removed {place}/releases:1.0.0" in pruned.out
    listed = subprocess.run([crane, "ls", "--insecure", f"{place}/releases"], capture_output=True, text=True, check=True)
    assert "1.1.0" in listed.stdout.split()
    assert "1.0.0" not in listed.stdout.split()
    assert program.run("verify", f"{place}/releases:1.1.0", "--shallow", "--plain-http").code == 0


def test_only_what_is_signed_is_written(program: Program, mirrors: Mirrors, store: Store, tmp_path: Path) -> None:
    published(mirrors, store, "1.0.0")
    source, place = f"{mirrors.source.host}/team", f"{mirrors.servers[1].host}/mirror"
    keys = tmp_path / "keys"
    keys.mkdir()
    secret = {"NEXUS_OCI_KEY_PASSPHRASE": "pass phrase"}
    made = program.run("keygen", "--output", keys / "release", **secret)
    assert made.code == 0, made.err
    refused = program.mirror(source, place, "--key", keys / "release.pub")
    assert refused.code == 4, refused.err
    assert "is not signed by a key that is trusted here" in refused.err
    assert mirrors.servers[1].seen == []
    signed = program.run("sign", "--key", keys / "release.key", f"{source}/releases:1.0.0", "--plain-http", **secret)
    assert signed.code == 0, signed.err
    written = program.mirror(source, place, "--key", keys / "release.pub")
    assert written.code == 0, written.err
    assert content(mirrors.servers[1], "mirror").keys() == {"mirror/releases", "mirror/runtime"}
    digest = next(iter(mirrors.source.repository("team/releases").blobs))
    mirrors.source.repository("team/releases").blobs[digest] += b"x"
    damaged = program.mirror(source, f"{mirrors.servers[2].host}/mirror", "--key", keys / "release.pub", "--verify")
    assert damaged.code == 4, damaged.err
    assert digest in damaged.err
    assert mirrors.servers[2].seen == []


def test_a_channel_brings_its_release_and_its_name(program: Program, mirrors: Mirrors, store: Store, tmp_path: Path) -> None:
    published(mirrors, store, "1.0.0", "1.1.0")
    mirrors.publish(store, make_release(store, "1.1.0"), "stable")
    folder = tmp_path / "disk"
    done = program.mirror(f"{mirrors.source.host}/team", folder, "--channel", "stable")
    assert done.code == 0, done.err
    names = set(Store.open(folder).tags())
    assert {"stable", "runtime:1.1.0"} <= names
    assert "1.0.0" not in names
    absent = program.mirror(f"{mirrors.source.host}/team", folder, "--channel", "beta")
    assert (absent.code, "has no channel beta" in absent.err, "stable" in absent.err) == (1, True, True)


def test_a_watch_brings_what_comes_later(program: Program, mirrors: Mirrors, store: Store) -> None:
    published(mirrors, store, "1.0.0")
    destination = mirrors.servers[1]
    arrived = threading.Event()
    later = make_release(store, "1.1.0")
    watching = [
        *program.command("mirror", "--plain-http", "--watch", "1s"),
        f"{mirrors.source.host}/team",
        f"{destination.host}/team",
    ]
    with subprocess.Popen(watching, env=program.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        for line in watch.stdout:
            if "releases:1.0.0" in line:
                mirrors.publish(store, later)
            if "releases:1.1.0" in line:
                arrived.set()
                break
        watch.send_signal(signal.SIGTERM)
        _, said = watch.communicate(timeout=60)
    assert arrived.is_set()
    assert watch.returncode == 130, said
    assert {"team/releases:1.0.0", "team/releases:1.1.0"} <= tags_of(destination)
    conditions = [seen.headers.get("if-none-match") for seen in mirrors.source.requests("GET", "/manifests/1.0.0")]
    assert any(conditions)


def kill_after(server: FaultyRegistry, steps: int, child: int) -> None:
    """Let the server kill a process when so many requests and blocks have come."""
    left = steps
    lock = threading.Lock()

    def count(_: int) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left == 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    server.on_bytes = count


def test_killed_at_any_moment_it_ends_the_same_and_sends_no_blob_twice(mirrors: Mirrors, store: Store, tmp_path: Path) -> None:
    noise = random.Random(5)
    extra = [store.put(noise.randbytes(300_000), media_types.LAYER_GZIP) for _ in range(2)]
    published(mirrors, store, "1.0.0", "1.1.0")
    source, destination, _ = mirrors.servers
    big = image(store, *extra)
    for version in ("1.0.0", "1.1.0"):
        held = source.repository("team/releases")
        for blob in (*extra, *store.manifest(big).blobs):
            held.blobs[blob.digest] = store.path(blob.digest).read_bytes()
        held.manifests[big.digest] = (big.media_type, store.path(big.digest).read_bytes())
        about = f"sha256-{held.tags[version].removeprefix('sha256:')}.att"
        held.tags[about] = big.digest
    driver = [sys.executable, "-m", "tests.support.mirror_driver"]
    with subprocess.Popen(driver, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def run(base: str, steps: int | None) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{source.host} {destination.host} {base} {tmp_path / base}\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            destination.on_bytes = lambda _: None
            if steps is not None:
                kill_after(destination, steps, child)
            process.stdin.write("\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        counted = [0]
        assert run("whole", None) == 0
        whole = content(destination, "whole")
        expected = {name.partition("/")[2]: held for name, held in content(source).items()}
        assert {name.partition("/")[2]: held for name, held in whole.items()} == expected
        destination.on_bytes = lambda _: counted.__setitem__(0, counted[0] + 1)
        steps = len([seen for seen in destination.seen if seen.path.startswith("/v2/whole/")])
        killed = 0
        for number in range(50):
            base = f"run{number}"
            killed += run(base, noise.randrange(1, steps + 20)) == -signal.SIGKILL
            for name, held in destination.repositories.items():
                if name.startswith(f"{base}/"):
                    assert all(digest in held.manifests for digest in held.tags.values())
            assert run(base, None) == 0
            found = {name.partition("/")[2]: held for name, held in content(destination, base).items()}
            assert found == expected, base
        process.stdin.close()
    assert killed >= 30
    sent = Counter(destination.completed)
    assert max(sent.values()) == 1


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system in memory at `folder`."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_line_and_names_nothing(
    program: Program, mirrors: Mirrors, store: Store, tmp_path: Path
) -> None:
    layer = store.put(random.Random(3).randbytes(3 << 20), media_types.LAYER_GZIP)
    root = index(store, image(store, layer))
    store.replace_tags({"big:1.0": root})
    folder = tmp_path / "small"
    with small_disk(folder, "1m"):
        full = program.mirror(store.root, folder / "store")
        assert full.code == 1, full.err
        assert "no space left" in full.err
        assert Store.open(folder / "store").tags() == {}
        assert not list((folder / "store" / ".nexus" / "partial").iterdir())


def test_a_destination_that_may_not_be_written_to_is_named(program: Program, mirrors: Mirrors, store: Store) -> None:
    published(mirrors, store, "1.0.0")
    place = f"{mirrors.servers[1].host}/team"
    mirrors.servers[1].fault("POST", "", *[answer(405, b'{"errors":[{"code":"UNSUPPORTED","message":"read only"}]}')] * 100)
    refused = program.mirror(f"{mirrors.source.host}/team", place)
    assert refused.code == 5, refused.err
    assert "UNSUPPORTED: read only" in refused.err
    assert tags_of(mirrors.servers[1]) == set()
    if os.geteuid() == 0:
        # Only something that is no folder stops root.
        folder = program.home / "file"
        folder.write_text("")
        refused = program.mirror(f"{mirrors.source.host}/team", folder / "store")
        assert (refused.code, str(folder) in refused.err) == (1, True)


def lying(change: str) -> Any:
    """A fault that answers for a manifest with something else."""

    def act(handler: Handler) -> bool:
        if change == "page":
            return answer(200, b"<html>log in</html>", Content_Type="text/html")(handler)
        if change == "large":
            handler.send_response(200)
            handler.send_header("Content-Type", INDEX)
            handler.send_header("Content-Length", str(100 << 20))
            handler.end_headers()
            handler.close_connection = True
            with contextlib.suppress(OSError):
                for _ in range(100):
                    handler.wfile.write(b" " * (1 << 20))
            return True
        own = "sha256:" + "0" * 64
        child = {"mediaType": INDEX, "digest": own, "size": 300}
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).encode().ljust(300)
        digest = own if change == "itself" else "sha256:" + hashlib.sha256(body).hexdigest()
        return answer(200, body, Content_Type=INDEX, Docker_Content_Digest=digest)(handler)

    return act


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("page", 5, "a web page"),
        ("large", 4, "sends too much"),
        ("itself", 4, "is not what its digest says"),
        ("missing", 4, "is not what its digest says"),
    ],
)
def test_manifests_that_are_none_are_refused_with_one_clear_line(
    program: Program, mirrors: Mirrors, store: Store, change: str, code: int, words: str
) -> None:
    published(mirrors, store, "1.0.0")
    mirrors.source.fault("GET", "/team/releases/manifests/", *[lying(change)] * 20)
    refused = program.mirror(f"{mirrors.source.host}/team/releases:1.0.0", f"{mirrors.servers[1].host}/team")
    assert refused.code == code, refused.err
    assert words in refused.err
    assert tags_of(mirrors.servers[1]) == set()


@pytest.mark.parametrize("fault", ["short", "long", "reset"])
def test_blobs_that_arrive_wrong_are_tried_again_or_refused(program: Program, mirrors: Mirrors, store: Store, fault: str) -> None:
    published(mirrors, store, "1.0.0")
    place = f"{mirrors.servers[1].host}/team"
    if fault == "reset":
        mirrors.servers[1].fault("PUT", "/uploads/", *[reset_after(500)] * 3)
        done = program.mirror(f"{mirrors.source.host}/team", place)
        assert done.code == 0, done.err
        assert content(mirrors.servers[1]) == content(mirrors.source)
        return
    length = "7" if fault == "short" else "123456"
    mirrors.source.fault("GET", "/blobs/", *[headers(Content_Length=length, Connection="close")] * 100)
    refused = program.mirror(f"{mirrors.source.host}/team", place)
    assert refused.code == 4, refused.err
    assert f"announces {length} bytes" in refused.err
    assert tags_of(mirrors.servers[1]) == set()


def test_a_hundred_thousand_tags_are_no_hindrance(program: Program, mirrors: Mirrors, store: Store) -> None:
    (release,) = published(mirrors, store, "1.0.0")
    held = mirrors.source.repository("team/releases")
    held.tags |= {f"0.{number}.0": release.root.digest for number in range(100_000)}
    done = program.run("--json", "mirror", f"{mirrors.source.host}/team", f"{mirrors.servers[1].host}/team", "--versions", "^1.0",
                       "--plain-http")  # fmt: skip
    assert done.code == 0, done.err
    assert done.data["destinations"][0]["copied"] == 1
    assert done.data["source_requests"] < 150


def test_two_mirrors_at_once_into_one_destination_end_the_same(program: Program, mirrors: Mirrors, store: Store) -> None:
    """Their registry has no referrers API, so that both write the same lists of referrers."""
    for server in mirrors.servers:
        server.referrers_api = server.sends_subject_header = False
    published(mirrors, store, "1.0.0", "1.1.0")
    place = f"{mirrors.servers[1].host}/team"
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: program.mirror(f"{mirrors.source.host}/team", place), range(2)))
    assert [one.code for one in both] == [0, 0], [one.err for one in both]
    assert content(mirrors.servers[1]) == content(mirrors.source)


@pytest.mark.parametrize("conditional", [True, False], ids=["ETags", "no ETags"])
def test_two_writers_of_one_list_of_referrers_lose_nothing(mirrors: Mirrors, store: Store, conditional: bool) -> None:
    """Two clients, as two machines have them, with 20 referrers each. Where the registry does not keep them apart, who looks last does."""
    server = mirrors.servers[1]
    server.referrers_api = server.sends_subject_header = False
    server.conditional = conditional
    release = make_release(store, "1.0.0")
    empty = store.put(b"{}", media_types.EMPTY)
    clients = [RegistryClient(server.host, RegistrySettings(plain_http=True)) for _ in range(2)]
    clients[0].put_blob("team/app", empty, lambda: store.path(empty.digest).open("rb", buffering=0))

    def write(number: int) -> None:
        data = {
            "schemaVersion": 2,
            "mediaType": media_types.MANIFEST,
            "artifactType": f"application/vnd.test.n{number}",
            "config": empty.to_json(),
            "layers": [empty.to_json()],
            "subject": release.root.to_json(),
        }
        clients[number % 2].put_manifest("team/app", Manifest.build(data))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))
    for client in clients:
        client.settle_referrers("team/app")
    found = clients[0].referrers("team/app", release.root.digest)
    assert {one.artifact_type for one in found} == {f"application/vnd.test.n{number}" for number in range(40)}
    for client in clients:
        client.close()
