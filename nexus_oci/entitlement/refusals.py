"""Why a token is refused: one word for programs, three lines for people."""

from __future__ import annotations

from typing import Literal

from nexus_oci.errors import VerificationError

Reason = Literal[
    "malformed",
    "wrong-key",
    "edited",
    "revoked",
    "wrong-engine",
    "wrong-distribution",
    "wrong-tier",
    "clock",
    "not-yet-valid",
    "expired",
]
"""The same words as the checker's in an image, which has two more, `missing` and `unreadable`."""


class Refused(VerificationError):  # noqa: N818  it is an answer, as `Skipped` and `Failure` are elsewhere
    """An entitlement does not hold. Exit code 4."""

    def __init__(self, reason: Reason, what: str, *, why: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, why=why, hint=hint)
        self.reason = reason
