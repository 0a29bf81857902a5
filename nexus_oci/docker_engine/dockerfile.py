"""Finding the line of a Dockerfile that a step of the engine came from.

The engine of a version-2 build names a step `[build 3/5] RUN make` and gives no line; the classic builder says `Step
7/12`. Both number in a known way, so the instruction is counted out here and its text compared as a cross-check.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from nexus_oci.render.dockerfile import read_instructions

_STEP = re.compile(r"\[(?:[a-z0-9]+/\S+ )?(?:(\S+) )?(\d+)/(\d+)\] (.*)\Z", re.DOTALL)
_CLASSIC_STEP = re.compile(r"^(?:\[\d+/\d+\] )?STEP \d+/\d+ ?: ", re.IGNORECASE)
_LAYERS = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})
_LIKENESS = 0.6


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: its first line (from 1), keyword, text with continued lines joined, stage, and the `base` of a FROM.

    `position` is the number that BuildKit shows before the slash: a FROM of an image counts, a FROM of a stage or of
    scratch does not, and after it only what makes a layer counts.
    """

    line: int
    keyword: str
    text: str
    stage: str
    position: int | None
    base: str = ""


def instructions(dockerfile: str) -> tuple[Instruction, ...]:
    """Every instruction in its order."""
    found: list[Instruction] = []
    stages: set[str] = set()
    stage, number, position = "", -1, 0
    for item in read_instructions(dockerfile):
        here: int | None = None
        base = ""
        if item.keyword == "FROM":
            number += 1
            base, *name = item.operands[::2] or [""]
            stage = name[0].lower() if name else f"stage-{number}"
            position = 0 if base.lower() in {"scratch", *stages} else 1
            stages |= {stage, str(number)}
            here = position or None
        elif item.keyword in _LAYERS:
            position += 1
            here = position
        text = f"{item.keyword} {item.value}".strip()
        found.append(Instruction(line=item.line, keyword=item.keyword, text=text, stage=stage, position=here, base=base))
    return tuple(found)


def find_step(dockerfile: str, name: str) -> Instruction | None:
    """The instruction of a BuildKit step by its name, or nothing where none is alike."""
    match = _STEP.match(name)
    if not match:
        return None
    stage, position, text = match[1], int(match[2]), " ".join(match[4].split())
    keyword = text.partition(" ")[0].upper()
    known = instructions(dockerfile)
    stages = {i.stage for i in known if i.stage}
    candidates = [i for i in known if i.keyword == keyword and (i.stage == stage.lower() if stage else len(stages) == 1)]
    for candidate in candidates:
        if candidate.position == position:
            return candidate
    return _most_alike(text, candidates)


def find_ordinal(dockerfile: str, ordinal: int, name: str) -> Instruction | None:
    """The instruction that the classic builder calls `Step ordinal/n : name`.

    Podman counts within each stage, so where the count leads to another text, the text alone decides.
    """
    known = instructions(dockerfile)
    text = " ".join(_CLASSIC_STEP.sub("", name).split())
    if 0 < ordinal <= len(known) and _likeness(text, known[ordinal - 1]) >= _LIKENESS:
        return known[ordinal - 1]
    return _most_alike(text, [i for i in known if i.keyword == text.partition(" ")[0].upper()])


def _most_alike(text: str, candidates: list[Instruction]) -> Instruction | None:
    best = max(candidates, key=lambda instruction: _likeness(text, instruction), default=None)
    return best if best and _likeness(text, best) >= _LIKENESS else None


def _likeness(text: str, instruction: Instruction) -> float:
    return SequenceMatcher(None, text, " ".join(instruction.text.split())).ratio()


def find_line(dockerfile: str, line: int) -> Instruction | None:
    """The instruction that begins at a line or holds it."""
    before = [i for i in instructions(dockerfile) if i.line <= line]
    return before[-1] if before else None


def find_base(dockerfile: str, reference: str) -> Instruction | None:
    """The FROM that names an image; the engine's own form of the name (`docker.io/library/x:latest`) also finds it."""
    wanted = _familiar(reference)
    for instruction in instructions(dockerfile):
        if instruction.base and _familiar(instruction.base) == wanted:
            return instruction
    return None


def _familiar(reference: str) -> str:
    """A reference as a user writes it: without Docker Hub's implied host and the implied tag."""
    return reference.removeprefix("docker.io/").removeprefix("library/").removesuffix(":latest")
