"""Policies in earnest: five distributions are built, made to break five gates at once, and put right by waivers and corrections.

The engine is a program of 120 bytes that was built elsewhere, so that a build takes seconds.
"""

from __future__ import annotations

import gzip
import json
import struct
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.engines_support import MACHINES
from tests.support.projects import Layout, Project

pytestmark = [pytest.mark.integration]
pytest_plugins = ["tests.support.registry"]

GATES = {"root-user", "setuid-files", "secrets", "sdk-engine", "api-artifact"}
KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ8a7Wc5n3Q1xT0vYlQbR2dKfUo9sZeHmPpNqLwXyEtA\n-----END PRIVATE KEY-----\n"
PASSPHRASE = "correct horse"


def program(platform: str, body: bytes = b"") -> bytes:
    """A static ELF file that is only a header, a program header and some bytes."""
    machine = MACHINES[platform]
    header = (
        b"\x7fELF"
        + bytes([2, 1, 1])
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x400078, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    )
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120, 120, 4096) + body


@pytest.fixture
def shop(tmp_path: Path, native: str) -> Project:
    """A project with all five distributions, each as it should be."""
    project = Project(
        root=tmp_path / "shop", environment={"XDG_CACHE_HOME": str(_cache(tmp_path)), "NEXUS_OCI_KEY_PASSPHRASE": PASSPHRASE}
    )
    engine = {
        "name": "shop",
        "version": "1.0.0",
        "source": "app",
        "runtime": "binary",
        "binary": {"trees": {native: "tree"}},
        "command": ["shop"],
    }
    files: dict[str, dict[str, Any]] = {
        "nexus": {"engine": engine, "platforms": [native]},
        "runtime": {"distribution": "runtime", "formats": ["image", "tar.gz"]},
        "library": {"distribution": "library"},
        "container": {"distribution": "container"},
        "api": {"distribution": "api"},
        "sdk": {"distribution": "sdk", "image": {"files": {"/sdk": "sdk"}}},
    }
    for name, data in files.items():
        project.write(f"images/{name}.yaml", yaml.safe_dump(data))
    project.write("app/sdk/client.py", "print('a client')\n")
    (project.root / "app" / "tree").mkdir()
    (project.root / "app" / "tree" / "shop").write_bytes(program(native, b"the engine"))
    (project.root / "app" / "tree" / "shop").chmod(0o755)
    project.write(".gitignore", "dist/\n")
    project.commit()
    return project


def _cache(folder: Path) -> Path:
    """A cache of the test's own, but for the bases, which every test shares."""
    import os

    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nexus-oci"
    own = folder / "cache" / "nexus-oci"
    own.mkdir(parents=True)
    for name in ("bases", "deb"):
        if (shared / name).is_dir():
            (own / name).symlink_to(shared / name)
    return own.parent


def break_five_gates(project: Project, native: str) -> None:
    """Root, a setuid file, a secret, an engine in the SDK, and a file of the API."""
    project.write(
        "images/container.yaml", yaml.safe_dump({"distribution": "container", "image": {"user": 0, "allow-root": True}})
    )
    project.write(
        "images/library.yaml", yaml.safe_dump({"distribution": "library", "image": {"files": {"/etc/shop/tls.pem": "tls.pem"}}})
    )
    project.write("images/api.yaml", yaml.safe_dump({"distribution": "api", "formats": ["image", "tar.gz"]}))
    helper = {"/usr/bin/helper": {"source": "helper", "mode": "4755"}}
    runtime = {"distribution": "runtime", "formats": ["image", "tar.gz"], "package": {"files": helper}}
    project.write("images/runtime.yaml", yaml.safe_dump(runtime))
    project.write("app/tls.pem", KEY)
    (project.root / "app" / "helper").write_bytes(program(native, b"helper"))
    (project.root / "app" / "sdk" / "notes.gz").write_bytes(gzip.compress(program(native, b"the engine"), mtime=0))
    project.commit()


def catalog(registry: str) -> list[str]:
    with urllib.request.urlopen(f"http://{registry}/v2/_catalog") as answer:
        found: list[str] = json.load(answer)["repositories"]
        return found


def test_a_release_that_breaks_five_gates_is_refused_and_passes_when_put_right(
    shop: Project, native: str, registry: str, tmp_path: Path
) -> None:
    break_five_gates(shop, native)
    shop.done("build")
    refused = shop.run("--json", "check", "--policy")
    assert refused.code == 3, refused.story()
    assert {one["gate"] for one in refused.data["findings"] if one["outcome"] == "refused"} == GATES
    before = catalog(registry)
    message = shop.run("push", f"{registry}/refused", "--plain-http", "--tier", "professional").refused(3)
    for gate in GATES:
        assert f"\n  {gate}: " in message
    assert 'policies/waivers.yaml: - {gate: root-user, scope: {distribution: "container"' in message
    assert KEY.splitlines()[1] not in message
    assert catalog(registry) == before

    shop.write("images/api.yaml", yaml.safe_dump({"distribution": "api"}))
    shop.write("policies/waivers.yaml", waivers(refused.data))
    shop.commit()
    shop.done("build")
    statement = json.loads((shop.dist / "provenance.json").read_text())
    recorded = statement["predicate"]["buildDefinition"]["internalParameters"]["waivers"]
    assert {one["gate"] for one in recorded} == GATES - {"api-artifact"}
    assert {one["owner"] for one in recorded} == {"Ann"}
    store = Layout(shop.dist / "oci")
    children = store.json(store.tags()["1.0.0"])["manifests"]
    assert {"runtime", "library", "container", "sdk", None} == {
        child["annotations"].get("dev.nexus-oci.repository") for child in children
    }
    assert "api:1.0.0" in store.tags()
    assert "Entrypoint" not in store.images("sdk:1.0.0")[native].config["config"]
    released(shop, registry, tmp_path)


def waivers(report: Any) -> str:
    """What the refusals suggest, filled in."""
    lines = [one["waive"] for one in report["findings"] if one["outcome"] == "refused" and one["waive"]]
    filled = [line.replace("WHO", "Ann").replace("WHY", "a test").replace("YYYY-MM-DD", _soon()) for line in lines]
    return "waivers:\n" + "".join(f"  {line}\n" for line in filled)


def _soon() -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) + timedelta(days=30)).date().isoformat()


def released(shop: Project, registry: str, tmp_path: Path) -> None:
    """Sign, attest, push and verify, each holding the release to its tier."""
    key = str(tmp_path / "release")
    shop.done("keygen", "--output", key)
    shop.done("sign", "--key", f"{key}.key")
    shop.done("attest", "--key", f"{key}.key")
    pushed = shop.done("push", f"{registry}/passed", "--plain-http", "--tier", "professional")
    assert "the release meets the policy of the tier professional" in pushed.err
    assert "waived: root-user, by Ann until" in pushed.err
    assert not [name for name in catalog(registry) if name.startswith("passed/api")]
    again = shop.done("--json", "push", f"{registry}/passed", "--plain-http", "--tier", "professional")
    assert again.data["bytes_sent"] == 0

    grown = shop.done("--json", "check", "--policy", "--against", f"{registry}/passed/releases:1.0.0", "--plain-http")
    assert grown.data["passed"] is True

    elsewhere = Project(root=tmp_path / "elsewhere", environment=shop.environment)
    elsewhere.root.mkdir()
    words = ("verify", f"{registry}/passed/releases:1.0.0", "--plain-http", "--key", f"{key}.pub", "--tier")
    verified = elsewhere.done("--json", *words, "professional").data["policy"]
    assert verified["passed"] is True
    assert {one["gate"] for one in verified["waivers"]} == GATES - {"api-artifact"}
    regulated = elsewhere.run(*words, "regulated")
    assert regulated.code == 3
    assert "tier-distributions: release 1.0.0: it carries the distribution library" in regulated.err
