"""Runs a base's tools in a container, for hosts that have the engine but not mmdebstrap."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nexus_oci.bases.host import ContainerRunner
from nexus_oci.docker_engine import ContainerRequest, Engine, Mount
from nexus_oci.pipeline.local_images import LOCAL


def container_runner(engine: Callable[[], Engine], cancel: threading.Event | None) -> ContainerRunner:
    """A function that runs a program as root in a container made from a root filesystem's tar; see `ContainerRunner`."""

    def run(*, rootfs: Path, tag: str, argv: Sequence[str], mounts: Mapping[Path, str]) -> tuple[int, str]:
        name = f"{LOCAL}/{tag}" if ":" in tag else f"{LOCAL}/{tag}:bootstrap"
        reached = engine()
        if reached.image(name) is None:
            reached.load_base(rootfs, tag=name, platform=reached.platform)
        shared = tuple(Mount(source=str(source), target=target, read_only=False) for source, target in mounts.items())
        result = reached.run(ContainerRequest(image=name, command=tuple(argv), user="0:0", mounts=shared), cancel=cancel)
        return result.exit_code, (result.stdout + result.stderr).decode(errors="replace")

    return run
