"""Reads a Dockerfile far enough to say which stages it has, what each needs, and what of the context it reads.

Dockerfile reference ("Format", "FROM", "COPY", "Here-Documents"). It serves three questions before a build: is the stage of a
format there; which bases, arguments and files decide a stage's bytes; and is the last stage nothing but its base and one copy.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from nexus_oci.errors import DefinitionError

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s*(.*)\Z", re.DOTALL)
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?")
_METADATA = frozenset(
    "USER WORKDIR ENTRYPOINT CMD LABEL EXPOSE ENV HEALTHCHECK STOPSIGNAL VOLUME ARG SHELL MAINTAINER ONBUILD".split()
)
_PREDEFINED = frozenset(
    "TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT".split()
)


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: its keyword in capitals, the rest with continuations joined, its first line and its text."""

    keyword: str
    value: str
    line: int
    text: str

    @property
    def flags(self) -> dict[str, list[str]]:
        """`--name=value` flags before the operands; a flag may occur several times, as `--mount` does."""
        found: dict[str, list[str]] = {}
        for word in self.value.split():
            if not word.startswith("--"):
                break
            name, _, value = word[2:].partition("=")
            found.setdefault(name, []).append(value)
        return found

    @property
    def operands(self) -> list[str]:
        """The words after the flags; the JSON form of COPY and ADD is read too."""
        rest = re.sub(r"\A(?:--\S+\s+)*", "", self.value)
        if rest.startswith("["):
            try:
                return [str(word) for word in json.loads(rest)]
            except ValueError:
                pass
        try:
            return shlex.split(rest)
        except ValueError:
            return rest.split()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: what it is called (its number where it has no name), what it starts from, and what it does."""

    name: str
    index: int
    base: str
    platform: str | None
    instructions: tuple[Instruction, ...]

    @property
    def text(self) -> str:
        """The stage's own text, FROM included."""
        return "".join(instruction.text for instruction in self.instructions)


@dataclass(frozen=True, kw_only=True)
class Dockerfile:
    """A parsed Dockerfile."""

    text: str
    stages: tuple[Stage, ...]

    @classmethod
    def parse(cls, text: str, origin: str = "Dockerfile") -> Dockerfile:
        """Read `text`; raises `DefinitionError` naming `origin` and the line where it makes no sense."""
        stages: list[Stage] = []
        current: list[Instruction] = []
        for instruction in _instructions(text, origin):
            if instruction.keyword == "FROM":
                if current and current[0].keyword == "FROM":
                    stages.append(_stage(current, len(stages), origin))
                current = [instruction]
            else:
                current.append(instruction)
        if not current or current[0].keyword != "FROM":
            raise DefinitionError(f"{origin} has no FROM", why="a Dockerfile needs at least one stage")
        stages.append(_stage(current, len(stages), origin))
        names = [stage.name for stage in stages]
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(f"{origin} has two stages named {name!r}")
        return cls(text=text, stages=tuple(stages))

    def stage(self, name: str) -> Stage | None:
        """The stage of that name."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def closure(self, name: str) -> tuple[Stage, ...]:
        """The stage and every stage that it needs, in the file's order; raises `DefinitionError` where it is missing."""
        wanted = self.stage(name)
        if wanted is None:
            raise DefinitionError(
                f"the Dockerfile has no stage {name!r}",
                why="its stages are " + ", ".join(stage.name for stage in self.stages),
                hint=f"add `FROM scratch AS {name}` to the template, or take {name!r} out of the definition's formats",
            )
        found: dict[int, Stage] = {}
        queue = [wanted]
        while queue:
            stage = queue.pop()
            if stage.index not in found:
                found[stage.index] = stage
                queue += [needed for ref in _stage_references(stage) if (needed := self.stage(ref))]
        return tuple(found[index] for index in sorted(found))

    def external(self, name: str) -> frozenset[str]:
        """The images outside the file that the stage starts from or copies from, in all."""
        closure = self.closure(name)
        references = {ref for stage in closure for ref in _stage_references(stage)}
        return frozenset(ref for ref in references if self.stage(ref) is None and ref != "scratch")

    def context_paths(self, name: str) -> frozenset[str]:
        """The paths in the build context that the stage reads, in all; `.` means the whole of it."""
        return frozenset(path for stage in self.closure(name) for path in _context_reads(stage))

    def arguments(self, name: str) -> frozenset[str]:
        """The build arguments that the stage declares, in all, without the engine's own platform arguments."""
        words = (
            i.value.split("=")[0].strip() for stage in self.closure(name) for i in stage.instructions if i.keyword == "ARG"
        )
        return frozenset(word for word in words if word not in _PREDEFINED)

    def is_copy_of(self, name: str, source: str) -> bool:
        """Whether the stage adds to its base exactly one layer: `COPY --from=SOURCE /SOURCE/ /`, metadata aside."""
        stage = self.stage(name)
        if stage is None or self.stage(source) is None:
            return False
        layers = [i for i in stage.instructions[1:] if i.keyword not in _METADATA]
        return (
            len(layers) == 1
            and layers[0].keyword == "COPY"
            and layers[0].flags == {"from": [source]}
            and layers[0].operands == [f"/{source}/", "/"]
        )


def _instructions(text: str, origin: str) -> Iterator[Instruction]:
    """Split into instructions: comments dropped, continuations and here-documents kept with theirs."""
    lines = text.splitlines(keepends=True)
    number = 0
    while number < len(lines):
        start = number
        if not lines[number].strip() or lines[number].lstrip().startswith("#"):
            number += 1
            continue
        parts: list[str] = []
        raw: list[str] = []
        more = True
        while more and number < len(lines):
            line = lines[number]
            number += 1
            if raw and (line.lstrip().startswith("#") or not line.strip()):
                continue
            raw.append(line)
            body = line.rstrip()
            more = body.endswith("\\")
            parts.append(body[:-1] if more else body)
        joined = " ".join(parts)
        match = _INSTRUCTION.match(joined)
        if match is None:
            raise DefinitionError(f"{origin}:{start + 1}: {joined.strip()[:60]!r} is not an instruction")
        if match[1].upper() in ("RUN", "COPY", "ADD"):
            for end in _HEREDOC.findall(joined):
                while number < len(lines) and lines[number].strip() != end:
                    raw.append(lines[number])
                    number += 1
                raw += lines[number : number + 1]
                number += 1
        yield Instruction(keyword=match[1].upper(), value=match[2].strip(), line=start + 1, text="".join(raw))


def _stage(instructions: list[Instruction], index: int, origin: str) -> Stage:
    head = instructions[0]
    words = head.operands
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise DefinitionError(
            f"{origin}:{head.line}: {head.text.strip()!r} is not a FROM", hint="write FROM IMAGE [AS NAME]"
        )
    platform = head.flags.get("platform", [None])[0]
    name = words[2].lower() if len(words) == 3 else str(index)
    return Stage(name=name, index=index, base=words[0], platform=platform, instructions=tuple(instructions))


def _stage_references(stage: Stage) -> Iterator[str]:
    """What FROM, COPY --from and RUN --mount=from name."""
    yield stage.base
    for instruction in stage.instructions[1:]:
        yield from instruction.flags.get("from", ())
        for mount in instruction.flags.get("mount", ()):
            yield from (part[5:] for part in mount.split(",") if part.startswith("from="))


def _context_reads(stage: Stage) -> Iterator[str]:
    for instruction in stage.instructions[1:]:
        if instruction.keyword in ("COPY", "ADD") and "from" not in instruction.flags:
            for path in instruction.operands[:-1]:
                if not path.startswith("<<"):
                    yield path.strip("/") or "."
        for mount in instruction.flags.get("mount", ()):
            fields = dict(part.partition("=")[::2] for part in mount.split(","))
            if fields.get("type", "bind") == "bind" and "from" not in fields:
                yield (fields.get("source") or fields.get("src") or ".").strip("/") or "."
