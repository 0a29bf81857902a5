"""What git knows about a folder: commit, time, tags. Nothing here changes a repository.

A folder without a repository is no error; the state then says why nothing is known.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEOUT: Final = 60
"""Seconds for one question; git on a slow network file system may need some."""
_REDIRECTIONS: Final = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
)
"""Set inside git's hooks, where they would make every question be about another repository."""
_QUIET: Final = ("-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "-c", "core.quotePath=false")
"""No program of the repository's own configuration is run."""


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """What git says about a folder; every field is None where there is nothing to say."""

    commit: str | None = None
    """The full id of the commit that is checked out."""
    time: int | None = None
    """The commit's time, in seconds since 1970."""
    dirty: bool | None = None
    """Whether a file that git knows was changed since the commit. Files that git does not know do not count."""
    address: str | None = None
    """Where `origin` is fetched from, without credentials."""
    shallow: bool = False
    """Whether the history, and with it tags, may be cut off."""
    fault: str | None = None
    """Why nothing is known, in words for a message."""


@dataclass(frozen=True, kw_only=True)
class Tags:
    """The tags that bear on a version."""

    here: tuple[str, ...]
    """The tags at the commit itself."""
    before: str | None
    """The nearest tag on the way back."""
    distance: int
    """Commits since `before`; where there is no tag, all commits."""


def inspect(folder: Path) -> SourceState:
    """What git says about `folder`; never raises."""
    shown = _git(folder, "log", "-1", "--format=%H %ct")
    if isinstance(shown, _Fault):
        return SourceState(fault=shown.reason)
    commit, _, time = shown.partition(" ")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=none")
    address = _git(folder, "config", "--get", "remote.origin.url")
    return SourceState(
        commit=commit,
        time=int(time),
        dirty=None if isinstance(changes, _Fault) else bool(changes),
        address=None if isinstance(address, _Fault) else _without_credentials(address),
        shallow=_git(folder, "rev-parse", "--is-shallow-repository") == "true",
    )


def tags(folder: Path, prefix: str) -> Tags:
    """The tags that begin with `prefix` and a digit, at the commit that is checked out in `folder` and before it."""
    pattern = f"{prefix}[0-9]*"
    here = _git(folder, "tag", "--points-at", "HEAD", "--list", pattern)
    before = _git(folder, "describe", "--tags", "--abbrev=0", "--match", pattern)
    since = [] if isinstance(before, _Fault) else [f"^{before}"]
    distance = _git(folder, "rev-list", "--count", "HEAD", *since, "--")
    return Tags(
        here=() if isinstance(here, _Fault) else tuple(here.split()),
        before=None if isinstance(before, _Fault) else before,
        distance=0 if isinstance(distance, _Fault) else int(distance),
    )


@dataclass(frozen=True)
class _Fault:
    """Why git gave no answer."""

    reason: str


def _git(folder: Path, *arguments: str) -> str | _Fault:
    """What git prints, without the last line's end."""
    environment = {key: value for key, value in os.environ.items() if key not in _REDIRECTIONS}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(  # noqa: S603  no shell; the arguments are this module's own
            ["git", "-C", str(folder), *_QUIET, *arguments],  # noqa: S607  the user's git, as PATH has it
            capture_output=True,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT,
        )
    except FileNotFoundError:
        return _Fault("git is not installed")
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Fault(f"git does not answer: {error}")
    if done.returncode == 0:
        return done.stdout.decode(errors="replace").removesuffix("\n")
    return _Fault(_reason(done.stderr.decode(errors="replace"), folder))


def _reason(message: str, folder: Path) -> str:
    if "dubious ownership" in message:
        return f"git does not trust {folder}, as another user owns it (git config --global --add safe.directory {folder})"
    if "not a git repository" in message:
        return f"{folder} is in no git repository"
    if "does not have any commits" in message:
        return "the git repository has no commit yet"
    lines = [line for line in message.splitlines() if line.strip()]
    return f"git said: {lines[-1].strip()[:200]}" if lines else "git gave no reason"


def _without_credentials(address: str) -> str:
    """The address without what stands before `@` in a web address, which may be a token."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in ("http", "https"):
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
