"""Verify: files beside a store, and single files, by their detached signatures.

1. The signature is read: base64, in `FILE.sig`; or of OpenPGP, in `FILE.asc`; or, of a chart, in its provenance file `FILE.prov`.
2. The file is read, once, and what was read is what is judged.
3. A key that is trusted, and valid now, has to have made the signature over these bytes; a certificate, where it is OpenPGP's.
4. A file whose digest is revoked is refused.
5. Of a list of checksums that is good, every file that it names is hashed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nexus_oci.chart.provenance import SUFFIX as PROVENANCE
from nexus_oci.errors import NexusError, NotFoundError, UsageError, VerificationError
from nexus_oci.oci.values import Digest, digest_of
from nexus_oci.pipeline.verify_openpgp import check_said, judge_detached, judge_provenance
from nexus_oci.trust.cosign import decoded
from nexus_oci.trust.openpgp_verification import SUFFIX as OPENPGP
from nexus_oci.trust.verification import Trust, TrustedCertificate, TrustedKey

SUFFIX = ".sig"
_ARMOR = b"-----BEGIN PGP "
_CLEAR = _ARMOR + b"SIGNED MESSAGE"
SUMS = "SHA256SUMS"
_LARGEST = 1 << 31
_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)\Z")
_UNESCAPED = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


@dataclass(frozen=True, kw_only=True)
class VerifiedFile:
    """A file that a trusted key signed; `data` is what was read and judged. For a file that a list names, it is the list."""

    path: Path
    key: TrustedKey | TrustedCertificate
    data: bytes


def verify_file(path: Path, trust: Trust, now: datetime, signature: Path | None = None) -> VerifiedFile:
    """Judge a file by the signature beside it, or by another that is named, or by the signed `SHA256SUMS` above it that lists it.

    Raises `VerificationError` where no trusted key stands for these bytes.
    """
    if signature is None and path.suffix in (SUFFIX, OPENPGP, PROVENANCE) and path.with_suffix("").is_file():
        path, signature = path.with_suffix(""), path
    wanted = _suffixes(trust)
    beside = signature or next((place for name in wanted if (place := path.with_name(path.name + name)).exists()), None)
    if beside is None:
        found = _listed(path, trust, now)
        if found is not None:
            return found
        raise VerificationError(
            f"{path} is not signed",
            why=f"there is no {' or '.join(path.name + name for name in wanted)}, and no {SUMS} above it lists it",
            hint="name its signature with --signature",
        )
    try:
        made = _read(beside)
    except NotFoundError:
        raise VerificationError(f"{path} is not signed", why=f"there is no {beside}") from None
    data = _read(path)
    _refuse_revoked(path, digest_of(data), trust)
    if beside.suffix == SUFFIX or not made.lstrip().startswith(_ARMOR):
        return _by_key(path, decoded(made, f"the signature {beside}"), data, trust, now)
    return _by_certificate(path, made, data, trust, now)


def _refuse_revoked(path: Path, digest: Digest, trust: Trust) -> None:
    if digest in trust.revoked:
        raise VerificationError(f"{path} is revoked", why=f"{digest} is on the list of what is", hint="do not use it")


def _suffixes(trust: Trust) -> tuple[str, ...]:
    """How the files end in which a signature may be that the trust can judge."""
    plain = trust.keys or not (trust.certificates or trust.authorities or trust.identities)
    return (*([SUFFIX] if plain else []), *([OPENPGP, PROVENANCE] if trust.certificates else []))


def _by_certificate(path: Path, made: bytes, data: bytes, trust: Trust, now: datetime) -> VerifiedFile:
    """Judge by OpenPGP: a detached signature, or a chart's provenance file."""
    try:
        if made.lstrip().startswith(_CLEAR):
            said, certificate = judge_provenance(made, trust, (path.name,), now)
            check_said(said, path.name, digest_of(data))
        else:
            certificate = judge_detached(made, data, trust, (path.name,), now)
    except VerificationError as error:
        raise VerificationError(f"{path}: {error.what}", why=error.why) from None
    return VerifiedFile(path=path, key=certificate, data=data)


def _by_key(path: Path, made: bytes, data: bytes, trust: Trust, now: datetime) -> VerifiedFile:
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
        sums = verify_file(folder / SUMS, trust, now)
        digests = {listed: digest for listed, digest in _lines(sums.data) if listed}
        if name not in digests:
            return None
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digests[name]:
                raise VerificationError(f"{path} is not what {folder / SUMS} says", hint="do not use it")
        _refuse_revoked(path, Digest(f"sha256:{digests[name]}"), trust)
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
) -> tuple[list[str], list[str], dict[str, TrustedKey | TrustedCertificate]]:
    """The list of files beside a store, judged, and each file of it: faults, notes of what was not checked, and who signed it.

    Where keys of both kinds are trusted, it has to be signed by one of each. Who signed it is by the signature's file.
    """
    path = folder / SUMS
    if not path.exists():
        return [], [], {}
    faults: list[str] = []
    signers: dict[str, TrustedKey | TrustedCertificate] = {}
    data = b""
    suffixes = [name for name in _suffixes(trust) if name != PROVENANCE]
    if not suffixes:
        return [], [f"{path}: authorities and identities sign manifests, and no key of files was given"], {}
    for suffix in suffixes:
        name = f"{SUMS}{suffix}"
        try:
            verified = verify_file(path, trust, now, folder / name)
        except NexusError as error:
            faults.append(f"{error.what}: {error.why}" if error.why else error.what)
            continue
        signers[name], data = verified.key, verified.data
    if not signers:
        return faults, [], {}
    if not hash_files:
        return faults, [f"the files that {path} lists were not read"], signers
    return faults + list(sum_faults(folder, data)), [], signers


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is too large to be verified in memory", why=f"it has more than {_LARGEST} bytes")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {path}") from error
    except OSError as error:
        raise NexusError(f"{path} cannot be read", why=error.strerror or str(error)) from error
