"""The program itself, as one file for a site that has nothing but a Python: a zip application with all it needs.

Compiled modules cannot be imported out of a zip, so the file unpacks itself, once, into a folder of the user's cache that is
named after its content, and runs from there. It is made from what is installed here, and so is for the same Python version,
operating system and processor; it says so where it is started by another. The same installation gives the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import nexus_oci
from nexus_oci.bundle.inventory import Program
from nexus_oci.errors import NexusError, NotFoundError
from nexus_oci.oci.values import Digest
from nexus_oci.pipeline.bundling import Carried
from nexus_oci.pipeline.project import default_folder

NAME: Final = "nexus-oci.pyz"
"""The entry of a bundle that is the program: `tar -xf BUNDLE nexus-oci.pyz`, `python3 nexus-oci.pyz load …`."""
_SELF: Final = "nexus-oci"
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_DEFAULTS: Final = ("images", "dockerfiles", "helm", "policies")
_REQUIRED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_START: Final = """\
import hashlib, os, pathlib, shutil, sys, tempfile, zipfile

WANTED = {wanted!r}
HERE = "{{}}.{{}}".format(*sys.version_info[:2])
if (HERE, sys.platform, os.uname().machine) != WANTED:
    sys.exit("this nexus-oci is for Python {{}} on {{}} {{}}; started by Python {{}} on {{}} {{}}".format(
        *WANTED, HERE, sys.platform, os.uname().machine))
cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "nexus-oci" / "program"
place = cache / {key!r}
if not place.is_dir():
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = pathlib.Path(tempfile.mkdtemp(dir=cache))
    try:
        with zipfile.ZipFile(sys.argv[0]) as archive:
            archive.extractall(fresh, [name for name in archive.namelist() if name.startswith("site/")])
        try:
            fresh.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
sys.path.insert(0, str(place / "site"))
from nexus_oci.cli.main import main
main()
"""


def carry_program(folder: Path, *, with_parity: bool) -> Carried:
    """Write the file into `folder`; raises `NexusError` where what is installed here cannot be carried.

    zfec, which is under the GPL, comes along only `with_parity`: without it the other side cannot repair.
    """
    distributions = _closure([_SELF, *(["zfec"] if with_parity else [])])
    files = dict(_own_files())
    for distribution in distributions:
        files |= dict(_files(distribution))
    wanted = (f"{sys.version_info[0]}.{sys.version_info[1]}", sys.platform, platform.machine())
    key = hashlib.sha256()
    for name in sorted(files):
        key.update(f"{name}\0{files[name].stat().st_size}\0".encode() + _digest(files[name]))
    path = folder / NAME
    with path.open("wb") as out:
        out.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            _add(archive, "__main__.py", _START.format(wanted=wanted, key=key.hexdigest()[:32]).encode())
            for name in sorted(files):
                _add(archive, f"site/{name}", files[name].read_bytes())
    program = Program(name=NAME, python=wanted[0], platform=sysconfig.get_platform())
    with path.open("rb") as file:
        digest = Digest("sha256:" + hashlib.file_digest(file, "sha256").hexdigest())
    return Carried(path=path, digest=digest, size=path.stat().st_size, program=program)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _closure(names: list[str]) -> list[importlib.metadata.Distribution]:
    """The distributions of those names and all that they require here, by name.

    What is required under a condition, such as another system, comes along where it is installed; what extras require does not.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    pending = [(name, True) for name in names]
    while pending:
        name, needed = pending.pop()
        if _normal(name) in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            if not needed:
                continue
            hint = "pip install it, or leave --include-program out"
            raise NotFoundError(f"{name} is not installed here, and the program needs it", hint=hint) from error
        found[_normal(name)] = distribution
        for requirement in distribution.requires or ():
            match = _REQUIRED.match(requirement)
            condition = requirement.partition(";")[2]
            if match and "extra" not in condition:
                pending.append((match[1], not condition))
    return [found[name] for name in sorted(found) if name != _SELF]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _own_files() -> Iterator[tuple[str, Path]]:
    """The program's own modules and defaults, wherever they were installed from."""
    package = Path(nexus_oci.__file__).parent
    for path in _below(package):
        yield f"nexus_oci/{path.relative_to(package).as_posix()}", path
    defaults = default_folder()
    for name in _DEFAULTS:
        for path in _below(defaults / name):
            yield f"nexus_oci/defaults/{path.relative_to(defaults).as_posix()}", path


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts:
            yield path


def _files(distribution: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """What a distribution put beside the others; programs and what pip wrote down of the installation stay."""
    if distribution.files is None:
        raise NexusError(f"{distribution.name} does not list its files", why="it was installed in a way that leaves no list")
    for file in distribution.files:
        parts = file.parts
        if ".." in parts or "__pycache__" in parts or file.is_absolute() or file.suffix == ".pth":
            continue
        if file.parent.suffix == ".dist-info" and file.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            continue
        path = Path(str(distribution.locate_file(file)))
        if path.is_file():
            yield file.as_posix(), path
