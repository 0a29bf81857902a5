"""The one tree of errors that a user may meet.

Every error says what happened, why, and what to do, and its class decides the exit code of the command line
(design: "The command line"). Modules that talk to foreign libraries translate their exceptions into these;
nothing else crosses a module's edge. No input or output happens here.
"""

from __future__ import annotations

from typing import ClassVar


class NexusError(Exception):
    """Something failed. Exit code 1.

    `what` is one line; `why` gives the cause where it is known; `hint` says what the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        """All three parts, one a line, ready to be printed."""
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.hint:
            lines.append(f"  do:  {self.hint}")
        return "\n".join(lines)


class BuildError(NexusError):
    """A step of the plan failed: a stage, an extraction, a packager. Exit code 1."""


class StoreError(NexusError):
    """The store cannot be written or read: disk full, not a layout, no permission. Exit code 1."""


class ArchiveError(NexusError):
    """A tar from a stage or a download is malformed or tries to leave its tree. Exit code 1."""


class CancelledError(NexusError):
    """The user interrupted the work; what was begun has been taken away. Exit code 1."""


class UsageError(NexusError):
    """The command was called wrongly. Exit code 2."""

    exit_code: ClassVar[int] = 2


class DefinitionError(UsageError):
    """The definition, a template or a lock is wrong. Exit code 2.

    `problems` carries every single fault, each already formatted as `file:line:column: message`.
    """

    def __init__(self, what: str, *, why: str | None = None, hint: str | None = None, problems: tuple[str, ...] = ()) -> None:
        super().__init__(what, why=why, hint=hint)
        self.problems = problems

    def __str__(self) -> str:
        """The headline, the problems one a line, then cause and advice."""
        head, *rest = super().__str__().split("\n")
        return "\n".join([head, *(f"  {problem}" for problem in self.problems), *rest])


class LockError(DefinitionError):
    """A base is not in the lock, the lock is stale, or a locked package is gone. Exit code 2."""


class PolicyError(NexusError):
    """A policy refused the release. Exit code 3."""

    exit_code: ClassVar[int] = 3


class VerificationError(NexusError):
    """Bytes are not what their digest, size or signature says. Exit code 4."""

    exit_code: ClassVar[int] = 4


class UnreachableError(NexusError):
    """The container engine or a registry cannot be reached or went away. Exit code 5."""

    exit_code: ClassVar[int] = 5


class EngineError(UnreachableError):
    """The container engine is absent, refused the connection, or died in the middle. Exit code 5."""


class RegistryError(UnreachableError):
    """A registry is unreachable, refuses the credentials, or keeps failing. Exit code 5."""


class NotFoundError(NexusError):
    """A reference, a manifest or a blob does not exist where it was looked for. Exit code 1."""
