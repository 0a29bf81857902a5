"""Installs Python requirements for another machine's platform without running anything of that platform.

Runs inside the build stage, with the build platform's interpreter. Wheels of the target are downloaded by pip; a requirement that
has no wheel is built here, and taken if nothing in what comes out is compiled. Anything else is refused by name.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WORK = Path("/tmp/nexus")
ELF = b"\x7fELF"
ADVICE = "Pin a version that has a wheel, or leave that platform out of the definition."
NO_COMPILER = f"has no wheel for linux on {{}} and cannot be built here, where there is no compiler: see above. {ADVICE}"
# The process that resolves and downloads must believe that it is on the target, or `platform_machine` in a requirement's marker
# would mean the build platform. The processes that pip starts to build a wheel are left alone.
PIP = "import platform, runpy; platform.machine = lambda: {!r}; runpy.run_module('pip', run_name='__main__', alter_sys=True)"


@dataclass(frozen=True)
class Pip:
    """pip of the build platform, choosing for another machine (x86_64, aarch64)."""

    machine: str

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pip; what it says is kept, to be shown where it matters."""
        command = [sys.executable, "-c", PIP.format(self.machine), "--disable-pip-version-check", "--no-input", "--no-color"]
        return subprocess.run([*command, *arguments], check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    @property
    def tags(self) -> list[str]:
        """Options that choose the target's wheels: for this interpreter's version, and for this C library or an older one."""
        newest = int(os.confstr("CS_GNU_LIBC_VERSION").rpartition(".")[2])  # type: ignore[union-attr]
        platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in range(newest, 4, -1)]
        platforms += [f"{name}_{self.machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
        version = f"{sys.version_info.major}{sys.version_info.minor}"
        options = ["--python-version", version, "--implementation", "cp"]
        options += ["--abi", f"cp{version}", "--abi", "abi3", "--abi", "none"]
        return [*options, *(option for name in platforms for option in ("--platform", name))]


def stop(message: str, log: str = "") -> None:
    """End with pip's own words, and after them the message."""
    sys.exit("\n".join([*_telling(log), message]))


def _telling(log: str) -> list[str]:
    """The end of pip's output, without its advice about itself."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith("[notice]")]
    return lines[-30:]


def collect(pip: Pip, wanted: list[str], hashed: bool, wheels: Path) -> None:
    """Fill `wheels` with a wheel for everything that `wanted` needs on the target; exits with a message where there is none."""
    wheels.mkdir(parents=True)
    if pip("download", "--quiet", "--only-binary=:all:", *pip.tags, "--dest", str(wheels), *wanted).returncode == 0:
        return
    print("not everything has a wheel; what has none is built here", file=sys.stderr)
    shutil.rmtree(wheels)
    wheels.mkdir()
    report = WORK / f"{wheels.name}.json"
    chosen = pip("install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report), *wanted)
    if chosen.returncode:
        building = "subprocess-exited-with-error" in chosen.stdout
        message = f"a requirement {NO_COMPILER.format(pip.machine)}" if building else "pip refuses the requirements: see above"
        stop(message, chosen.stdout)
    # A file with hashes names everything already, and only pip, given the file, checks what it downloads by them.
    pins = wanted if hashed else list(_pins(json.loads(report.read_text())))
    found = pip("download", "--quiet", "--no-deps", *pip.tags, "--dest", str(wheels), *pins)
    if found.returncode:
        missing = re.search(r"No matching distribution found for (\S+)", found.stdout)
        what = f"{missing[1]} exists, but not for linux on {pip.machine}" if missing else "pip cannot download the requirements"
        stop(f"{what}: see above. {ADVICE}", found.stdout)
    for source in sorted(path for path in wheels.iterdir() if path.suffix != ".whl"):
        build(pip, source, wheels)
        source.unlink()


def _pins(report: dict[str, list[dict[str, object]]]) -> Iterable[str]:
    """What pip chose (its installation report, version 1), as requirements that leave no choice."""
    for item in report["install"]:
        metadata, origin = item["metadata"], item["download_info"]
        assert isinstance(metadata, dict)
        assert isinstance(origin, dict)
        yield f"{metadata['name']} @ {origin['url']}" if item["is_direct"] else f"{metadata['name']}=={metadata['version']}"


def build(pip: Pip, source: Path, wheels: Path) -> None:
    """Build a wheel from a source archive or folder; one that is compiled for the build platform serves only that platform."""
    built = WORK / "built" / source.name
    done = pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(source))
    label = source.name if source.suffix else "the project itself"
    if done.returncode:
        stop(f"{label} {NO_COMPILER.format(pip.machine)}", done.stdout)
    for wheel in built.iterdir():
        name, version, *_ = wheel.name.split("-")
        if not is_compiled(wheel):
            # Some are marked as compiled because they could have been.
            wheel.rename(wheels / f"{name}-{version}-py3-none-any.whl")
        elif pip.machine == platform.machine():
            wheel.rename(wheels / wheel.name)
        else:
            why = f"has no wheel for linux on {pip.machine} and is not pure Python: it needs a compiler"
            stop(f"{name} {version} {why}. {ADVICE}")


def is_compiled(wheel: Path) -> bool:
    """Whether anything in a wheel is a program or library for one kind of processor."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                if member.read(4) == ELF:
                    return True
    return False


def python_version(version: str) -> str:
    """A semantic version as Python writes it (PEP 440), for projects that ask git; what that cannot say is a local label."""
    match = re.fullmatch(r"(\d+\.\d+\.\d+)(?:-(a|alpha|b|beta|rc|dev)\.?(\d+))?(?:\+([\w.-]+))?", version)
    if match is None:
        number, _, rest = version.partition("-")
        return f"{number}+{re.sub(r'[^A-Za-z0-9]+', '.', rest).strip('.')}"
    kind = {"alpha": "a", "beta": "b", "dev": ".dev"}.get(match[2], match[2])
    local = re.sub(r"[^A-Za-z0-9]+", ".", match[4] or "")
    return match[1] + (f"{kind}{match[3]}" if kind else "") + (f"+{local}" if local else "")


def install(pip: Pip, wheels: list[Path], home: Path) -> None:
    """Unpack the wheels as a user's site of `home`, where PYTHONUSERBASE points: its programs in bin, its modules in lib."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    target = home / "lib" / version / "site-packages"
    target.mkdir(parents=True)
    if not wheels:
        return
    # By name and not by path: pip would note the path, which is this stage's own, beside every package.
    named = ["{}=={}".format(*wheel.name.split("-")[:2]) for wheel in sorted(wheels)]
    places = [option for folder in sorted({wheel.parent for wheel in wheels}) for option in ("--find-links", str(folder))]
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--no-warn-script-location", "--only-binary=:all:"]
    done = pip("install", *options, *pip.tags, *places, "--target", str(target), *named)
    if done.returncode:
        stop("pip could not install the wheels that it had collected: see above", done.stdout)
    if (target / "bin").is_dir():
        (target / "bin").rename(home / "bin")


def main() -> None:
    """Parse, collect, install: with a requirements file the project brings no dependencies of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requirements", type=Path)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--version", default="0")
    parser.add_argument("--machine", required=True)
    parser.add_argument("--home", type=Path, required=True)
    options = parser.parse_args()
    pip = Pip(options.machine)
    wheels: list[Path] = []
    if options.requirements:
        files = options.requirements.parent.rglob("*")
        hashed = any("--hash" in file.read_text(errors="replace") for file in files if file.is_file())
        collect(pip, ["-r", str(options.requirements)], hashed, WORK / "wheels")
        wheels += (WORK / "wheels").iterdir()
    if options.project:
        version = python_version(options.version)
        for name in ("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "POETRY_DYNAMIC_VERSIONING_BYPASS"):
            os.environ.setdefault(name, version)
        own = WORK / "project"
        own.mkdir(parents=True)
        build(pip, options.project, own)
        if options.requirements:
            wheels += own.iterdir()
        else:
            collect(pip, [str(wheel) for wheel in own.iterdir()], False, WORK / "project-wheels")
            wheels += (WORK / "project-wheels").iterdir()
    install(pip, wheels, options.home)


if __name__ == "__main__":
    main()
