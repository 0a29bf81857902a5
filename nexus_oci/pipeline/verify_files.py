"""Verify: files beside a store, and single files, by their detached signatures.

1. The signature is read: base64, in `FILE.sig`.
2. The file is read, once, and what was read is what is judged.
3. A key that is trusted, and valid now, has to have made the signature over these bytes.
4. Of a list of checksums that is good, every file that it names is hashed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nexus_oci.errors import NexusError, NotFoundError, UsageError, VerificationError
from nexus_oci.trust.cosign import decoded
from nexus_oci.trust.verification import Trust, TrustedKey

SUFFIX = ".sig"
_LARGEST = 1 << 31
_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)\Z")
_UNESCAPED = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


@dataclass(frozen=True, kw_only=True)
class VerifiedFile:
    """A file that a trusted key signed; `data` is what was read and judged."""

    path: Path
    key: TrustedKey
    data: bytes


def verify_file(path: Path, trust: Trust, now: datetime, signature: Path | None = None) -> VerifiedFile:
    """Judge a file by the signature beside it, or by another; raises `VerificationError` where no trusted key made it."""
    beside = signature or path.with_name(path.name + SUFFIX)
    try:
        made = decoded(_read(beside), f"the signature {beside}")
    except NotFoundError:
        raise VerificationError(
            f"{path} is not signed", why=f"there is no {beside}", hint="name its signature with --signature"
        ) from None
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


def sum_faults(folder: Path, sums: bytes, on_file: Callable[[Path], None]) -> Iterator[str]:
    """What is wrong with the files that a list of checksums names (sha256sum(1)); `on_file` hears of each that was hashed."""
    for line in sums.decode(errors="surrogateescape").splitlines():
        found = _LINE.match(line)
        if found is None:
            yield f"{folder}/SHA256SUMS has a line that is no checksum: {line[:100]!r}"
            continue
        name = re.sub(r"\\\\|\\n|\\r", lambda part: _UNESCAPED[part[0]], found[3]) if found[1] else found[3]
        path = folder / name
        if name.startswith("/") or ".." in name.split("/"):
            yield f"{folder}/SHA256SUMS names {name!r}, which is not below it"
            continue
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            yield f"{path} cannot be read: {error.strerror or error}"
            continue
        on_file(path)
        if digest != found[2]:
            yield f"{path} is not what SHA256SUMS says"


def sums_verified(
    folder: Path, trust: Trust, now: datetime, *, hash_files: bool
) -> tuple[list[str], list[str], TrustedKey | None]:
    """The list of files beside a store, judged, and each file of it: faults, notes of what was not checked, and who signed it."""
    path = folder / "SHA256SUMS"
    if not path.exists():
        return [], [], None
    try:
        verified = verify_file(path, trust, now)
    except NexusError as error:
        return [f"{error.what}: {error.why}" if error.why else error.what], [], None
    if not hash_files:
        return [], [f"the files that {path} lists were not read"], verified.key
    return list(sum_faults(folder, verified.data, lambda _: None)), [], verified.key


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is too large to be verified in memory", why=f"it has more than {_LARGEST} bytes")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {path}") from error
    except OSError as error:
        raise NexusError(f"{path} cannot be read", why=error.strerror or str(error)) from error
