"""Measures the packing of Linux packages against bare calls of nfpm for the same packages, on this machine, in one run.

    python benchmarks/linux_packages.py [--runs 3]

The reference engine's payload is built before, for both platforms; each round changes a word that every package repeats, so that
all are packed anew and nothing is compiled. The bare calls pack the same files with the same compression, one after another, as
a release script does, from a folder where they lie ready.
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
from pathlib import Path
from typing import Any

import yaml
from main_job import ROOT, nexus_oci, project

PACKAGERS = ("deb", "rpm", "apk", "archlinux", "ipk")
PLATFORMS = ("linux/amd64", "linux/arm64")
NFPM = Path(sys.executable).parent / "nfpm"


def build(folder: Path) -> list[dict[str, Any]]:
    """Build the runtime's Linux packages; the outputs."""
    wanted = [word for name in PACKAGERS for word in ("-f", name)]
    outputs: list[dict[str, Any]] = json.loads(nexus_oci(folder, "--json", "build", "-d", "runtime", *wanted))["outputs"]
    return outputs


def bare_configurations(folder: Path, outputs: list[dict[str, Any]]) -> list[tuple[str, Path]]:
    """A folder of files and a configuration for each package that was built, with the package's own name and compression."""
    found = []
    for output in outputs:
        if output["format"] not in PACKAGERS:
            continue
        place = folder / "bare" / output["platform"].replace("/", "-") / output["format"]
        tree = place / "tree"
        tree.mkdir(parents=True, exist_ok=True)
        deb = next(
            item for item in outputs if item["format"] == "deb" and item["platform"] == output["platform"] and _is_main(item)
        )
        if _is_main(output):
            subprocess.run(["dpkg-deb", "-x", str(folder / "dist" / deb["path"]), str(tree)], check=True)
        else:
            tree = place / "meta"
            (tree / "usr/share/doc/meta").mkdir(parents=True)
        configuration = {
            "name": Path(output["path"]).name.split("_")[0], "arch": output["platform"].partition("/")[2], "version": "1.0.0",
            "maintainer": "A Maintainer <a@nexus.example>", "description": "The same files.", "license": "Apache-2.0",
            "contents": [{"src": str(tree), "dst": "/", "type": "tree"}], "mtime": "2026-01-01T00:00:00Z",
            "deb": {"compression": "xz"}, "rpm": {"compression": _rpm_compression(folder / "dist" / output["path"])},
        }  # fmt: skip
        file = place / f"{tree.name}.yaml"
        file.write_text(yaml.safe_dump(configuration))
        found.append((output["format"], file))
    return found


def _is_main(output: dict[str, Any]) -> bool:
    return "runtime" not in Path(output["path"]).name


def _rpm_compression(package: Path) -> str:
    """What the rpm's payload is compressed with, by its own word in the header."""
    head = package.read_bytes()[:200_000] if package.suffix == ".rpm" else b""
    return next((name for name in ("zstd", "xz", "lzma") if f"\0{name}\0".encode() in head), "gzip")


def main() -> None:
    """Print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="nexus-oci-bench-") as name:
        folder = project(Path(name))
        shutil.copytree(ROOT / "policies", folder / "policies")
        definition = folder / "images/runtime.yaml"
        text = definition.read_text()
        outputs = build(folder)
        calls = bare_configurations(folder, outputs)
        ours, bare = [], []
        for run in range(runs):
            definition.write_text(text.replace("section: net", f"section: net{run}{os.getpid()}"))
            begun = time.perf_counter()
            build(folder)
            ours.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            for packager, configuration in calls:
                target = configuration.with_suffix(f".{packager}")
                command = [str(NFPM), "package", "-f", str(configuration), "-p", packager, "-t", str(target)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            bare.append(time.perf_counter() - begun)
        mine, theirs = statistics.median(ours), statistics.median(bare)
        print(f"{len(calls)} packages, both platforms: nexus-oci {mine:.2f} s, bare nfpm {theirs:.2f} s")
        print(f"ratio: {mine / theirs:.2f} x (the issue allows 1.5 x)")


if __name__ == "__main__":
    main()
