"""Fetching locked packages into a cache where a file's name is its sha256. apt's own transport does the fetching."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from nexus_oci.bases.commands import APT_HELPER, Finished, disk_errors, need_space, no_space, require, run
from nexus_oci.bases.host import Host
from nexus_oci.bases.values import DebianBase, LockedPackage
from nexus_oci.errors import LockError, UnreachableError, VerificationError

_PARALLEL = 4
_BATCH = 12
_ABSENT = re.compile(r"\b(?:404|410)\b|File not found|no such file", re.IGNORECASE)


class LockedPackageGone(LockError):  # noqa: N818 - it says what is the case
    """The mirror has dropped a locked version, as mirrors do when a newer one arrives. Exit code 2.

    `packages` are the ones that are gone. A fresh lock names versions that exist.
    """

    def __init__(self, packages: Sequence[LockedPackage]) -> None:
        self.packages = tuple(packages)
        first, *rest = self.packages
        more = f" and {len(rest)} more" if rest else ""
        super().__init__(
            f"locked package {first}{more} is no longer on the mirror",
            why="a newer version has replaced it",
            hint="run `nexus-oci lock`, or build without --locked to have that done for you",
            problems=tuple(f"gone: {package}" for package in self.packages) if rest else (),
        )


@dataclass(frozen=True, kw_only=True)
class _Missed:
    """Why a package did not come from an archive."""

    reason: str

    @property
    def absent(self) -> bool:
        return bool(_ABSENT.search(self.reason))


def cached(package: LockedPackage, cache: Path) -> Path:
    """Where a package's file lies, or would lie, in the cache."""
    return cache / "debs" / package.sha256


def fetch(base: DebianBase, packages: Sequence[LockedPackage], host: Host) -> None:
    """Bring every package into the cache, verified by size and sha256; uses no network for those that are there.

    Raises `LockedPackageGone` where an archive answered that it has not got it, `UnreachableError` where none answered,
    `VerificationError` where the bytes are not the locked ones.
    """
    wanted = {package.sha256: package for package in packages}
    with disk_errors("reading the package cache"):
        missing = [package for package in wanted.values() if not is_intact(package, cached(package, host.cache))]
    if not missing:
        return
    if not APT_HELPER.is_file():
        require("apt-get", purpose="fetch Debian packages")
    sources = host.sources(base.suite, base.components)
    main = {source.uri for source in sources if source.suite == base.suite}
    uris = sorted({source.uri for source in sources}, key=lambda uri: (uri not in main, uri))
    total = sum(package.size for package in missing)
    host.progress(f"fetching {len(missing)} packages, {total / 1e6:.1f} MB")
    need_space(host.cache, total, "fetching packages")
    reasons: dict[str, list[_Missed]] = {package.sha256: [] for package in missing}
    for turn in range(len(uris)):
        if missing:
            missing = _fetch_round(missing, uris, turn, host, reasons)
    if not missing:
        return
    gone = [package for package in missing if all(missed.absent for missed in reasons[package.sha256])]
    if len(gone) == len(missing):
        raise LockedPackageGone(sorted(gone))
    left = next(package for package in missing if package not in gone)
    why = next(missed.reason for missed in reasons[left.sha256] if not missed.absent)
    raise UnreachableError(
        f"{left} could not be fetched",
        why=why,
        hint="check the network, the proxy and the mirror in apt's configuration, then run the same command again",
    )


def is_intact(package: LockedPackage, path: Path) -> bool:
    """Whether the file at `path` is that package, byte for byte."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            return size == package.size and hashlib.file_digest(file, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False


def _fetch_round(
    packages: Sequence[LockedPackage], uris: Sequence[str], turn: int, host: Host, reasons: dict[str, list[_Missed]]
) -> list[LockedPackage]:
    """Try one archive for each package, the security archive first for what lies in its pool; what is still missing."""
    ordered = sorted(packages, key=lambda package: (-package.size, package.sha256))
    count = max(_PARALLEL, -(-len(ordered) // _BATCH))
    batches = [batch for batch in (ordered[start::count] for start in range(count)) if batch]
    with disk_errors("fetching packages"):
        (host.cache / "debs").mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=host.cache / "debs", prefix=".incoming-") as incoming,
            ThreadPoolExecutor(_PARALLEL) as pool,
        ):
            jobs = [pool.submit(_fetch_batch, batch, uris, turn, Path(incoming), host) for batch in batches]
            missed = {sha256: reason for job in jobs for sha256, reason in job.result().items()}
    for sha256, reason in missed.items():
        reasons[sha256].append(reason)
    return [package for package in packages if package.sha256 in missed]


def _fetch_batch(
    batch: Sequence[LockedPackage], uris: Sequence[str], turn: int, incoming: Path, host: Host
) -> dict[str, _Missed]:
    addresses = {}
    arguments: list[str | Path] = []
    for package in batch:
        order = list(reversed(uris)) if package.filename.startswith("pool/updates/") else list(uris)
        addresses[package.sha256] = f"{order[turn].rstrip('/')}/{package.filename}"
        arguments += [addresses[package.sha256], incoming / package.sha256, f"SHA256:{package.sha256}"]
    done = run([APT_HELPER, "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download-file", *arguments])
    missed = {}
    for package in batch:
        path = incoming / package.sha256
        if is_intact(package, path):
            path.chmod(0o644)
            path.rename(cached(package, host.cache))
        else:
            missed[package.sha256] = _why(package, addresses[package.sha256], done)
    host.progress(f"fetched {len(batch) - len(missed)} packages")
    return missed


def _why(package: LockedPackage, address: str, done: Finished) -> _Missed:
    """What apt said about one address. Raises for what no other archive can mend."""
    lines = [line for line in done.errors.splitlines() if unquote(address) in unquote(line)]
    said = " ".join(lines) or done.last_lines(3)
    if any("Hash Sum mismatch" in line for line in lines):
        raise VerificationError(
            f"{package} from the mirror is not what the lock says",
            why=f"its sha256 is not {package.sha256}",
            hint="the mirror or a proxy changed the file; nothing of it was kept",
        )
    if done.disk_full:
        raise no_space("fetching packages", done.disk_full)
    return _Missed(reason=said or f"apt ended with {done.code}")
