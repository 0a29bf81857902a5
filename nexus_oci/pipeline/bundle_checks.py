"""Judges a bundle: who signed it, and whether all of it is what was signed. No connection is opened.

1. Opening it compared its structure with its inventory (`bundle.opened`).
2. The inventory's signature, and of a bundle in parts that of their table, is by a key that the site trusts, and the key is valid
   now. The keys are the site's: none is taken from the bundle.
3. Every byte is hashed once and compared with the inventory; chunks that parity can replace are repaired in memory.
4. The release itself is judged as `verify` judges it in a store: manifests, subjects, signatures; with `deep` also that layers
   are what images' configs say.

A release that nobody signed stands by the inventory's signature alone, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from nexus_oci.bundle.opened import Bundle
from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.pipeline.bundle_origin import attached_to
from nexus_oci.pipeline.verify import Believed, ReadOnce, Verification, verify_release
from nexus_oci.trust.cosign import decoded, signed_by_tag
from nexus_oci.trust.dsse import BUNDLE

if TYPE_CHECKING:
    from nexus_oci.trust.verification import Trust, TrustedKey


@dataclass(frozen=True, kw_only=True)
class BundleReport:
    """What was found: who signed the inventory (None: nobody was asked for), faults, and what was not checked or was repaired."""

    signer: TrustedKey | None
    release: Verification | None
    faults: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def believe_bundle(bundle: Bundle, trust: Trust, now: datetime) -> TrustedKey:
    """The key that signed the inventory (and the parts' table); raises `VerificationError` where none that counts did."""
    inventory = bundle.inventory
    names = (f"{inventory.prefix}/{inventory.repository}" if inventory.prefix else inventory.repository,)
    key = _signer(f"{bundle.name}: its inventory", bundle.raw, bundle.signature, trust, names, now)
    if bundle.parts is not None:
        header = bundle.parts.header
        _signer(f"{bundle.name}: the table of its parts", header.description, header.signature, trust, names, now)
    if inventory.release.digest in trust.revoked or bundle.digest in trust.revoked:
        raise VerificationError(
            f"{bundle.name} is revoked", why="its digest, or its release's, is in the list of what is revoked"
        )
    return key


def _signer(what: str, data: bytes, signature: bytes, trust: Trust, names: Sequence[str], now: datetime) -> TrustedKey:
    if not signature:
        raise VerificationError(
            f"{what} is not signed",
            hint="have it made with `bundle create --key`, or insist with --insecure-skip-signatures",
        )
    made = decoded(signature, f"the signature of {what}")
    makers = [key for key in trust.usable() if key.key.verify(made, data)]
    if not makers:
        raise VerificationError(
            f"{what} is not signed by a key that is trusted here",
            why="it was changed, or another key signed it",
            hint="name the right --key or --trust; do not use the bundle otherwise",
        )
    refusals = {key: key.refusal(names, None, now) for key in makers}
    for key, refusal in refusals.items():
        if refusal is None:
            return key
    raise VerificationError(f"{what}: its signature does not count", why="; ".join(filter(None, refusals.values())))


def check_bundle(
    bundle: Bundle,
    trust: Trust | None,
    now: datetime,
    *,
    deep: bool = False,
    jobs: int = 4,
    on_step: Callable[[str], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> BundleReport:
    """Check everything; all faults are reported, but for a signature that does not count, which raises at once."""
    inventory = bundle.inventory
    on_step(f"1. its structure is what its inventory {bundle.digest} says: {len(inventory.contents)} manifests and blobs")
    signer = None if trust is None else believe_bundle(bundle, trust, now)
    on_step("2. no key was given: nobody was asked who made it" if signer is None else f"2. {signer.name} signed the inventory")
    faults = bundle.check_contents(min(jobs, 4), progress)
    notes = bundle.parts.report() if bundle.parts is not None else []
    notes += bundle.parts.check_parity() if bundle.parts is not None and deep else []
    on_step(f"3. every byte was hashed: {len(faults)} faults" + "".join(f"; {note}" for note in notes))
    if faults:
        return BundleReport(signer=signer, release=None, faults=tuple(faults), notes=tuple(notes))
    believed = _believed(bundle, trust, now) if trust is not None else None
    if trust is not None and believed is None:
        notes.append("the release in it is not signed: the bundle's own signature stands for it")
    if inventory.base is not None:
        notes.append(f"{len(inventory.base.needed)} blobs are not in it: it is a delta on {inventory.base.name}")
    if inventory.left_out:
        notes.append(f"only {', '.join(inventory.platforms)} is in it: {len(inventory.left_out)} manifests were left out")
    shallow = not deep or inventory.base is not None
    found = verify_release(bundle, inventory.release, believed, shallow=shallow, unpack=deep, jobs=jobs)
    on_step(f"4. {found.manifests} manifests and their signatures were judged: {len(found.faults)} faults")
    return BundleReport(signer=signer, release=found, faults=tuple(found.faults), notes=tuple(notes))


def _believed(bundle: Bundle, trust: Trust, now: datetime) -> Believed | None:
    """What the release's own signatures are judged by; None where it has none."""
    inventory = bundle.inventory
    tagged = located(inventory.names)
    once = ReadOnce(bundle)
    if not any(map(tagged, (one.digest for one in inventory.contents))) and not any(
        one.is_manifest and once.manifest(one).artifact_type == BUNDLE for one in inventory.contents
    ):
        return None
    return Believed(trust=trust, now=now, locate=tagged, repository=inventory.repository, prefix=inventory.prefix)


def located(names: Mapping[str, Descriptor]) -> Callable[[Digest], Sequence[Descriptor]]:
    """Finds signatures by the names of an inventory."""
    found: dict[Digest, dict[Digest, Descriptor]] = {}
    for name, descriptor in names.items():
        digest = signed_by_tag(name.rpartition(":")[2])
        if digest is not None:
            found.setdefault(digest, {})[descriptor.digest] = descriptor
    return lambda digest: list(found.get(digest, {}).values())


def demand_trust(trust: Trust | None, *, insisted: bool) -> None:
    """Refuse to go on without keys, unless somebody insisted."""
    if trust is None and not insisted:
        raise UsageError(
            "no key was given, so nothing says who made the bundle",
            why="keys are the site's own, and never taken from the bundle",
            hint="name the public key with --key, or --trust; --insecure-skip-signatures goes on without",
        )


def friendly_names(bundle: Bundle) -> list[tuple[str, Descriptor]]:
    """What has a name, without signatures."""
    return [(name, one) for name, one in bundle.inventory.names.items() if attached_to(name.rpartition(":")[2]) is None]
