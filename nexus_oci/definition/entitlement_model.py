"""What an engine asks for before it starts: the `entitlement:` block of images/nexus.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, StrictInt

from nexus_oci.definition.model import Model
from nexus_oci.definition.scalars import EntitlementId, InsidePath, LimitName, Unique, Variable, Words
from nexus_oci.definition.suggestions import did_you_mean
from nexus_oci.definition.yaml_nodes import Problem

if TYPE_CHECKING:
    from nexus_oci.definition.distribution_model import Distribution
    from nexus_oci.definition.references import References

RunningTier = Literal["community", "developer", "professional", "enterprise", "regulated", "sovereign"]
RUNNING_TIERS: Final[tuple[RunningTier, ...]] = ("community", "developer", "professional", "enterprise", "regulated", "sovereign")
"""The tiers that run an engine, the least first."""
FREE_TIERS: Final = RUNNING_TIERS[:2]
"""The tiers whose engines start without an entitlement."""
CHECKED: Final = ("runtime", "container")
"""The distributions that have the checker in front of the engine."""
_Limit = Annotated[StrictInt, Field(ge=1, le=2**53 - 1)]


class Entitlement(Model):
    """Who may start the engine. A small program in front of it asks, in the runtime and container distributions."""

    tier: RunningTier
    """The least tier that the release is for. A distribution that is offered in higher tiers only asks for the least of those.
    From `professional` on the engine starts with an entitlement only; `community` and `developer` start without one, within
    `caps`."""
    keys: Annotated[tuple[InsidePath, ...], Unique] = ()
    """Public keys (PEM, Ed25519), relative to the project: entitlements have to be signed with one of them."""
    revoked: Annotated[tuple[EntitlementId, ...], Unique] = ()
    """The ids of entitlements that no longer hold."""
    limits: Mapping[LimitName, Variable] = {}
    """Limits by the names that entitlements have for them, and the environment variable that the engine reads each from."""
    caps: Mapping[LimitName, _Limit] = {}
    """The limits of an engine that runs without an entitlement, by their names under `limits`."""
    exempt: tuple[Words, ...] = ()
    """Arguments, such as [--version] or [admin, health], that start no engine: a call that begins with them is not checked."""


def tier_of(entitlement: Entitlement, distribution: Distribution, tiers: Sequence[str]) -> str | None:
    """The tier that a distribution's checker asks for: the least that it is offered in and that is not below the block's own.

    `tiers` are the definition's, for a distribution that names none. None where there is no such tier, and for distributions that
    have no checker.
    """
    if distribution.distribution not in CHECKED:
        return None
    offered = distribution.tiers or tiers
    return next((tier for tier in RUNNING_TIERS[RUNNING_TIERS.index(entitlement.tier) :] if tier in offered), None)


def check_entitlement(references: References) -> Iterator[Problem]:
    """Every fault in the block itself, and in how it goes with the distributions."""
    nexus = references.nexus.model
    entitlement = nexus.entitlement if nexus else None
    if nexus is None or entitlement is None or not references.nexus.intact("entitlement"):
        return
    at = ("nexus", "entitlement")
    if references.nexus.intact("tiers") and entitlement.tier not in nexus.tiers:
        known = ", ".join(tier for tier in nexus.tiers if tier in RUNNING_TIERS)
        yield references.problem(
            f"entitlement.tier: the engine is not offered in {entitlement.tier!r}; its tiers are {known}", *at, "tier"
        )
        return
    for name in entitlement.caps:
        if name not in entitlement.limits:
            meant = did_you_mean(name, list(entitlement.limits)) or f"; write limits: {{{name}: VARIABLE}}"
            yield references.key_problem(f"entitlement.caps: nothing holds the engine to {name!r}{meant}", *at, "caps", name)
    if entitlement.caps and entitlement.tier not in FREE_TIERS:
        yield references.key_problem(
            "entitlement.caps: they are for engines that start without an entitlement, "
            f"which those of the tier {entitlement.tier!r} do not; take them out",
            *(*at, "caps"),
        )
    if not entitlement.keys and not entitlement.caps and entitlement.tier in FREE_TIERS:
        yield references.key_problem("entitlement: with neither keys nor caps it does nothing; take it out", *at)
    yield from _distributions(references, entitlement, nexus.tiers)


def _distributions(references: References, entitlement: Entitlement, tiers: Sequence[str]) -> Iterator[Problem]:
    for key, checked in references.distributions:
        distribution = checked.model
        if distribution is None or not checked.intact("tiers") or distribution.distribution not in CHECKED:
            continue
        tier = tier_of(entitlement, distribution, tiers)
        if tier is None:
            yield references.problem(
                f"tiers: {distribution.distribution} is offered in no tier from {entitlement.tier!r} on, which the definition's "
                "entitlement is for",
                *(key, "tiers"),
            )
        elif tier not in FREE_TIERS and not entitlement.keys:
            yield references.problem(
                f"entitlement.keys: {distribution.distribution} is for the tier {tier!r}, which starts with an entitlement only; "
                "name the public key that verifies those (nexus-oci keygen --type ed25519)",
                *("nexus", "entitlement", "keys"),
            )
