"""Verify: files beside a store, and single files, by their detached signatures.

1. The signature is read: base64, in `FILE.sig`.
2. The file is read, once, and what was read is what is judged.
3. A key that is trusted, and valid now, has to have made the signature over these bytes.
4. Of a list of checksums that is good, every file that it names is hashed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nexus_oci.errors import NexusError, NotFoundError, UsageError, VerificationError
from nexus_oci.trust.cosign import decoded
from nexus_oci.trust.verification import Trust, TrustedKey

SUFFIX = ".sig"
SUMS = "SHA256SUMS"
_LARGEST = 1 << 31
_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)\Z")
_UNESCAPED = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


@dataclass(frozen=True, kw_only=True)
class VerifiedFile:
    """A file that a trusted key signed; `data` is what was read and judged. For a file that a list names, it is the list."""

    path: Path
    key: TrustedKey
    data: bytes


def verify_file(path: Path, trust: Trust, now: datetime, signature: Path | None = None) -> VerifiedFile:
    """Judge a file by the signature beside it, or by another that is named, or by the signed `SHA256SUMS` above it that lists it.

    Raises `VerificationError` where no trusted key stands for these bytes.
    """
    beside = signature or path.with_name(path.name + SUFFIX)
    if signature is None and not beside.exists():
        found = _listed(path, trust, now)
        if found is not None:
            return found
        raise VerificationError(
            f"{path} is not signed",
            why=f"there is no {beside.name}, and no {SUMS} above it lists it",
            hint="name its signature with --signature",
        )
    try:
        made = decoded(_read(beside), f"the signature {beside}")
    except NotFoundError:
        raise VerificationError(f"{path} is not signed", why=f"there is no {beside}") from None
    data = _read(path)
    makers = [key for key in trust.usable() if key.key.verify(made, data)]
    if not makers:
        raise VerificationError(
            f"the signature of {path} is not good",
            why="no key that is trusted here made it over these bytes: one of them was changed, or another key signed",
        )
    refusals = {key: key.refusal((path.name,), None, now) for key in makers}
    for key, refusal in refusals.items():
        if refusal is None:
            return VerifiedFile(path=path, key=key, data=data)
    raise VerificationError(f"the signature of {path} does not count", why="; ".join(filter(None, refusals.values())))


def _listed(path: Path, trust: Trust, now: datetime) -> VerifiedFile | None:
    """The signed list above a file that names it, judged, the file being what it says; None where there is no such list."""
    whole = path.absolute()
    for folder in whole.parents:
        if not (folder / SUMS).is_file() or folder / SUMS == whole:
            continue
        name = whole.relative_to(folder).as_posix()
        sums = verify_file(folder / SUMS, trust, now, folder / f"{SUMS}{SUFFIX}")
        digests = {listed: digest for listed, digest in _lines(sums.data) if listed}
        if name not in digests:
            return None
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digests[name]:
                raise VerificationError(f"{path} is not what {folder / SUMS} says", hint="do not use it")
        return sums
    return None


def _lines(sums: bytes) -> Iterator[tuple[str | None, str]]:
    """The names in a list of checksums (sha256sum(1)), each with its digest; None, and the line, where that is no checksum."""
    for line in sums.decode(errors="surrogateescape").splitlines():
        found = _LINE.match(line)
        if found is None:
            yield None, line
        else:
            name = re.sub(r"\\\\|\\n|\\r", lambda part: _UNESCAPED[part[0]], found[3]) if found[1] else found[3]
            yield name, found[2]


def sum_faults(folder: Path, sums: bytes) -> Iterator[str]:
    """What is wrong with the files below `folder` that a list of checksums names; every one is hashed."""
    for name, digest in _lines(sums):
        if name is None:
            yield f"{folder / SUMS} has a line that is no checksum: {digest[:100]!r}"
        elif name.startswith("/") or ".." in name.split("/"):
            yield f"{folder / SUMS} names {name!r}, which is not below it"
        else:
            try:
                with (folder / name).open("rb") as file:
                    good = hashlib.file_digest(file, "sha256").hexdigest() == digest
            except OSError as error:
                yield f"{folder / name} cannot be read: {error.strerror or error}"
                continue
            if not good:
                yield f"{folder / name} is not what SHA256SUMS says"


def sums_verified(
    folder: Path, trust: Trust, now: datetime, *, hash_files: bool
) -> tuple[list[str], list[str], TrustedKey | None]:
    """The list of files beside a store, judged, and each file of it: faults, notes of what was not checked, and who signed it."""
    path = folder / SUMS
    if not path.exists():
        return [], [], None
    try:
        verified = verify_file(path, trust, now)
    except NexusError as error:
        return [f"{error.what}: {error.why}" if error.why else error.what], [], None
    if not hash_files:
        return [], [f"the files that {path} lists were not read"], verified.key
    return list(sum_faults(folder, verified.data)), [], verified.key


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is too large to be verified in memory", why=f"it has more than {_LARGEST} bytes")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {path}") from error
    except OSError as error:
        raise NexusError(f"{path} cannot be read", why=error.strerror or str(error)) from error
