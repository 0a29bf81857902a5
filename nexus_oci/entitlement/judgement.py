"""Whether an entitlement holds for an engine, at a time.

The checker that stands before engines (dockerfiles/entitlement) decides the same things in the same order; both are held to the
vectors of tests/unit/entitlement/vectors.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from nexus_oci.entitlement.claims import TIERS, Claims, moment
from nexus_oci.entitlement.refusals import Refused

TOLERANCE: Final = 300
"""Seconds by which clocks may differ, the vendor's from the customer's, or one from itself."""
_CLOCK: Final = "set this machine's clock right (NTP)"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a token is used; what is None is not asked about.

    `tier` is the least that will do. `epoch` is when the engine was built: no clock can be before it. `mark` is the latest time
    that was ever seen there. Both are seconds since 1970.
    """

    engine: str | None = None
    distribution: str | None = None
    tier: str | None = None
    epoch: int | None = None
    mark: int | None = None
    revoked: frozenset[str] = frozenset()


def judge(claims: Claims, site: Site, now: int) -> Literal["valid", "grace"]:
    """Whether verified claims hold at `now` (seconds since 1970), fully or in their grace. Raises `Refused`.

    In this order: the clock against the build and the latest time seen; revocation; engine; distribution; tier; the clock against
    the time of issue; beginning; end.
    """
    _clock(site, now)
    _scope(claims, site)
    if now + TOLERANCE < claims.issued:
        raise Refused(
            "clock",
            "this machine's clock was set back",
            why=f"it says {moment(now)}, and the entitlement was issued at {moment(claims.issued)}",
            hint=_CLOCK,
        )
    if now + TOLERANCE < claims.not_before:
        raise Refused(
            "not-yet-valid",
            f"the entitlement holds from {moment(claims.not_before)} on",
            why=f"it is {moment(now)}",
            hint="wait until then, or ask the vendor for one that begins earlier",
        )
    if now <= claims.not_after:
        return "valid"
    if now <= claims.not_after + claims.grace:
        return "grace"
    over = f", and its grace at {moment(claims.not_after + claims.grace)}" if claims.grace else ""
    raise Refused(
        "expired",
        "the entitlement has expired",
        why=f"it ended at {moment(claims.not_after)}{over}; it is {moment(now)}",
        hint="ask the vendor for a new one",
    )


def _clock(site: Site, now: int) -> None:
    if site.epoch is not None and now + TOLERANCE < site.epoch:
        why = f"it says {moment(now)}, and the engine was built from what is of {moment(site.epoch)}"
        raise Refused("clock", "this machine's clock was set back", why=why, hint=_CLOCK)
    if site.mark is not None and now + TOLERANCE < site.mark:
        why = f"it says {moment(now)}, and it was {moment(site.mark)} before"
        raise Refused("clock", "this machine's clock was set back", why=why, hint=_CLOCK)


def _scope(claims: Claims, site: Site) -> None:
    if claims.id in site.revoked:
        raise Refused("revoked", f"the entitlement {claims.id} was revoked", hint="ask the vendor for a new one")
    if site.engine is not None and claims.engine != site.engine:
        raise Refused(
            "wrong-engine",
            f"the entitlement is for the engine {claims.engine}",
            why=f"this is {site.engine}",
            hint=f"use the entitlement for {site.engine}",
        )
    if site.distribution is not None and site.distribution not in claims.distributions:
        raise Refused(
            "wrong-distribution",
            f"the entitlement does not cover the {site.distribution} distribution",
            why=f"it covers {', '.join(claims.distributions)}",
            hint="use one of those, or ask the vendor for an entitlement that covers this one too",
        )
    if site.tier is not None and TIERS.index(claims.tier) < TIERS.index(site.tier):
        raise Refused(
            "wrong-tier",
            f"the entitlement is for the tier {claims.tier}",
            why=f"{site.tier} is the least that is asked for",
            hint=f"use the engine of the tier {claims.tier}, or ask the vendor for an entitlement for {site.tier}",
        )
