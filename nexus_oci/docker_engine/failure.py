"""What a user is told when a stage fails: which one, where in the Dockerfile, its last lines, and what to do."""

from __future__ import annotations

import re
from collections import deque

from nexus_oci.docker_engine import dockerfile
from nexus_oci.errors import BuildError

TAIL_LINES = 40
_MAX_LINE = 1000
_MAX_TEXT = 200
_LINE_IN_ERROR = re.compile(r"(?:Dockerfile:|parse error (?:on |at )?line )(\d+)", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_METADATA_OF = re.compile(r"load metadata for (\S+)")
_BASE_HINT = (
    "the engine holds no image of that name: a FROM may only name a base that the definition lists, "
    "which is made or pulled before the build"
)
_HINTS: tuple[tuple[str, str], ...] = (
    (r"no active sessions|pull access denied|failed to resolve source metadata|no such image", _BASE_HINT),
    (r"parse error|unknown instruction|unknown flag|syntax error", "correct the Dockerfile's template"),
    (
        r"failed to reach build target|target stage .* could not be found|no build stage .*with name",
        "add a stage of that name to the Dockerfile's template, or take the format out of the definition",
    ),
    (
        r"no space left on device",
        "free space where the engine keeps its data: `docker system df` shows what takes it",
    ),
    (
        r"exec format error",
        "the step runs a program of another architecture: let its stage begin with FROM --platform=$BUILDPLATFORM, "
        "or register an emulator (binfmt)",
    ),
    (
        r"failed to compute cache key|failed to calculate checksum|(?:file|path) .*not found|COPY failed|ADD failed",
        "the file is neither in the build context nor in the stage that it is copied from: check path and stage",
    ),
    (r"exit code: 137\b|code: 137\b", "the engine's machine ran out of memory, or something killed the step"),
    (r"exit code: 127\b|code: 127\b", "a command was not found: install it in this stage's base"),
    (r"the --mount option requires|unknown flag: mount", "this needs an engine with BuildKit"),
)
_RAN = re.compile(r'(?:executor failed running \[.*\]|process ".*" did not complete successfully): (?=exit code: \d+)', re.DOTALL)
"""What BuildKit says before the exit code: the whole command again, which stands in the headline already."""
_PLUMBING = re.compile(r"--mount=\S+\s+|set -eu; \. /run/trust/environment;\s+")
_TOLD_BY_STEPS = frozenset({"exec format error", "no space left on device"})
_DEFAULT_HINT = "the lines above are the last of the step's own output; correct the step or what it reads, and build again"


class StageError(BuildError):
    """A stage of a Dockerfile failed. Exit code 1.

    Beside the text for people it carries the engine's name of the `step`, the Dockerfile's `line` (from 1) and
    `instruction` where they could be found, and the step's last 40 lines, `log`.
    """

    def __init__(
        self,
        what: str,
        *,
        why: str,
        hint: str,
        step: str = "",
        line: int | None = None,
        instruction: str = "",
        log: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.step = step
        self.line = line
        self.instruction = instruction
        self.log = log


class LogTail:
    """The last lines of a step; memory does not grow with its output."""

    def __init__(self, lines: int = TAIL_LINES) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._partial: dict[int, str] = {}

    def feed(self, stream: int, data: bytes) -> list[str]:
        """Take bytes of one stream; returns the lines that are now complete."""
        *complete, rest = (self._partial.get(stream, "") + data.decode("utf-8", "replace")).split("\n")
        # A line without end is cut, so that its memory is bounded too.
        self._partial[stream] = rest[-_MAX_LINE:]
        lines = [_visible(line) for line in complete]
        self._lines.extend(lines)
        return lines

    def lines(self) -> tuple[str, ...]:
        """The tail, with what has no line end yet."""
        partial = [line for line in map(_visible, self._partial.values()) if line]
        return tuple([*self._lines, *partial][-TAIL_LINES:])


def _visible(line: str) -> str:
    """What a terminal would show of a line that was overwritten by carriage returns, without its colours."""
    return _COLOUR.sub("", line).rstrip("\r").rpartition("\r")[2][:_MAX_LINE]


def stage_error(
    text: str, *, title: str, message: str, step: str = "", ordinal: int | None = None, log: tuple[str, ...] = ()
) -> StageError:
    """The error for a failed build of the Dockerfile `text`.

    `step` is BuildKit's name of the failed step, `ordinal` the classic builder's number of it, `message` the engine's
    error.
    """
    place = _place(text, message, step, ordinal)
    where = f" in {_clip(step)}" if step else ""
    if place:
        where = f" at Dockerfile line {place.line}: {_clip(_PLUMBING.sub('', place.text))}"
    stage = f"stage {place.stage!r}" if place and place.stage else "the build"
    tail = "".join(f"\n    | {line}" for line in log)
    shown = _clip(_RAN.sub("", message.strip()) if place else message.strip(), _MAX_LINE)
    return StageError(
        f"{title}: {stage} failed{where}",
        why=shown + (f"; the step's last lines:{tail}" if tail else ""),
        hint=_hint(message, log, place),
        step=step,
        line=place.line if place else None,
        instruction=place.text if place else "",
        log=log,
    )


def _place(text: str, message: str, step: str, ordinal: int | None) -> dockerfile.Instruction | None:
    told = _LINE_IN_ERROR.search(message)
    if told:
        return dockerfile.find_line(text, int(told[1]))
    base = _METADATA_OF.search(step) or _METADATA_OF.search(message)
    if base:
        return dockerfile.find_base(text, base[1])
    if ordinal is not None:
        return dockerfile.find_ordinal(text, ordinal, step)
    return dockerfile.find_step(text, step)


def _hint(message: str, log: tuple[str, ...], place: dockerfile.Instruction | None) -> str:
    heard = "\n".join([message, *log[-5:]])
    for pattern, hint in _HINTS:
        if re.search(pattern, message, re.IGNORECASE):
            return hint
    for pattern, hint in _HINTS:
        if pattern in _TOLD_BY_STEPS and re.search(pattern, heard, re.IGNORECASE):
            return hint
    # Whatever keeps the engine from an image that it does not hold: no network, no such name, no permission.
    return _BASE_HINT if place and place.keyword == "FROM" else _DEFAULT_HINT


def _clip(text: str, limit: int = _MAX_TEXT) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
