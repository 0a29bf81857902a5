"""Installs Python requirements for another machine's platform without running anything of that platform.

Runs inside the build stage, with the build platform's interpreter. Wheels of the target are downloaded by pip; a requirement that
has no wheel is built here, and taken if what comes out is pure Python. Anything else is refused by name.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from pathlib import Path

GLIBC_MINOR = 41
"""The runtime bases carry glibc 2.41: wheels for it and everything older fit."""


def pip(*arguments: str) -> int:
    """Run pip quietly; its own messages go to the log."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603


def target_tags(machine: str) -> list[str]:
    """pip's options that choose wheels for `machine` (x86_64, aarch64) and this interpreter's version."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 4, -1)]
    platforms += [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    tags = ["--only-binary=:all:", "--python-version", version, "--implementation", "cp"]
    tags += ["--abi", f"cp{version}", "--abi", "abi3", "--abi", "none"]
    return [*tags, *(option for name in platforms for option in ("--platform", name))]


def collect(wanted: list[str], machine: str, wheels: Path, dependencies: bool) -> None:
    """Fill `wheels` with wheels for the target; exits with a message where one cannot be had."""
    tags = target_tags(machine)
    extra = [] if dependencies else ["--no-deps"]
    if pip("download", "--quiet", *tags, *extra, "--dest", str(wheels), *wanted) == 0:
        return
    print("some requirements have no wheel; building those here", file=sys.stderr)
    shutil.rmtree(wheels, ignore_errors=True)
    native = wheels.with_name("native-wheels")
    if pip("wheel", "--quiet", *extra, "--wheel-dir", str(native), *wanted) != 0:
        sys.exit("pip could not build or download the requirements; its messages are above")
    wheels.mkdir()
    for wheel in sorted(native.iterdir()):
        name, version, *_ = wheel.name.split("-")
        if wheel.name.endswith("-none-any.whl") or machine == platform.machine():
            shutil.copy(wheel, wheels)
        elif pip("download", "--quiet", "--no-deps", *tags, "--dest", str(wheels), f"{name}=={version}") != 0:
            sys.exit(
                f"{name} {version} has no wheel for linux on {machine} and is not pure Python: it would need a compiler "
                f"for {machine}. Pin a version that has one, or leave that platform out of the definition."
            )


def build_project(folder: Path) -> list[str]:
    """Build the project's own wheel; returns its path as a requirement."""
    built = Path("/tmp/project-wheel")  # noqa: S108  inside a build stage of its own
    if pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(folder)) != 0:
        sys.exit("the project itself cannot be built into a wheel; pip's messages are above")
    return [str(wheel) for wheel in sorted(built.iterdir())]


def main() -> None:
    """Parse, collect, install: with a requirements file the project brings no dependencies of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requirements", type=Path)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--target", type=Path, required=True)
    options = parser.parse_args()
    found: list[str] = []
    if options.requirements:
        wheels = Path("/tmp/wheels")  # noqa: S108
        collect(["-r", str(options.requirements)], options.machine, wheels, dependencies=True)
        found += [str(wheel) for wheel in sorted(wheels.iterdir())]
    if options.project:
        wheels = Path("/tmp/project-wheels")  # noqa: S108
        collect(build_project(options.project), options.machine, wheels, dependencies=not options.requirements)
        found += [str(wheel) for wheel in sorted(wheels.iterdir())]
    options.target.mkdir(parents=True, exist_ok=True)
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--no-warn-script-location"]
    if found and pip(*install, *target_tags(options.machine), "--target", str(options.target), *found) != 0:
        sys.exit("pip could not install the wheels that it had collected; its messages are above")


if __name__ == "__main__":
    main()
