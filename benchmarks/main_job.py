"""Measures the main job on this machine: builds that have nothing to do, builds for another processor, and images on known bases.

    python benchmarks/main_job.py [--runs 3] [--skip-cold]

A copy of the reference engine is built in a scratch folder. `--skip-cold` leaves out the comparison of processors, for which
the engine's caches of compiled Go are emptied. From the engine to the store for an all-new image: benchmarks/layers.py.
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


def bench_known_base(folder: Path, runs: int) -> None:
    """An image whose base of 170 MB and more is in the store already: reading the rest out, beside skopeo."""
    (folder / "images").mkdir(parents=True)
    (folder / "images/nexus.yaml").write_text(BIG_BASE)
    (folder / "images/container.yaml").write_text("distribution: container\nbase: big\n")
    (folder / "source/tree").mkdir(parents=True)
    nexus_oci(folder, "lock", "big")
    times: list[float] = []
    for turn in range(runs + 1):
        shutil.copy("/bin/true", folder / "source/tree/tool")
        (folder / "source/tree/data").write_bytes(os.urandom(8 << 20))
        taken, image = _timed_image_step(folder)
        if turn:
            times.append(taken)
    ours = statistics.median(times)
    print(f"engine to store, base known:  {ours:.2f} s for an image of {image['size'] / 1e6:.0f} MB")
    if not shutil.which("skopeo"):
        print("skopeo is not installed: not compared with it")
        return

    def skopeo() -> None:
        target = folder / "skopeo"
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["skopeo", "copy", "--quiet", f"docker-daemon:{image['tag']}", f"oci:{target}:1"], check=True)

    try:
        theirs = median(runs, skopeo)
    finally:
        subprocess.run(["docker", "image", "rm", "--force", image["tag"]], check=True, capture_output=True)
    print(f"skopeo, the same image:       {theirs:.2f} s; ours is {ours / theirs:.2f} x (allowed 0.4)")


def _timed_image_step(folder: Path) -> tuple[float, dict[str, Any]]:
    """Build, and time what comes after the engine's own work: reading out, normalising, compressing, storing."""
    program = """
import json, os, sys, time
from pathlib import Path
from nexus_oci.cli.console import Console
from nexus_oci.cli.session import Session
from nexus_oci.oci.store import Store
from nexus_oci.pipeline.building import Builder
from nexus_oci.pipeline.progress import Silent
from nexus_oci.pipeline.project import load_project
from nexus_oci.docker_engine import BuildRequest
root = Path(sys.argv[1])
session = Session(Console(directory=root, as_json=False, log_format="plain", quiet=True, environment=os.environ))
project = load_project(session.settings(say=print))
store = Store.create(root / "dist/oci")
builder = Builder(project=project, store=store, engine=session.engine, progress=Silent())
step = next(step for step in project.plan.steps if step.kind == "image")
build = project.build(step.id)
builder.bases.ensure(build.base.step)
base = builder.bases.layers(build.base)
with builder._target(step, build, "image") as tag, builder._target(step, build, "rootfs"):
    image = session.engine().image(tag)
    begun = time.perf_counter()
    builder._layers(step, build, tag, image, base)
    taken = time.perf_counter() - begun
    session.engine().tag(tag, "nexus-oci-bench:known")
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(json.dumps({"taken": taken, "size": image.size, "tag": "nexus-oci-bench:known", "peak": int(peak) >> 10}))
"""
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["taken"], answer


def main() -> None:
    """Parse the arguments and run everything in a scratch folder that is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--skip-cold", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nexus-oci-bench-") as name:
        copy = project(Path(name) / "engine")
        bench_builds(copy, options.runs)
        if not options.skip_cold:
            bench_platforms(copy)
        bench_known_base(Path(name) / "big", options.runs)


if __name__ == "__main__":
    main()
