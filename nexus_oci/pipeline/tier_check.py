"""Holds a release, in a store or a registry, to its policy: before it is pushed, when it is checked, and when it is verified.

1. The facts are gathered, or, where these very manifests were looked at before, read from the user's cache: digests do not
change. 2. What an earlier release weighed is added, where one is known. 3. The proofs that the tier wants are looked for. 4.
The policy judges.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nexus_oci import __version__
from nexus_oci.definition.nexus_model import TIERS
from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, canonical_json, digest_of
from nexus_oci.pipeline import zstd
from nexus_oci.pipeline.attached import in_store
from nexus_oci.pipeline.engine_marks import defined
from nexus_oci.pipeline.policy_facts import VERSION, Gathered, gather, release_subjects
from nexus_oci.pipeline.proofs import Evidence, proofs_of, read_kept
from nexus_oci.pipeline.push import find_release
from nexus_oci.policy.facts import Fact
from nexus_oci.policy.judging import Verdict, judge, known_tier
from nexus_oci.policy.loading import TIER_GATES, WAIVERS_FILE, Policy, load_policy, read_waivers
from nexus_oci.transfer.ends import Source
from nexus_oci.transfer.store_end import StoreEnd
from nexus_oci.trust.provenance import PREDICATE as PROVENANCE
from nexus_oci.trust.verification import TrustedKey

if TYPE_CHECKING:
    from nexus_oci.definition.definition import Definition
    from nexus_oci.pipeline.verify import Verification

_FOLDER: Final = "policy"


@dataclass(frozen=True, kw_only=True)
class Standard:
    """What a release is held to: the policy, the tier, the day, and what helps: the project's definition, the user's cache."""

    policy: Policy
    tier: str | None
    today: date
    definition: Definition | None = None
    cache: Path | None = None


def today() -> date:
    """The day, in UTC, that waivers are judged by."""
    return datetime.now(UTC).date()


def check_release(
    source: Source, root: Descriptor, standard: Standard, evidence: Evidence, previous: Fact | None = None
) -> Verdict:
    """The verdict on a release; `previous` is what `weights` told of the one before it.

    Raises `UsageError` for a tier that is none, `DefinitionError` for a gate that is broken, and what reading a release raises.
    """
    rules = known_tier(standard.policy, standard.tier) if standard.tier else None
    gathered = facts_of(source, root, standard)
    release = gathered.facts["release"][0]
    before = previous or _remembered(standard.cache, str(release["title"]), str(root.digest))
    kept = evidence.provenance
    recorded = read_waivers(kept.provenance.internal.get("waivers", ()), "the provenance") if kept and kept.signed_by else ()
    return judge(
        standard.policy,
        standard.tier,
        _with_previous(gathered.facts, before),
        today=standard.today,
        proofs=proofs_of(source, release_subjects(source, root), evidence, rules.proofs) if rules else (),
        recorded=recorded,
        unchecked=gathered.unchecked,
    )


def check_store(store: Store, root: Descriptor, standard: Standard, previous: Fact | None = None) -> Verdict:
    """The verdict on a release that a build left: what would be released. Signatures have to be there; nobody judges them."""
    source = StoreEnd(store)
    kept = read_kept(source, root.digest)
    evidence = Evidence(
        locate=in_store(store), folder=store.root.parent, provenance=replace(kept, signed_by=None) if kept is not None else None
    )
    return check_release(source, root, standard, evidence, previous)


def check_verified(source: Source, root: Descriptor, standard: Standard, result: Verification) -> Verdict:
    """The verdict on a release that `verify` has just read: what no trusted key says of it does not count.

    Waivers that its provenance records count like those here, where a trusted key signed it: who signs for the release answers
    for its exceptions too, until the day on which they end.
    """
    checked = result.signatures.checked if result.signatures else ()
    said = (by for one in checked if one.subject.digest == root.digest for kind, by in one.statements if kind == PROVENANCE)
    keys = tuple(by.key for by in said if isinstance(by, TrustedKey))
    evidence = Evidence(verification=result, judged=True, provenance=read_kept(source, root.digest, keys) if keys else None)
    return check_release(source, root, standard, evidence)


def facts_of(source: Source, root: Descriptor, standard: Standard) -> Gathered:
    """The facts of a release, from the cache where they are known."""
    subjects = release_subjects(source, root)
    definition = standard.definition
    own = definition.distributions if definition else ()
    about = {
        "version": [VERSION, __version__, zstd.is_there()],
        "root": root.digest,
        "manifests": sorted(subject.digest for subject in subjects),
        "allowed": {one.distribution: dict(one.secrets.allow) for one in own},
        "engine": _marks(definition) if definition else [],
    }
    path = standard.cache / _FOLDER / f"{digest_of(canonical_json(about)).hex}.json" if standard.cache else None
    known = _read(path) if path else None
    if known is not None and isinstance(known.get("facts"), dict) and known["facts"].get("release"):
        return Gathered(facts=known["facts"], unchecked=tuple(known.get("unchecked", ())))
    found = gather(source, root, definition)
    if path is not None and found.complete:
        _write(path, {"facts": found.facts, "unchecked": found.unchecked})
    return found


def _marks(definition: Definition) -> list[list[str]]:
    """What the definition tells of the engine, as far as facts depend on it."""
    marks = defined(definition)
    return [sorted(marks.names), sorted(marks.modules), sorted(marks.digests)]


def weights(source: Source, root: Descriptor) -> Fact:
    """What the images of a release weigh, by distribution and platform: for the budget of the next one. Only manifests are
    read."""
    top = source.manifest(root)
    sizes: dict[str, int] = {}
    for subject in release_subjects(source, root):
        for child in subject.manifest.manifests:
            if child.platform is not None:
                layers = source.manifest(child).layers
                sizes[f"{subject.distribution} {child.platform}"] = sum(layer.size for layer in layers)
    version = top.annotations.get(media_types.VERSION, "") or root.digest.short
    return {"release": version, "digest": str(root.digest), "images": sizes}


def remember(cache: Path | None, store: Store, version: str | None) -> None:
    """Note a release that was pushed: the next one's budget is counted from it."""
    source, root = StoreEnd(store), find_release(store, version)[0]
    title = source.manifest(root).annotations.get(media_types.TITLE, "")
    if cache is not None and title:
        _write(_last(cache, title), weights(source, root))


def used_waivers(source: Source, root: Descriptor, standard: Standard) -> list[dict[str, Any]]:
    """Every waiver without which some tier would refuse the release: what its provenance records.

    Those of the tiers' own conditions are among them unasked, as what they are about, such as a signature, comes later.
    """
    facts = _with_previous(facts_of(source, root, standard).facts, None)
    used = {id(one): one for one in standard.policy.waivers if one.waiver.gate in TIER_GATES}
    for tier in (None, *(tier for tier in TIERS if tier in standard.policy.tiers)):
        used |= {id(one): one for one in judge(standard.policy, tier, facts, today=standard.today).waived}
    return sorted((one.to_json() for one in used.values()), key=lambda one: json.dumps(one, sort_keys=True))


def project_waivers(
    root: Path, defaults: Path, source: Source, release: Descriptor, definition: Definition
) -> list[dict[str, Any]]:
    """The waivers that a build's provenance records; a project without waivers costs nothing."""
    if not (root / WAIVERS_FILE).is_file():
        return []
    policy = load_policy(root, defaults)
    if not policy.waivers:
        return []
    return used_waivers(source, release, Standard(policy=policy, tier=None, today=today(), definition=definition))


def _with_previous(facts: Mapping[str, Sequence[Fact]], before: Fact | None) -> dict[Any, Sequence[Fact]]:
    """The facts, with how much each image grew."""
    if before is None:
        return dict(facts)
    images = []
    for image in facts["image"]:
        size = before["images"].get(f"{image['distribution']} {image['platform']}")
        if size:
            growth = round(100 * (image["size"] - size) / size)
            image = {**image, "previous": {"release": before["release"], "size": size}, "growth": growth}
        images.append(image)
    return {**facts, "image": images}


def _remembered(cache: Path | None, title: str, digest: str) -> Fact | None:
    """What was last pushed under that title, unless it is this very release."""
    found = _read(_last(cache, title)) if cache is not None and title else None
    if found is None or found.get("digest") == digest or not isinstance(found.get("images"), dict):
        return None
    return found


def _last(cache: Path, title: str) -> Path:
    return cache / _FOLDER / f"last-{digest_of(title.encode()).hex[:24]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Keep something in the cache, whole or not at all; a cache that cannot be written is no error."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8", errors="surrogatepass") as file:
            json.dump(data, file)
        os.replace(file.name, path)  # noqa: PTH105  replaces what is there
