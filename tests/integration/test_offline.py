"""Offline means that no socket is opened: with the network really off, and with every way to it watched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_oci.oci.store import Store
from nexus_oci.pipeline.signing_release import sign_store
from nexus_oci.trust.keys import generate
from tests.unit.cli.conftest import release

pytestmark = pytest.mark.integration

KEY = generate()
WAYS = (["unshare", "--net"], ["unshare", "--map-root-user", "--net"], ["sudo", "-n", "unshare", "--net"])
"""How a process gets a network of its own, in which nothing is, not even a loopback that is up."""
WATCHED = """
import sys
def watch(event, arguments):
    if event.startswith("socket."):
        print("touched the network:", event, file=sys.stderr)
        import os
        os._exit(99)
sys.addaudithook(watch)
from nexus_oci.cli.main import main
sys.argv[0] = "nexus-oci"
main()
"""


@pytest.fixture(scope="module")
def cut_off() -> list[str]:
    """What comes before a command so that it has no network."""
    for way in WAYS:
        try:
            if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
                return way
        except FileNotFoundError:
            continue
    pytest.fail(f"none of {[' '.join(way) for way in WAYS]} works here, and one is needed to turn the network off")


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A signed release with a list of files."""
    store = Store.create(tmp_path / "dist" / "oci")
    (tmp_path / "dist" / "SHA256SUMS").write_bytes(b"")
    sign_store(store, release(store), KEY)
    (tmp_path / "release.pub").write_bytes(KEY.public.pem)
    return tmp_path / "dist"


def nexus(before: list[str], start: list[str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, *start, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )


def test_a_network_that_is_off_is_really_off(cut_off: list[str]) -> None:
    code = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    done = nexus(cut_off, ["-c", code])
    assert "unreachable" in done.stderr, done.stderr


@pytest.mark.parametrize("way", ["cut off", "watched"])
def test_stores_and_files_are_verified_without_a_network(dist: Path, cut_off: list[str], way: str) -> None:
    before, start = (cut_off, ["-m", "nexus_oci"]) if way == "cut off" else ([], ["-c", WATCHED])
    key = ("--key", dist.parent / "release.pub")
    for words in ((dist,), (dist, "--shallow"), (dist / "SHA256SUMS",)):
        done = nexus(before, start, "verify", *words, "--offline", *key)
        assert (done.returncode, "release.pub" in done.stdout) == (0, True), done.stderr
    blob = next(path for path in (dist / "oci" / "blobs" / "sha256").iterdir() if path.read_bytes().startswith(b"deb "))
    blob.write_bytes(b"deb 1.0.1")
    done = nexus(before, start, "verify", dist, "--offline", *key)
    assert (done.returncode, "it is damaged" in done.stderr) == (4, True), done.stderr


@pytest.mark.parametrize("words", [(), ("--shallow",), ("--plain-http",)])
def test_a_registry_is_refused_before_a_socket_is_opened(dist: Path, words: tuple[str, ...]) -> None:
    key = ("--key", dist.parent / "release.pub")
    done = nexus([], ["-c", WATCHED], "verify", "127.0.0.1:1/team/releases:1.0.0", "--offline", *key, *words)
    assert (done.returncode, "--offline forbids to ask it" in done.stderr) == (2, True), done.stderr


def test_the_watch_sees_a_verification_that_asks_a_registry(dist: Path) -> None:
    """The test of the test: without --offline it is caught."""
    done = nexus([], ["-c", WATCHED], "verify", "127.0.0.1:1/team/releases:1.0.0", "--plain-http")
    assert (done.returncode, "touched the network" in done.stderr) == (99, True), done.stderr
