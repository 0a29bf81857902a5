"""Measures the way of a layer, from bytes in the engine to a finished blob in the store, as ratios on this machine.

    python benchmarks/layers.py [--tar ROOTFS.tar] [--runs 5] [--image-only]

Without `--tar` a root filesystem of about 150 MB is made by mmdebstrap. The comparisons are skipped, by name, where their tool
(pigz, skopeo, a container engine) is not there. Rivals take turns, so that a busy machine is busy for both; ratios are
of medians. The image it makes is called nxlayers-bench, and is removed at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nexus_oci.oci.canonical import write_canonical
from nexus_oci.oci.docker_archive import layers_from_docker_archive
from nexus_oci.oci.gzip import ENCODER, GzipWriter
from nexus_oci.oci.layer import Rewriting, store_layer
from nexus_oci.oci.store import Store
from nexus_oci.oci.tar import read_index

IMAGE = "nxlayers-bench:1"
EPOCH = 1_700_000_000
MIB = 1 << 20


def _discard(_: object) -> None:
    """Takes bytes and forgets them."""


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(MIB):
            yield piece


def rivals(runs: int, **ways: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each way; the ways take turns, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if turn:
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(taken) for name, taken in times.items()}


def show(title: str, seconds: dict[str, float], against: str) -> None:
    """Print one comparison."""
    print(f"\n{title}")
    for name, taken in seconds.items():
        ratio = "" if name == against else f"   {taken / seconds[against]:5.2f} x {against}"
        print(f"  {name:<36}{taken:7.2f} s{ratio}")


def peak(program: str, *arguments: object) -> tuple[float, int]:
    """Run a Python program in a process of its own; seconds since it set `begun`, and its peak memory in MiB."""
    full = (
        "import sys, time\nfrom pathlib import Path\nfrom nexus_oci.oci.store import Store\n"
        f"EPOCH = {EPOCH}\n{program}\n"
        "taken = time.perf_counter() - begun\n"
        "print(taken, Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", full, *map(str, arguments)], check=True, capture_output=True, text=True)
    taken, kib = done.stdout.split()
    return float(taken), int(kib) >> 10


STORE_FROM_ENGINE = """
import docker
from nexus_oci.oci.docker_archive import layers_from_docker_archive
client = docker.APIClient(version="auto", timeout=600)
begun = time.perf_counter()
image = client.inspect_image(sys.argv[1])
store = Store.create(Path(sys.argv[2]))
layers_from_docker_archive(client.get_image(sys.argv[1]), store=store, epoch=EPOCH, diff_ids=image["RootFS"]["Layers"])
"""


def bench_bytes(tar: Path, folder: Path, runs: int) -> None:
    """Hash, rewriting and compression of one tar, without an engine."""
    entries = read_index(tar)

    def hashed() -> None:
        digest = hashlib.sha256()
        for piece in _pieces(tar):
            digest.update(piece)

    def rewrite() -> None:
        with tar.open("rb", buffering=0) as file:
            write_canonical(entries, file.fileno(), _discard, epoch=EPOCH)

    def compress() -> None:
        with GzipWriter(_discard) as writer:
            for piece in _pieces(tar):
                writer.write(piece)

    def stored() -> None:
        shutil.rmtree(folder / "stored", ignore_errors=True)
        store_layer(Store.create(folder / "stored"), _pieces(tar), Rewriting(epoch=EPOCH))

    seconds = rivals(runs, sha256=hashed, index=lambda: read_index(tar), rewrite=rewrite, gzip=compress, tar_to_store=stored)
    show(f"one tar of {tar.stat().st_size >> 20} MiB, {len(entries)} entries ({ENCODER})", seconds, "sha256")

    if shutil.which("pigz"):
        command = f"tee >(sha256sum) < {tar} | pigz -6 -n | tee {folder}/x.gz | sha256sum"
        seconds = rivals(
            runs, pigz=lambda: subprocess.run(["bash", "-c", command], check=True, capture_output=True), store=stored
        )
        show("tar to compressed blob with both digests", seconds, "pigz")
    else:
        print("\npigz is not installed: not compared with it")


def bench_engine(tar: Path, folder: Path, runs: int) -> None:
    """From the engine to the store, beside skopeo."""
    import docker

    client: Any = docker.APIClient(version="auto", timeout=600)
    with tar.open("rb") as data:
        client.import_image_from_data(data, repository=IMAGE.partition(":")[0], tag=IMAGE.partition(":")[2])
    try:
        ids = client.inspect_image(IMAGE)["RootFS"]["Layers"]

        def fresh(name: str) -> Path:
            shutil.rmtree(folder / name, ignore_errors=True)
            return folder / name

        def ours() -> None:
            store = Store.create(fresh("ours"))
            layers_from_docker_archive(client.get_image(IMAGE), store=store, epoch=EPOCH, diff_ids=ids)

        def read() -> None:
            for _ in client.get_image(IMAGE):
                pass

        known = dict(
            zip(
                ids,
                layers_from_docker_archive(
                    client.get_image(IMAGE), store=Store.create(fresh("known")), epoch=EPOCH, diff_ids=ids
                ),
                strict=True,
            )
        )

        def again() -> None:
            store = Store.create(folder / "known")
            layers_from_docker_archive(client.get_image(IMAGE), store=store, epoch=EPOCH, diff_ids=ids, known=known)

        ways: dict[str, Callable[[], object]] = {
            "engine_to_nowhere": read,
            "engine_to_store": ours,
            "engine_to_store_all_known": again,
        }
        if shutil.which("skopeo"):

            def skopeo() -> None:
                target = f"oci:{fresh('skopeo')}:1"
                subprocess.run(["skopeo", "copy", "--quiet", f"docker-daemon:{IMAGE}", target], check=True)

            ways["skopeo"] = skopeo
        else:
            print("\nskopeo is not installed: not compared with it")
        seconds = rivals(runs, **ways)
        show("an all-new image, from the engine to gzip layers", seconds, "skopeo" if "skopeo" in ways else "engine_to_nowhere")
        for name in ("ours", "skopeo"):
            if (folder / name).exists():
                size = sum(path.stat().st_size for path in (folder / name / "blobs" / "sha256").iterdir())
                print(f"  {name}: {size / 1e6:.1f} MB of blobs")
        _, mib = peak(STORE_FROM_ENGINE, IMAGE, fresh("peak"))
        print(f"  peak memory of the whole process, Docker SDK included: {mib} MiB")
    finally:
        client.remove_image(IMAGE, force=True)


def root_filesystem(folder: Path) -> Path:
    """Make a root filesystem to measure with; exits with a message where that is not possible."""
    if not shutil.which("mmdebstrap"):
        sys.exit("mmdebstrap is not installed: give a tar with --tar")
    tar = folder / "rootfs.tar"
    subprocess.run(
        [
            "mmdebstrap", "--quiet", "--variant=extract", "--include=python3,perl,apt",
            '--customize-hook=rm -rf "$1"/dev/*', "bookworm", tar,
        ],
        check=True,
    )  # fmt: skip
    return tar


def main() -> None:
    """Parse the arguments and run everything in a scratch folder that is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tar", type=Path, help="a root filesystem without device nodes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--image-only", action="store_true", help="only from the engine to the store")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nxlayers-") as name:
        folder = Path(name)
        tar = options.tar or root_filesystem(folder)
        if not options.image_only:
            bench_bytes(tar, folder, options.runs)
        if Path("/var/run/docker.sock").exists():
            bench_engine(tar, folder, options.runs)
        else:
            print("\nno container engine at /var/run/docker.sock: nothing is read out of one")


if __name__ == "__main__":
    main()
