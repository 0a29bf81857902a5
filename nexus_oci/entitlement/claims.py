"""What an entitlement says, and the one way in which it is written.

The claims are a JSON object in the canonical form of RFC 8785: keys sorted, no blanks, whole numbers, UTF-8, and no escapes but
those of the quotation mark and the backslash. Names are those of RFC 7519 where it has one (`sub` the customer, `aud` the engine,
`jti` the id, `iat`, `nbf` and `exp` in seconds since 1970); the others are `tier`, `distributions`, `features`, `limits` and
`grace` (seconds). All of them are always there. What is read is written again and compared, so that a value has one spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

TIERS: Final = ("community", "developer", "professional", "enterprise", "regulated", "sovereign")
"""The tiers that run an engine, the least first."""
FREE_TIERS: Final = TIERS[:2]
"""The tiers whose engines start without an entitlement."""
LATEST: Final = 253402300799
"""The last second of the year 9999."""
LONGEST_GRACE: Final = 366 * 86400
LARGEST_LIMIT: Final = 2**53 - 1
"""What every reader of JSON reads exactly (RFC 7493, section 2.2)."""
_MOST: Final = 64
"""Entries of a list, and letters of a name or an id."""
_LONGEST_CUSTOMER: Final = 200
"""Bytes of UTF-8."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What steers a terminal or the direction of text: customers' names go into messages."""
_KEYS: Final = ("aud", "distributions", "exp", "features", "grace", "iat", "jti", "limits", "nbf", "sub", "tier")


@dataclass(frozen=True, kw_only=True)
class Claims:
    """One entitlement. Times are whole seconds since 1970, `grace` is seconds after `not_after`; lists are sorted."""

    id: str
    customer: str
    engine: str
    tier: str
    distributions: tuple[str, ...]
    features: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    issued: int
    not_before: int
    not_after: int
    grace: int = 0

    def to_json(self) -> dict[str, Any]:
        """The claims by the names that a token has for them."""
        return {
            "aud": self.engine,
            "distributions": list(self.distributions),
            "exp": self.not_after,
            "features": list(self.features),
            "grace": self.grace,
            "iat": self.issued,
            "jti": self.id,
            "limits": dict(self.limits),
            "nbf": self.not_before,
            "sub": self.customer,
            "tier": self.tier,
        }

    def faults(self) -> tuple[str, ...]:
        """Everything that keeps these claims from being an entitlement; nothing where they are one."""
        return tuple(
            text
            for text, bad in (
                ("the id is 1 to 64 letters, digits and inner . _ -", not _named(self.id, _ID)),
                ("the customer is 1 to 200 bytes of visible text, with no blank around it", not _visible(self.customer)),
                ("the engine is its name: lower-case letters, digits and inner . _ -", not _named(self.engine, _NAME)),
                (f"the tier is one of {', '.join(TIERS)}", self.tier not in TIERS),
                (
                    "the distributions are 1 to 64 names, sorted, each once",
                    not self.distributions or not _names(self.distributions),
                ),
                ("the features are at most 64 names, sorted, each once", not _names(self.features)),
                ("the limits are at most 64 names with whole numbers from 0 to 2^53-1", not _limits(self.limits)),
                (
                    "times are seconds from 1970 to the year 9999",
                    not all(map(_time, (self.issued, self.not_before, self.not_after))),
                ),
                ("it ends after it begins and after it was issued", self.not_after <= max(self.not_before, self.issued)),
                ("the grace is at most 366 days", not 0 <= self.grace <= LONGEST_GRACE),
            )
            if bad
        )


def encoded(claims: Claims) -> bytes:
    """The canonical JSON of claims that have no faults."""
    return json.dumps(claims.to_json(), ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def decoded(data: bytes) -> Claims:
    """The claims in canonical JSON; raises `ValueError` for any other text, and for claims with faults."""
    try:
        found = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(found, dict) or tuple(sorted(found)) != _KEYS:
        raise ValueError("its claims are not those of an entitlement")
    claims = _typed(found)
    faults = claims.faults()
    if faults:
        raise ValueError(faults[0])
    if encoded(claims) != data:
        raise ValueError("its JSON is not in the canonical form")
    return claims


def _typed(found: Mapping[str, Any]) -> Claims:
    texts = all(isinstance(found[key], str) for key in ("aud", "jti", "sub", "tier"))
    numbers = all(_whole(found[key]) for key in ("exp", "grace", "iat", "nbf"))
    lists = all(
        isinstance(found[key], list) and all(isinstance(one, str) for one in found[key]) for key in ("distributions", "features")
    )
    limits = isinstance(found["limits"], dict) and all(map(_whole, found["limits"].values()))
    if not (texts and numbers and lists and limits):
        raise ValueError("a claim is of the wrong type")
    return Claims(
        id=found["jti"],
        customer=found["sub"],
        engine=found["aud"],
        tier=found["tier"],
        distributions=tuple(found["distributions"]),
        features=tuple(found["features"]),
        limits=found["limits"],
        issued=found["iat"],
        not_before=found["nbf"],
        not_after=found["exp"],
        grace=found["grace"],
    )


def moment(seconds: int) -> str:
    """A time as RFC 3339 writes it, in UTC: `2026-03-04T05:06:07Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _time(value: int) -> bool:
    return 0 <= value <= LATEST


def _named(text: str, pattern: re.Pattern[str]) -> bool:
    return len(text) <= _MOST and pattern.fullmatch(text) is not None


def _names(names: tuple[str, ...]) -> bool:
    return len(names) <= _MOST and list(names) == sorted(set(names)) and all(_named(name, _NAME) for name in names)


def _limits(limits: Mapping[str, int]) -> bool:
    return _names(tuple(sorted(limits))) and all(0 <= value <= LARGEST_LIMIT for value in limits.values())


def _visible(text: str) -> bool:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= _LONGEST_CUSTOMER and text == text.strip(" ") and not _INVISIBLE.search(text)
