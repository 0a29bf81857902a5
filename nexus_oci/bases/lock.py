"""The lock file, `images/bases.lock`: JSON, sorted, one package a line, so that a new lock reads well as a diff."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nexus_oci.bases.values import BaseLock, LockedBase, LockedDebian, LockedImage, LockedPackage
from nexus_oci.errors import LockError, NexusError, VerificationError
from nexus_oci.oci.values import Digest

FORMAT = 1
MAX_LOCK_SIZE = 64 * 1024 * 1024
"""Bytes. The shipped lock has about a five-hundredth of it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*\Z")
_VERSION = re.compile(r"[A-Za-z0-9.+:~-]+\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FILENAME = re.compile(r"[A-Za-z0-9+][A-Za-z0-9._+:~%-]*(?:/[A-Za-z0-9+][A-Za-z0-9._+:~%-]*)*\.deb\Z")


def read_lock(path: Path) -> BaseLock:
    """Read the lock at `path`; raises `LockError` where it is missing, too large or not a lock."""
    try:
        if path.stat().st_size > MAX_LOCK_SIZE:
            raise LockError(f"{path} is too large to be a lock", why=f"more than {MAX_LOCK_SIZE} bytes are refused")
        return parse_lock(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise LockError(f"there is no lock at {path}", hint="run `nexus-oci lock` to make one") from error
    except OSError as error:
        raise LockError(f"the lock {path} cannot be read", why=error.strerror) from error


def parse_lock(data: bytes, origin: str) -> BaseLock:
    """Read a lock's bytes; `origin` is what messages call it. Raises `LockError` for anything that is no lock."""
    try:
        tree = json.loads(data)
        if tree["format"] != FORMAT:
            raise LockError(f"{origin} has format {tree['format']!r}", why=f"this version reads format {FORMAT}")
        return BaseLock(bases=MappingProxyType({str(k): _read_base(v) for k, v in tree["bases"].items()}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, VerificationError) as error:
        raise LockError(
            f"{origin} is not a lock of bases",
            why=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'malformed'}",
            hint="take the file from version control, or run `nexus-oci lock` to make it again",
        ) from error


def _read_base(data: Mapping[str, Any]) -> LockedBase:
    if "image" in data:
        return LockedImage(definition=Digest(data["definition"]), image=str(data["image"]), digest=Digest(data["digest"]))
    packages = {str(k): tuple(_read_package(entry) for entry in v) for k, v in data["packages"].items()}
    return LockedDebian(definition=Digest(data["definition"]), epoch=int(data["epoch"]), packages=MappingProxyType(packages))


def _read_package(data: Mapping[str, Any]) -> LockedPackage:
    """A package of the lock. The fields end in paths, URLs and apt's index, so their forms are checked."""
    package = LockedPackage(
        name=data["name"],
        version=data["version"],
        architecture=data["architecture"],
        filename=data["filename"],
        size=int(data["size"]),
        sha256=data["sha256"],
    )
    checks = (
        (_NAME, package.name),
        (_VERSION, package.version),
        (_NAME, package.architecture),
        (_FILENAME, package.filename),
        (_SHA256, package.sha256),
    )
    for form, value in checks:
        if not form.match(value):
            raise ValueError(f"{value!r} is not well-formed in the entry of {package.name!r}")
    return package


def format_lock(lock: BaseLock) -> bytes:
    """The lock's bytes: the same for the same content, whatever order it was put together in."""
    bases = ",\n".join(f"    {_json(name)}: {_format_base(lock.bases[name])}" for name in sorted(lock.bases))
    return f'{{\n  "format": {FORMAT},\n  "bases": {{\n{bases}\n  }}\n}}\n'.encode()


def _format_base(base: LockedBase) -> str:
    if isinstance(base, LockedImage):
        fields = {"definition": str(base.definition), "image": base.image, "digest": str(base.digest)}
        return "{\n" + ",\n".join(f"      {_json(k)}: {_json(v)}" for k, v in fields.items()) + "\n    }"
    architectures = ",\n".join(
        f"        {_json(architecture)}: [\n"
        + ",\n".join(f"          {_format_package(package)}" for package in sorted(base.packages[architecture]))
        + "\n        ]"
        for architecture in sorted(base.packages)
    )
    return (
        f'{{\n      "definition": {_json(str(base.definition))},\n      "epoch": {base.epoch},\n'
        f'      "packages": {{\n{architectures}\n      }}\n    }}'
    )


def _format_package(package: LockedPackage) -> str:
    return json.dumps(
        {
            "name": package.name,
            "version": package.version,
            "architecture": package.architecture,
            "filename": package.filename,
            "size": package.size,
            "sha256": package.sha256,
        }
    )


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def write_lock(path: Path, lock: BaseLock) -> None:
    """Write the lock to `path` in one step: a reader finds the old file or the new one. Raises `NexusError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                os.fchmod(file.fileno(), 0o644)
                file.write(format_lock(lock))
                file.flush()
                os.fsync(file.fileno())
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise NexusError(f"the lock {path} cannot be written", why=error.strerror) from error
