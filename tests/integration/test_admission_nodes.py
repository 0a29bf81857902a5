"""What `nexus-oci admission` writes for nodes is really enforced: policy.json by Debian's skopeo and podman."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.admission_site import Site, digest, digests, done, get, put, signature_tag
from tests.support.clean_debian import clean_debian
from tests.support.peers import Outcome

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
pytest_plugins = ["tests.support.registry", "tests.support.admission_fixtures"]


@dataclass(frozen=True)
class Node:
    """A Debian with skopeo and podman, which read their settings where they always do, and sees this host's loopback."""

    container: Any
    folder: Path

    def install(self, *options: str | Path) -> None:
        """Write policy.json for these options and put it where both programs look for it."""
        done(self.folder, "admission", "--for", "policy.json", "--output", self.folder / "written", *options)
        settings = "/etc/containers"
        copy = f"cp -r {self.folder}/written/containers/. {settings}/"
        installed = self._run("sh", "-c", f"rm -rf {settings}/policy.json {settings}/registries.d && {copy}")
        assert installed.code == 0, installed.err

    def skopeo(self, name: str) -> Outcome:
        return self._run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", "dir:/tmp/copied")

    def podman(self, name: str) -> Outcome:
        self._run("podman", "--storage-driver=vfs", "rmi", "--all", "--force")
        return self._run("podman", "--storage-driver=vfs", "pull", "--tls-verify=false", name)

    def accepts(self, name: str) -> None:
        """Both programs take an image."""
        for outcome in (self.skopeo(name), self.podman(name)):
            assert outcome.code == 0, outcome.err

    def refuses(self, name: str, why: str) -> None:
        """Both programs refuse it, for a reason."""
        for outcome in (self.skopeo(name), self.podman(name)):
            assert outcome.code != 0
            assert why in outcome.err, outcome.err

    def _run(self, *command: str) -> Outcome:
        code, output = self.container.exec_run(list(command))
        return Outcome(code, "", output.decode(errors="replace"))


@pytest.fixture(scope="module")
def node(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    with contextlib.closing(docker.from_env()) as client:
        container = client.containers.run(
            clean_debian(["ca-certificates", "podman", "skopeo"]), detach=True, network_mode="host", cap_add=["SYS_ADMIN"],
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            volumes={str(folder): {"bind": str(folder), "mode": "ro"}}, labels={"nexus-oci-test": "admission"},
        )  # fmt: skip
        try:
            yield Node(container, folder)
        finally:
            container.remove(force=True)


def repositories(place: str) -> tuple[str, ...]:
    return "--repository", f"{place}/engine", "--repository", f"{place}/releases"


def test_signed_images_are_accepted_and_others_refused(site: Site, node: Node) -> None:
    node.install("--key", site.public, *repositories(site.origin))
    name = f"{site.origin}/engine"
    node.accepts(f"{name}:1.0.0")
    for part in digests(f"{name}:1.0.0"):
        node.accepts(f"{name}@{part}")
    node.refuses(f"{name}:6.6.6", "no signature exists")
    node.accepts(f"{site.origin}-elsewhere/engine:6.6.6")


def test_a_signature_by_another_key_is_refused_until_that_key_is_trusted_too(site: Site, node: Node) -> None:
    name = f"{site.origin}/engine"
    node.install("--key", site.other, *repositories(site.origin))
    node.refuses(f"{name}:1.0.0", "cryptographic signature verification failed")
    node.install("--key", site.other, "--key", site.public, *repositories(site.origin))
    node.accepts(f"{name}:1.0.0")


def test_a_signature_that_was_moved_to_another_image_is_refused(site: Site, node: Node) -> None:
    name = f"{site.origin}/moved/engine"
    node.install("--key", site.public, "--repository", f"{site.origin}/moved")
    done(site.keys / "good", "push", f"{site.origin}/moved", "--plain-http")
    done(site.keys / "evil", "push", f"{site.origin}/moved", "--plain-http")
    for good, evil in zip(digests(f"{name}:1.0.0"), digests(f"{name}:6.6.6"), strict=True):
        put(f"{name}:{signature_tag(evil)}", *get(f"{name}:{signature_tag(good)}"))
    node.refuses(f"{name}:6.6.6", "digest")


def test_images_from_anywhere_else_are_refused_where_that_is_asked_for(site: Site, node: Node) -> None:
    node.install("--key", site.public, *repositories(site.origin), "--others", "reject")
    node.accepts(f"{site.origin}/engine:1.0.0")
    node.refuses(f"{site.origin}-elsewhere/engine:6.6.6", "rejected by policy")


def test_a_mirror_on_another_host_stands_for_the_original_by_remapped_identity_only(site: Site, node: Node) -> None:
    name = f"{site.mirror}/engine"
    node.install("--key", site.public, *repositories(site.mirror))
    node.refuses(f"{name}:1.0.0", "is not accepted")
    node.install("--key", site.public, *repositories(site.origin), *site.moved)
    identity = json.loads((node.folder / "written" / "containers" / "policy.json").read_text())["transports"]["docker"][name]
    assert identity[0]["signedIdentity"] == {"type": "remapIdentity", "prefix": site.mirror, "signedPrefix": site.origin}
    node.accepts(f"{name}:1.0.0")
    node.accepts(f"{name}@{digest(f'{name}:1.0.0')}")
    node.refuses(f"{name}:6.6.6", "no signature exists")


def test_a_mirrors_image_under_a_tag_that_was_not_signed_needs_to_be_allowed(site: Site, node: Node) -> None:
    name = f"{site.mirror}/engine"
    put(f"{name}:stable", *get(f"{name}:1.0.0"))
    node.install("--key", site.public, *repositories(site.origin), *site.moved)
    node.refuses(f"{name}:stable", "is not accepted")
    node.install("--key", site.public, *repositories(site.origin), *site.moved, "--any-tag")
    node.accepts(f"{name}:stable")
