"""The verifier that `nexus-oci admission` writes for containerd, called by a real containerd 2 for every pull."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.admission_site import Site, digest, done
from tests.support.containerd import Containerd, running_containerd
from tests.support.peers import Outcome, peer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
pytest_plugins = ["tests.support.registry", "tests.support.admission_fixtures"]


def write(site: Site, folder: Path, *options: str | Path) -> Path:
    """Write the verifier for these options, and where it looks; the folder."""
    done(
        site.keys, "admission", "--for", "containerd", "--plain-http", "--repository", f"{site.origin}/engine",
        "--output", folder, "--node-folder", str(folder / "containerd"), *options,
    )  # fmt: skip
    return folder / "containerd"


def programs() -> str:
    """PATH with our own program and cosign in front."""
    return os.pathsep.join([str(Path(sys.executable).parent), str(peer("cosign").parent), os.environ["PATH"]])


@pytest.fixture(scope="module", params=["nexus-oci", "cosign"])
def containerd(request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A containerd that asks the verifier with either program behind it."""
    folder = write(site, tmp_path_factory.mktemp("node"), "--key", site.public, "--checker", request.param)
    with running_containerd([folder / "config.toml"], programs()) as daemon:
        yield daemon


def pull(containerd: Containerd, name: str) -> Outcome:
    """Pull through the transfer service, which is where verifiers are asked."""
    return containerd.ctr("images", "pull", "--local=false", "--plain-http", name)


def test_containerd_pulls_what_is_signed_and_nothing_else(containerd: Containerd, site: Site) -> None:
    name = f"{site.origin}/engine"
    good = pull(containerd, f"{name}:1.0.0")
    assert good.code == 0, good.err
    assert containerd.digest(f"{name}:1.0.0") == digest(f"{name}:1.0.0")
    by_digest = pull(containerd, f"{name}@{digest(f'{name}:1.0.0')}")
    assert by_digest.code == 0, by_digest.err
    bad = pull(containerd, f"{name}:6.6.6")
    assert bad.code != 0
    assert "image verifier bindir blocked pull" in bad.err
    assert "signed" in bad.err
    assert pull(containerd, f"{site.origin}-elsewhere/engine:6.6.6").code == 0


def verify(folder: Path, name: str, about: str) -> Outcome:
    """Call the verifier as containerd documents it."""
    (program,) = (folder / "bin").iterdir()
    command = [str(program), "-name", name, "-digest", about, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json"]
    finished = subprocess.run(
        command, input=json.dumps({"digest": about}), capture_output=True, text=True, check=False, env={**os.environ, "PATH": programs()},
    )  # fmt: skip
    return Outcome(finished.returncode, finished.stdout, finished.stderr)


@pytest.mark.parametrize("checker", ["nexus-oci", "cosign"])
def test_keys_count_within_their_time_and_place_only(site: Site, tmp_path: Path, checker: str) -> None:
    name = f"{site.origin}/engine"
    about = digest(f"{name}:1.0.0")
    trust = site.keys / f"trust-{checker}.yaml"
    later = "{key: other.pub}"
    for written, code in (
        ("{key: release.pub, not-after: 2920-01-01}", 0),
        ("{key: release.pub, not-after: 2020-01-01}", None),
        ("{key: release.pub, not-before: 2920-01-01}", None),
        ("{key: release.pub, repositories: [runtime]}", None),
        ("{key: release.pub, repositories: [engine]}", 0),
    ):
        trust.write_text(f"keys: [{written}, {later}]")
        outcome = verify(write(site, tmp_path, "--trust", trust, "--checker", checker), f"{name}:1.0.0", about)
        assert (outcome.code == 0) == (code == 0), (written, outcome.out)


def test_what_is_revoked_is_refused_though_it_is_signed(site: Site, tmp_path: Path) -> None:
    name = f"{site.origin}/engine"
    about = digest(f"{name}:1.0.0")
    (site.keys / "revoking.yaml").write_text(f"keys: [{{key: release.pub}}]\nrevoked: ['{about}']\n")
    outcome = verify(write(site, tmp_path, "--trust", site.keys / "revoking.yaml"), f"{name}:1.0.0", about)
    assert (outcome.code, outcome.out) == (1, f"{about} is revoked\n")


def test_signatures_of_a_mirrored_name_are_looked_for_in_the_mirror(site: Site, tmp_path: Path) -> None:
    """The original registry is out of reach: what is asked is the mirror, for either name."""
    away = "registry.nexus.example/nexus"
    done(
        site.keys, "admission", "--for", "containerd", "--plain-http", "--repository", f"{away}/engine", "--key", site.public,
        "--mirror", f"{away}={site.mirror}", "--output", tmp_path,
    )  # fmt: skip
    good, bad = (digest(f"{site.mirror}/engine:{tag}") for tag in ("1.0.0", "6.6.6"))
    for place in (away, site.mirror):
        outcome = verify(tmp_path / "containerd", f"{place}/engine:1.0.0", good)
        assert (outcome.code, outcome.out) == (0, f"signed: {site.mirror}/engine@{good}\n")
        assert verify(tmp_path / "containerd", f"{place}/engine:6.6.6", bad).code == 4
    assert (
        verify(tmp_path / "containerd", "docker.io/library/busybox:latest", bad).out
        == "not judged here: docker.io/library/busybox\n"
    )


def test_a_node_without_the_program_that_checks_refuses(site: Site, tmp_path: Path) -> None:
    folder = write(site, tmp_path, "--key", site.public)
    (program,) = (folder / "bin").iterdir()
    finished = subprocess.run(
        [str(program), "-name", f"{site.origin}/engine:1.0.0", "-digest", digest(f"{site.origin}/engine:1.0.0")],
        env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 127
    assert "nexus-oci" in finished.stdout
