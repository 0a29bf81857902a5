"""Measures bundles against `cp` of the same bytes and one `sha256sum` of them, on this machine, in one run.

    python benchmarks/bundle.py [--runs 3] [--size 1024] [--folder DIR] [--without-registry]

`create`, and `load` into a folder, are held against cp and sha256sum one after the other; both sides end with the bytes on the
disk (fsync), or, in the second column, with cp as it is, which leaves them in the page cache. `load` into a registry is held
against the same and a bare upload of the same blobs, in one piece each, by a client that neither hashes nor asks anything. Parts
with and without parity are shown beside. Medians of the runs, with the peak memory of our process.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nexus_oci.oci import media_types  # noqa: E402
from nexus_oci.oci.store import Store  # noqa: E402
from nexus_oci.oci.values import Platform, digest_of  # noqa: E402
from nexus_oci.release.assemble import Named, store_index, store_release  # noqa: E402
from nexus_oci.release.image import ImageLayer, store_image  # noqa: E402
from nexus_oci.trust.keys import generate, write_key_pair  # noqa: E402

MIB = 1 << 20
LAYERS = 16


def make_store(root: Path, size: int) -> Store:
    """A release of two images whose layers have `size` MiB together."""
    store = Store.create(root)
    images = []
    for platform in ("linux/amd64", "linux/arm64"):
        layers = []
        for number in range(LAYERS // 2):
            data = random.Random(f"{platform}{number}").randbytes(size * MIB // LAYERS)
            blob = store.put(data, media_types.LAYER_ZSTD)
            layers.append(ImageLayer(descriptor=blob, diff_id=digest_of(data), created_by="x"))
        images.append(store_image(store, platform=Platform.parse(platform), config={}, layers=layers, labels={}, epoch=1))
    index = store_index(store, images, {})
    root_index = store_release(
        store, images=[Named(descriptor=index, repository="engine", tag="1.0")], artifacts=[], charts=[], annotations={}
    )
    store.replace_tags({"1.0": root_index, "engine:1.0": index})
    return store


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


MEASURED = """\
import os, sys
from nexus_oci.cli.main import main
try:
    main()
finally:
    with open("/proc/self/status") as status, open(os.environ["PEAK"], "w") as file:
        file.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""
"""Runs our program and writes down its peak memory in KiB; what wait4 says counts the process that started it too."""


class Program:
    """Our program in processes of its own; remembers the most memory that one took, in MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.peak = 0.0

    def __call__(self, *words: str | Path) -> None:
        kept = self.folder / "peak"
        environment = {
            **os.environ, "NEXUS_OCI_KEY_PASSPHRASE": "", "NEXUS_OCI_AUDIT": str(self.folder / "audit.jsonl"), "PEAK": str(kept)
        }  # fmt: skip
        command = [sys.executable, "-c", MEASURED, "-q", "-C", str(self.folder), *map(str, words)]
        subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        self.peak = max(self.peak, int(kept.read_text()) / 1024)


def copy(source: Path, target: Path, *, to_disk: bool) -> None:
    """cp of a folder, flushed to the disk or not."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-r", source, target], check=True)
    if to_disk:
        subprocess.run(["sync", *(str(path) for path in target.iterdir())], check=True)


def hashed(folder: Path) -> None:
    subprocess.run(["sha256sum", *map(str, folder.iterdir())], check=True, stdout=subprocess.DEVNULL)


def bare_upload(host: str, blobs: list[Path], repository: str) -> None:
    """POST and PUT of each blob, one after another."""
    connection = http.client.HTTPConnection(host)
    for path in blobs:
        connection.request("POST", f"/v2/{repository}/blobs/uploads/")
        answer = connection.getresponse()
        answer.read()
        place = answer.headers["Location"].removeprefix(f"http://{host}")
        with path.open("rb") as file:
            joint = "&" if "?" in place else "?"
            connection.request(
                "PUT", f"{place}{joint}digest=sha256:{path.name}", body=file,
                headers={"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"},
            )  # fmt: skip
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 201, answer.status
    connection.close()


@contextlib.contextmanager
def registries() -> Iterator[Callable[[], contextlib.AbstractContextManager[str]]]:
    """Starts a fresh registry each time, so that nothing is there already."""
    from tests.support.registry import running_registry

    @contextlib.contextmanager
    def start() -> Iterator[str]:
        with running_registry() as running:
            yield running.host

    yield start


def measure(folder: Path, size: int, runs: int, *, with_registry: bool) -> None:
    store = make_store(folder / "dist" / "oci", size)
    blobs = store.root / "blobs" / "sha256"
    write_key_pair(folder / "release", generate(), b"")
    program, times = Program(folder), {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    key = ("--key", folder / "release.key")
    trusted = ("--key", folder / "release.pub")
    part = ("--part-size", f"{size * MIB // 9}B")
    parity = (*part, "--parity", "10%")
    for _ in range(runs):
        note("cp", timed(lambda: copy(blobs, folder / "copied", to_disk=False)))
        note("cp to disk", timed(lambda: copy(blobs, folder / "copied", to_disk=True)))
        note("sha256sum", timed(lambda: hashed(blobs)))
        shutil.rmtree(folder / "copied")
        note("create", timed(lambda: program("bundle", "create", "-o", folder / "a.nexus", *key)))
        note("create, parts", timed(lambda: program("bundle", "create", "-o", folder / "p.nexus", *part, *key)))
        note("create, 10 % parity", timed(lambda: program("bundle", "create", "-o", folder / "p.nexus", *parity, *key)))
        note("verify", timed(lambda: program("bundle", "verify", folder / "a.nexus", *trusted)))
        note("load, folder", timed(lambda: program("load", folder / "a.nexus", folder / "site", *trusted)))
        shutil.rmtree(folder / "site")
        (folder / "p.nexus.003").unlink()
        note("load, one part lost", timed(lambda: program("load", folder / "p.nexus", folder / "site", *trusted)))
        shutil.rmtree(folder / "site")
        if with_registry:
            with registries() as start:
                with start() as host:
                    note("bare upload", timed(lambda host=host: bare_upload(host, list(blobs.iterdir()), "bare/x")))
                with start() as host:
                    words = ("load", folder / "a.nexus", f"{host}/x", "--plain-http", *trusted)
                    note("load, registry", timed(lambda words=words: program(*words)))
    report(times, size, program.peak)


def report(times: dict[str, list[float]], size: int, peak: float) -> None:
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    disk, cache = (medians[name] + medians["sha256sum"] for name in ("cp to disk", "cp"))
    print(f"{size} MiB in {LAYERS} layers; medians of {len(times['cp'])} runs\n")
    print(f"{'':<22}{'seconds':>9}{'/ (cp to disk + sha256)':>26}{'/ (cp + sha256)':>18}")
    for name, seconds in medians.items():
        if name == "load, registry":
            extra = medians["bare upload"]
            ratios = f"{seconds / (disk + extra):>26.2f}{seconds / (cache + extra):>18.2f}"
            print(f"{name:<22}{seconds:>9.2f}{ratios}  with the bare upload")
        else:
            print(f"{name:<22}{seconds:>9.2f}{seconds / disk:>26.2f}{seconds / cache:>18.2f}")
    print(f"\npeak memory of our process: {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024, help="MiB of layers")
    parser.add_argument("--folder", type=Path, help="where to work; it needs five times the size")
    parser.add_argument("--without-registry", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nexus-oci-bench-", dir=arguments.folder) as name:
        measure(Path(name), arguments.size, arguments.runs, with_registry=not arguments.without_registry)


if __name__ == "__main__":
    main()
