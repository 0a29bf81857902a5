"""Why each step of a plan would run, or not: its inputs against those of its newest record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nexus_oci.oci.store import Store
from nexus_oci.pipeline.project import Project
from nexus_oci.pipeline.records import Record, Records
from nexus_oci.plan.expand import IMAGE, context_paths
from nexus_oci.plan.steps import WORK, Step

_MOST_FILES = 5


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What would become of a step: `run`, `cached`, `if needed` (a base), or `assemble` (always, and quick); and why."""

    step: Step
    state: str
    reasons: tuple[str, ...]


def explain(project: Project, store: Store | None) -> tuple[Verdict, ...]:
    """A verdict on every step. Without a store everything would run. The engine is not asked."""
    records = Records(store, lambda _: None) if store else None
    verdicts: dict[str, Verdict] = {}
    for step in project.plan.steps:
        if step.kind in WORK:
            verdicts[step.id] = _judge(project, records, step)
    needed = {need for verdict in verdicts.values() if verdict.state == "run" for need in verdict.step.needs}
    for step in reversed(project.plan.steps):
        if step.id in needed:
            needed |= set(step.needs)
    found = []
    for step in project.plan.steps:
        if step.kind == "base":
            reason = "a step that runs starts from it" if step.id in needed else "no step that runs starts from it"
            found.append(Verdict(step=step, state="if needed" if step.id in needed else "idle", reasons=(reason,)))
        elif step.id in verdicts:
            found.append(verdicts[step.id])
        else:
            found.append(Verdict(step=step, state="assemble", reasons=("small manifests, written each time",)))
    return tuple(found)


def _judge(project: Project, records: Records | None, step: Step) -> Verdict:
    if records is None:
        return Verdict(step=step, state="run", reasons=("there is no store yet",))
    if records.peek(step.key):
        return Verdict(step=step, state="cached", reasons=("nothing that it reads has changed",))
    last = records.last(step.id)
    if last is None:
        return Verdict(step=step, state="run", reasons=("it never ran in this store",))
    return Verdict(step=step, state="run", reasons=tuple(_differences(project, step, last)))


def _differences(project: Project, step: Step, last: Record) -> list[str]:
    if last.key == step.key:
        return ["its blobs are missing from the store, or damaged"]
    reasons = []
    for name in sorted({*step.inputs, *last.inputs}):
        before, now = last.inputs.get(name), step.inputs.get(name)
        if before == now:
            continue
        if name.startswith("context "):
            continue
        shown = name if name in ("dockerfile", "labels") else f"{name}: {before or 'absent'} → {now or 'absent'}"
        reasons.append(f"{shown} changed" if name in ("dockerfile", "labels") else shown)
    if step.kind in ("sign", "repository"):
        return reasons or ["a file that it is made of changed"]
    build = project.build(step.id)
    target = IMAGE if step.kind == "image" else str(step.detail["format"])
    now_listing = build.context.listing(context_paths(build, target))
    reasons += _changed_files(last.listing, now_listing)
    return reasons or ["a base that it starts from changed"]


def _changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [
        f"{name} {'added' if name not in before else 'removed' if name not in now else 'changed'}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    more = len(changed) - _MOST_FILES
    return changed[:_MOST_FILES] + ([f"and {more} more files"] if more > 0 else [])
