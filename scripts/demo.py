"""`make demo`: builds the reference engine's distributions, pushes them to a registry, pulls them back and verifies.

REGISTRY=HOST[:PORT]/NAMESPACE names a registry of one's own; without it one is started in a container on this machine's
loopback, and left running so that what was pushed can be looked at.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import docker
import docker.errors

from tests.support.registry import CONFIG, registry_image

ROOT = Path(__file__).resolve().parent.parent
CONTAINER = "nexus-oci-demo-registry"


def main() -> None:
    """Build, push, pull, verify; each step is the command line that a user would type."""
    given = os.environ.get("REGISTRY")
    destination = given or f"{start_registry()}/demo"
    options = [] if given else ["--plain-http"]
    nexus_oci("build")
    pushed = json.loads(nexus_oci("--json", "push", destination, *options))
    release = pushed["names"][-1]
    with tempfile.TemporaryDirectory(prefix="nexus-oci-demo-") as scratch:
        nexus_oci("-q", "pull", pushed["release"], "--output", scratch, *options)
        verified = nexus_oci("verify", scratch)
    print("\nThe release, as the registry has it:\n")
    print(nexus_oci("ls", release, *options))
    print("Its names: " + " ".join(pushed["names"]))
    print(f"The release is {pushed['digest']}")
    print(verified.strip())
    print("verified")


def nexus_oci(*arguments: str) -> str:
    """Run the program in the project's folder; its progress goes to the terminal, its result comes back."""
    print("$ nexus-oci " + " ".join(arguments), file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "nexus_oci", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def start_registry() -> str:
    """HOST:PORT of the demo's registry, started where it is not running yet."""
    client: Any = docker.from_env()
    try:
        container = client.containers.get(CONTAINER)
    except docker.errors.NotFound:
        image, program = registry_image(client)
        container = client.containers.create(
            image,
            entrypoint=[program],
            command=["serve", "/etc/registry.yml"],
            name=CONTAINER,
            ports={"5000/tcp": ("127.0.0.1", None)},
        )
        container.put_archive("/etc", archive_of("registry.yml", CONFIG.encode()))
    container.start()
    container.reload()
    host = f"127.0.0.1:{container.ports['5000/tcp'][0]['HostPort']}"
    for _ in range(150):
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return host
    sys.exit(f"the demo's registry did not answer at {host}; see: docker logs {CONTAINER}")


def archive_of(name: str, data: bytes) -> bytes:
    """A tar with one file, as the engine takes files for a container."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()


if __name__ == "__main__":
    main()
