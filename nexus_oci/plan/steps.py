"""Steps and plans: frozen values that can be printed, compared, serialised and cited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nexus_oci.oci.values import Digest, canonical_json, digest_of

Kind = Literal["base", "image", "format", "sign", "repository", "index", "artifact", "chart", "release"]
WORK: Final[tuple[Kind, ...]] = ("image", "format", "sign", "repository")
"""The kinds of steps whose results are remembered by their keys. Bases have records of their own; the others are small manifests,
written each time."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One piece of work.

    `inputs` names everything that decides the result, each with a digest or a short text; `key` is their hash together with the
    keys of `needs`. Two steps of one key do the same work, which is then done once.
    """

    id: str
    kind: Kind
    inputs: Mapping[str, str]
    needs: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    key: Digest

    def to_json(self) -> dict[str, Any]:
        """The step as plain data."""
        return {
            "id": self.id,
            "kind": self.kind,
            "key": self.key,
            "needs": list(self.needs),
            "inputs": dict(self.inputs),
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All steps, in an order in which each comes after what it needs."""

    name: str
    version: str
    epoch: int
    steps: tuple[Step, ...]

    @property
    def digest(self) -> Digest:
        """The digest of the whole plan."""
        return digest_of(canonical_json(self.to_json()))

    def step(self, step_id: str) -> Step:
        """The step of that id."""
        return next(step for step in self.steps if step.id == step_id)

    def has(self, step_id: str) -> bool:
        """Whether there is a step of that id."""
        return any(step.id == step_id for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        steps = [step.to_json() for step in self.steps]
        return {"name": self.name, "version": self.version, "epoch": self.epoch, "steps": steps}


class PlanBuilder:
    """Collects steps; each is keyed as it is added, so what it needs must be there before it."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}

    def add(self, step_id: str, kind: Kind, inputs: Mapping[str, str], needs: tuple[str, ...] = (), **detail: Any) -> Step:
        """Add a step; one that is there already under the same id is returned as it is."""
        if step_id in self._steps:
            return self._steps[step_id]
        material = {"kind": kind, "inputs": dict(inputs), "needs": sorted(self._steps[need].key for need in needs)}
        step = Step(
            id=step_id,
            kind=kind,
            inputs=dict(inputs),
            needs=needs,
            detail=detail,
            key=digest_of(canonical_json(material)),
        )
        self._steps[step_id] = step
        return step

    def has(self, step_id: str) -> bool:
        """Whether a step of that id was added."""
        return step_id in self._steps

    def steps(self) -> tuple[Step, ...]:
        """What was added, in order."""
        return tuple(self._steps.values())
