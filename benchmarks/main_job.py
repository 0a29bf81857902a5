"""Measures the main job on this machine: builds that have nothing to do, builds for another processor, and images on known bases.

    python benchmarks/main_job.py [--runs 3] [--skip-cold]

A copy of the reference engine is built in a scratch folder. `--skip-cold` leaves out the comparison of processors, for which
the engine's caches of compiled Go are emptied. benchmarks/layers.py looks closer at the way of one layer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIG_BASE = """
engine:
  name: bench
  version: 1.0.0
  source: source
  runtime: binary
  command: [tool]
  binary: {trees: {linux/amd64: tree, linux/arm64: tree}}
platforms: [linux/amd64]
bases:
  big: {debian: {suite: trixie, packages: [golang-go, perl, python3], exclude: [debconf]}}
"""


def median(runs: int, way: Callable[[], object]) -> float:
    """Median seconds of `way`."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        way()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def nexus_oci(folder: Path, *arguments: str) -> str:
    """Run the program; what it prints."""
    command = [sys.executable, "-m", "nexus_oci", "-q", "-C", str(folder), *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    return done.stdout.strip()


def project(folder: Path) -> Path:
    """A copy of the reference engine in a repository of its own, so that it has a commit."""
    for name in ("images", "helm"):
        shutil.copytree(ROOT / name, folder / name)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "bench"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    return folder


def bench_builds(folder: Path, runs: int) -> None:
    """A build with nothing to do, one after a one-line change, and whether two stores come out the same."""
    first = nexus_oci(folder, "build")
    other = nexus_oci(folder, "build", "--no-cache", "-o", str(folder / "other"))
    print(f"two clean stores, one digest: {'yes' if first == other else 'NO'}  {first}")
    print(f"nothing changed:              {median(runs, lambda: nexus_oci(folder, 'build')):.2f} s (the issue allows 1.5)")
    version = median(runs, lambda: nexus_oci(folder, "--version"))
    print(f"nexus-oci --version:          {version * 1000:.0f} ms")
    main = folder / "images/engine/cmd/nexus-engine/main.go"
    main.write_text(main.read_text() + "\n// One more line.\n")
    verdicts = json.loads(nexus_oci(folder, "--json", "plan"))["verdicts"]
    states = [verdict["state"] for verdict in verdicts.values()]
    print(f"one line of the engine changed: {states.count('run')} of {len(states)} steps run")
    print(f"that build:                   {median(1, lambda: nexus_oci(folder, 'build')):.2f} s")


def bench_platforms(folder: Path) -> None:
    """The Go engine for either processor, each with nothing compiled before."""
    seconds = {}
    for platform in ("linux/amd64", "linux/arm64"):
        prune = ["docker", "builder", "prune", "--force", "--filter", "type=exec.cachemount"]
        subprocess.run(prune, check=True, capture_output=True)
        output = str(folder / platform.replace("/", "-"))
        seconds[platform] = median(
            1,
            lambda p=platform, o=output: nexus_oci(folder, "build", "-d", "container", "-p", p, "--no-cache", "-o", o),  # type: ignore[misc]
        )
    ratio = seconds["linux/arm64"] / seconds["linux/amd64"]
    handler = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()
    print(f"amd64 {seconds['linux/amd64']:.1f} s, arm64 {seconds['linux/arm64']:.1f} s: {ratio:.2f} x (allowed 1.3)")
    print(f"a binfmt handler for aarch64 is {'' if handler else 'not '}registered")


def bench_images(folder: Path, runs: int) -> None:
    """From the engine to finished layers beside skopeo: an all-new image, and one whose base is in the store already."""
    (folder / "images").mkdir(parents=True)
    (folder / "images/nexus.yaml").write_text(BIG_BASE)
    (folder / "images/container.yaml").write_text("distribution: container\nbase: big\n")
    (folder / "source/tree").mkdir(parents=True)
    shutil.copy("/bin/busybox" if Path("/bin/busybox").exists() else _static_program(folder), folder / "source/tree/tool")
    nexus_oci(folder, "lock", "big")
    _compare("base known", folder, runs, "known", lambda: _write_random(folder / "source/tree/data", 8))
    (folder / "images/container.yaml").write_text("distribution: container\nbase: static\n")
    _fill(folder / "source/tree/lib")
    _compare("all new", folder, runs, "new", lambda: _write_random(folder / "source/tree/data", 1))


def _compare(title: str, folder: Path, runs: int, kind: str, change: Callable[[], None]) -> None:
    """Both of them in turn, on the same image; what it cost, and the peak memory of the whole process."""
    ours: list[float] = []
    theirs: list[float] = []
    answer: dict[str, Any] = {}
    for turn in range(runs + 1):
        change()
        answer = _timed_image_step(folder, kind)
        seconds = _skopeo(folder / "skopeo", answer["tag"])
        subprocess.run(["docker", "image", "rm", "--force", answer["tag"]], check=True, capture_output=True)
        if turn:
            ours.append(answer["taken"])
            theirs.append(seconds)
    allowed = {"known": 0.4, "new": 1.0}[kind]
    mine, other = statistics.median(ours), statistics.median(theirs)
    ratio = f"skopeo {other:.2f} s, {mine / other:.2f} x (allowed {allowed})" if other else "skopeo is not installed"
    print(f"engine to store, {title}: {mine:.2f} s for {answer['size'] / 1e6:.0f} MB; {ratio}; peak {answer['peak']} MiB")


def _skopeo(target: Path, image: str) -> float:
    """Seconds that skopeo takes for the image; 0 where it is not installed."""
    if not shutil.which("skopeo"):
        return 0.0
    shutil.rmtree(target, ignore_errors=True)
    command = ["skopeo", "copy", "--quiet", f"docker-daemon:{image}", f"oci:{target}:1"]
    return median(1, lambda: subprocess.run(command, check=True))


def _write_random(path: Path, mebibytes: int) -> None:
    path.write_bytes(os.urandom(mebibytes << 20))


def _fill(folder: Path) -> None:
    """About 180 MB of what images are made of: programs, libraries and texts of this machine."""
    folder.mkdir()
    left = 180_000_000
    for source in sorted(Path("/usr").rglob("*")):
        if left > 0 and source.is_file() and not source.is_symlink() and 1 << 12 < source.stat().st_size < 1 << 24:
            left -= source.stat().st_size
            shutil.copy(source, folder / f"{left}-{source.name}")


def _static_program(folder: Path) -> Path:
    """A program that needs no library."""
    source, program = folder / "tool.c", folder / "tool"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", "-o", str(program), str(source)], check=True)
    return program


STEP = """
import json, os, shutil, sys, time
from pathlib import Path
from nexus_oci.cli.console import Console
from nexus_oci.cli.session import Session
from nexus_oci.oci.layer import Rewriting, store_layer
from nexus_oci.oci.store import Store
from nexus_oci.pipeline.building import Builder
from nexus_oci.pipeline.progress import Silent
from nexus_oci.pipeline.project import load_project
from nexus_oci.release.image import ImageLayer, store_image
root, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "new":
    shutil.rmtree(root / "dist", ignore_errors=True)
session = Session(Console(directory=root, as_json=False, log_format="plain", quiet=True, environment=os.environ))
project = load_project(session.settings(say=print))
builder = Builder(
    project=project, store=Store.create(root / "dist/oci"), engine=session.engine, progress=Silent()
)
step = next(step for step in project.plan.steps if step.kind == "image")
build = project.build(step.id)
builder.bases.ensure(build.base.step)
if kind == "known":
    builder.bases.layers(build.base)
with builder._target(step, build, "image") as tag, builder._target(step, build, "rootfs") as rootfs:
    image = session.engine().image(tag)
    begun = time.perf_counter()
    base = builder.bases.layers(build.base)
    with session.engine().export_folder(rootfs, "/rootfs") as stream:
        layer = store_layer(builder.store, stream, Rewriting(epoch=0), prefix="rootfs", base_links=base.links)
    own = ImageLayer(descriptor=layer.descriptor, diff_id=layer.diff_id, created_by="COPY rootfs")
    store_image(
        builder.store, platform=build.platform, config=image.config, layers=[*base.layers, own], labels={}, epoch=0
    )
    taken = time.perf_counter() - begun
    session.engine().tag(tag, "nexus-oci-bench:1")
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(json.dumps({"taken": taken, "size": image.size, "tag": "nexus-oci-bench:1", "peak": int(peak) >> 10}))
"""


def _timed_image_step(folder: Path, kind: str) -> dict[str, Any]:
    """Build, and time what comes after the engine's own work: reading out, normalising, compressing, storing."""
    command = [sys.executable, "-c", STEP, str(folder), kind]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Parse the arguments and run everything in a scratch folder that is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--skip-cold", action="store_true")
    parser.add_argument("--images-only", action="store_true", help="only from the engine to the store")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nexus-oci-bench-") as name:
        if not options.images_only:
            copy = project(Path(name) / "engine")
            bench_builds(copy, options.runs)
            if not options.skip_cold:
                bench_platforms(copy)
        bench_images(Path(name) / "big", options.runs)


if __name__ == "__main__":
    main()
