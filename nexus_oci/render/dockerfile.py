"""Reads a Dockerfile far enough to say which stages it has, what each needs, and what of the context it reads.

Dockerfile reference ("Format", "Parser directives", "FROM", "COPY", "Here-Documents"). It serves three questions before a build:
is the stage of a format there; which bases, arguments and files decide a stage's bytes; and is the last stage nothing but its
base and one copy. Where a file is not plain (a pattern, a variable), the answer is the folder around it: a step may then run once
too often, but never once too seldom.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nexus_oci.errors import DefinitionError

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)(?:\s+(.*))?\Z", re.DOTALL)
_DIRECTIVE = re.compile(r"#\s*([A-Za-z]+)\s*=\s*(\S+)")
_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:\\.|[^"\\])*"|['"\\])+""", re.DOTALL)
_HEREDOC = re.compile(r"""\d*<<(-?)(["']?)([^<"']+)\2\Z""")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9._-]*\Z")
_ADDRESS = re.compile(r"[a-z+]+://|git@", re.IGNORECASE)
_NOT_PLAIN = re.compile(r"[*?\[\\$]")
_METADATA = frozenset(
    (
        "USER",
        "WORKDIR",
        "ENTRYPOINT",
        "CMD",
        "LABEL",
        "EXPOSE",
        "ENV",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "VOLUME",
        "ARG",
        "SHELL",
        "MAINTAINER",
        "ONBUILD",
    )
)
_PREDEFINED = frozenset(f"{side}{part}" for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "ARCH", "VARIANT"))


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: its keyword in capitals, the rest with continuations joined, its first line (from 1) and its text.

    `text` has the bodies of here-documents, but no comments. What is no instruction has no keyword.
    """

    keyword: str
    value: str
    line: int
    text: str

    @property
    def flags(self) -> dict[str, list[str]]:
        """`--name=value` flags before the operands; a flag may occur several times, as `--mount` does."""
        found: dict[str, list[str]] = {}
        for word in self._flag_words():
            name, _, value = _unquoted(word)[2:].partition("=")
            found.setdefault(name, []).append(value)
        return found

    @property
    def mounts(self) -> list[dict[str, str]]:
        """The fields of each `--mount`; one with no type is a bind mount."""
        return [{"type": "bind"} | dict(part.partition("=")[::2] for part in m.split(",")) for m in self.flags.get("mount", ())]

    @property
    def operands(self) -> list[str]:
        """The words after the flags; the JSON form of COPY and ADD is read too."""
        rest = self.value
        for word in self._flag_words():
            rest = rest.removeprefix(word).lstrip()
        if rest.startswith("["):
            try:
                return [str(word) for word in json.loads(rest)]
            except ValueError:
                pass
        return [_unquoted(word) for word in rest.split()]

    @property
    def words(self) -> list[str]:
        """All words as a shell would part them, which is how ARG is read."""
        return [_unquoted(word) for word in _WORD.findall(self.value)]

    @property
    def unwrapped(self) -> Instruction:
        """What an ONBUILD would run; else the instruction itself."""
        match = _INSTRUCTION.match(self.value) if self.keyword == "ONBUILD" else None
        if match is None:
            return self
        return Instruction(keyword=match[1].upper(), value=match[2] or "", line=self.line, text=self.text)

    def _flag_words(self) -> list[str]:
        words = _WORD.findall(self.value)
        return words[: next((index for index, word in enumerate(words) if not word.startswith("--")), len(words))]


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word


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
    """A parsed Dockerfile. `preamble` is what stands before the first FROM and holds for all stages: directives and arguments."""

    text: str
    preamble: str
    stages: tuple[Stage, ...]

    @classmethod
    def parse(cls, text: str, origin: str = "Dockerfile") -> Dockerfile:
        """Read `text`; raises `DefinitionError` naming `origin` and the line where it makes no sense."""
        found = list(read_instructions(text))
        for instruction in found:
            if not instruction.keyword:
                raise DefinitionError(f"{origin}:{instruction.line}: {instruction.value[:60]!r} is not an instruction")
        starts = [index for index, instruction in enumerate(found) if instruction.keyword == "FROM"]
        if not starts:
            raise DefinitionError(f"{origin} has no FROM", why="a Dockerfile needs at least one stage")
        before = found[: starts[0]]
        for instruction in before:
            if instruction.keyword != "ARG":
                raise DefinitionError(
                    f"{origin}:{instruction.line}: {instruction.keyword} stands before the first FROM",
                    why="only ARG may stand there",
                )
        values = dict(word.partition("=")[::2] for instruction in before for word in instruction.words if "=" in word)
        stages: list[Stage] = []
        for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(found)], strict=True)):
            stage = _stage(found[start:end], index, values, origin)
            if any(stage.name == other.name for other in stages):
                raise DefinitionError(f"{origin}:{found[start].line}: there is a stage named {stage.name!r} already")
            stages.append(stage)
        preamble = f"escape={_escape(_lines(text))}\n" + "".join(instruction.text for instruction in before)
        return cls(text=text, preamble=preamble, stages=tuple(stages))

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
                queue += [needed for needed, _ in self._needs(stage) if needed]
        return tuple(found[index] for index in sorted(found))

    def external(self, name: str) -> frozenset[str]:
        """The images outside the file that the stage starts from or copies from, in all."""
        needs = [need for stage in self.closure(name) for need in self._needs(stage)]
        return frozenset(reference for stage, reference in needs if stage is None and reference != "scratch")

    def context_paths(self, name: str) -> frozenset[str]:
        """The paths in the build context that the stage reads, in all; `.` means the whole of it."""
        return frozenset(path for stage in self.closure(name) for path in _context_reads(stage))

    def arguments(self, name: str) -> frozenset[str]:
        """The build arguments that the stage declares, in all, without the engine's own platform arguments."""
        declared = (i.words for stage in self.closure(name) for i in stage.instructions if i.keyword == "ARG")
        return frozenset(word.partition("=")[0] for words in declared for word in words) - _PREDEFINED

    def _needs(self, stage: Stage) -> Iterator[tuple[Stage | None, str]]:
        """What FROM, COPY --from and RUN --mount=from name: a stage above this one, else an image outside the file."""
        above = {other.name: other for other in self.stages[: stage.index]}
        numbered = {str(other.index): other for other in above.values()}
        yield above.get(stage.base.lower()), stage.base
        for instruction in (instruction.unwrapped for instruction in stage.instructions[1:]):
            for reference in instruction.flags.get("from", ()):
                yield (above | numbered).get(reference.lower()), reference
            for reference in (mount["from"] for mount in instruction.mounts if "from" in mount):
                yield above.get(reference.lower()), reference

    def is_copy_of(self, name: str, source: str) -> bool:
        """Whether the stage adds to its base exactly one layer: `COPY --from=SOURCE /SOURCE/ /`, metadata aside."""
        stage = self.stage(name)
        if stage is None or self.stage(source) is None:
            return False
        layers = [i for i in stage.instructions[1:] if i.keyword not in _METADATA]
        return (
            len(layers) == 1
            and layers[0].keyword == "COPY"
            and {name: [value.lower() for value in values] for name, values in layers[0].flags.items()} == {"from": [source]}
            and layers[0].operands == [f"/{source}/", "/"]
        )


def read_instructions(text: str) -> Iterator[Instruction]:
    """Every instruction, whether it makes sense or not: comments dropped, continuations and here-documents kept with theirs."""
    lines = _lines(text)
    escape = re.escape(_escape(lines))
    continued = re.compile(rf"(?<!{escape}){escape}[ \t]*\Z")
    number = 0
    while number < len(lines):
        first, raw = number, list[str]()
        joined, number = _joined(lines, number, continued, raw)
        if not raw:
            continue
        match = _INSTRUCTION.match(joined)
        if match is None:
            yield Instruction(keyword="", value=joined.strip(), line=first + 1, text="".join(raw))
            continue
        found = Instruction(keyword=match[1].upper(), value=(match[2] or "").strip(), line=first + 1, text="")
        if found.unwrapped.keyword in ("RUN", "COPY", "ADD"):
            number = _skip_heredocs(lines, number, found.value, raw)
        yield Instruction(keyword=found.keyword, value=found.value, line=found.line, text="".join(raw))


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text.removeprefix("\ufeff"))


def _escape(lines: list[str]) -> str:
    """The character that continues a line: a backslash, unless a directive at the very top says `escape=`."""
    for line in lines:
        match = _DIRECTIVE.match(line)
        if match is None:
            break
        if match[1].lower() == "escape" and match[2] in ("\\", "`"):
            return match[2]
    return "\\"


def _joined(lines: list[str], number: int, continued: re.Pattern[str], raw: list[str]) -> tuple[str, int]:
    """One logical line from line `number` on, and the number of the next; what it is made of is added to `raw`."""
    parts: list[str] = []
    while number < len(lines):
        line = lines[number].rstrip("\r\n")
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            if raw:
                continue
            break
        raw.append(lines[number - 1])
        end = continued.search(line)
        parts.append(line[: end.start()] if end else line)
        if end is None:
            break
    return "".join(parts), number


def _skip_heredocs(lines: list[str], number: int, value: str, raw: list[str]) -> int:
    """Take the bodies of here-documents into `raw`; returns the number of the line after them."""
    for match in filter(None, map(_HEREDOC.match, _WORD.findall(value))):
        ended = False
        while not ended and number < len(lines):
            line = lines[number].rstrip("\r\n")
            ended = (line.lstrip("\t") if match[1] else line) == match[3]
            raw.append(lines[number])
            number += 1
    return number


def _stage(instructions: list[Instruction], index: int, values: Mapping[str, str], origin: str) -> Stage:
    head = instructions[0]
    words = head.operands
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise DefinitionError(f"{origin}:{head.line}: {head.text.strip()!r} is not a FROM", hint="write FROM IMAGE [AS NAME]")
    platform = head.flags.get("platform", [None])[0]
    name = words[2].lower() if len(words) == 3 else str(index)
    if len(words) == 3 and not _STAGE_NAME.match(name):
        raise DefinitionError(f"{origin}:{head.line}: {words[2]!r} cannot be a stage's name", hint="begin it with a letter")
    base = _expanded(words[0], values)
    return Stage(name=name, index=index, base=base, platform=platform, instructions=tuple(instructions))


def _expanded(text: str, values: Mapping[str, str]) -> str:
    """The text with the variables that `values` has; others stay as they are written."""

    def value(match: re.Match[str]) -> str:
        name, operator, word = match[1] or match[2], match[3] or "", match[4] or ""
        known = values.get(name)
        if operator.endswith("-"):
            return known or word
        if operator.endswith("+"):
            return word if known else ""
        return match[0] if known is None else known

    return _VARIABLE.sub(value, text)


def _context_reads(stage: Stage) -> Iterator[str]:
    for instruction in (instruction.unwrapped for instruction in stage.instructions[1:]):
        if instruction.keyword in ("COPY", "ADD") and "from" not in instruction.flags:
            for source in instruction.operands[:-1]:
                if not source.startswith("<<") and not _ADDRESS.match(source):
                    yield _plain_part(source)
        for mount in instruction.mounts:
            if mount["type"] == "bind" and "from" not in mount:
                yield _plain_part(mount.get("source") or mount.get("src") or ".")


def _plain_part(source: str) -> str:
    """A path of the context, up to its first element that is a pattern or holds a variable; `.` where nothing is left."""
    parts: list[str] = []
    for part in source.split("/"):
        if _NOT_PLAIN.search(part):
            break
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or "."
