"""A build context: the files that a build reads, each known by its content before anything is sent.

Entries are sorted, root-owned, of two modes (0644, 0755) and one time, so that the context of one commit is the same on every
machine. The digest of any part of it can be asked for, which is what a step's key is made of.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import re
import stat
import tarfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Digest, canonical_json, digest_of

VERSION_CONTROL = (".git", ".hg", ".svn", ".DS_Store")
"""Patterns that are no part of any tree."""
ALWAYS_IGNORED = (
    *VERSION_CONTROL,
    "__pycache__",
    "*.pyc",
    ".venv",
    "venv",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
)
"""Patterns that no engine is compiled from; a definition adds its own with `source.ignore`."""
_MOST_HOPS = 40
"""How many symbolic links Linux follows in one path."""
_OUTPUT = ("oci", "artifacts", "charts", "sbom", "SHA256SUMS", "manifest.json", "metadata.json", "provenance.json")
"""What a build leaves in its output folder."""
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ContextFile:
    """One entry of a context: a file on disk (`path`) or in memory (`data`), a symbolic link (`link`), or a `folder`.

    `owner` is the numeric user and group; all but the folders that an image's user writes to belong to root.
    """

    mode: int
    digest: str
    size: int = 0
    owner: int = 0
    folder: bool = False
    path: Path | None = None
    data: bytes | None = None
    link: str | None = None


@dataclass(frozen=True, kw_only=True)
class Context:
    """A mapping of relative POSIX paths to files. Folders are implied."""

    files: Mapping[str, ContextFile]
    _digests: dict[str, Digest] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def _names(self) -> list[str]:
        return sorted(self.files)

    def digest(self, path: str) -> Digest:
        """The digest of everything at or below `path`; names, modes, links and contents count, times do not."""
        if path not in self._digests:
            entries = ((name, self.files[name]) for name in self._below(path))
            listing = [(name, e.mode, e.owner, e.folder, e.link, e.digest) for name, e in entries]
            self._digests[path] = digest_of(canonical_json(listing))
        return self._digests[path]

    def listing(self, paths: Iterable[str]) -> dict[str, str]:
        """Name → content digest of everything at or below `paths`, to tell later what changed."""
        names = sorted({name for path in paths for name in self._below(path)})
        entries = ((name, self.files[name]) for name in names)
        return {name: f"{entry.mode:o} {entry.link or entry.digest}" for name, entry in entries}

    def _below(self, path: str) -> list[str]:
        """The names at or below a path, and at or below what links on the way to it lead to; sorted."""
        found: set[str] = set()
        for place in self._followed(posixpath.normpath(path)):
            if place == ".":
                return self._names
            # "0" is the character after "/", so the two ends enclose exactly what is below the path.
            found.update(self._names[bisect_left(self._names, f"{place}/") : bisect_left(self._names, f"{place}0")])
            found.update({place} & self.files.keys())
        return sorted(found)

    def _followed(self, path: str) -> Iterator[str]:
        yield path
        for _ in range(_MOST_HOPS):
            ends = [end for end, letter in enumerate(f"{path}/") if letter == "/"]
            link = next((path[:end] for end in ends if (e := self.files.get(path[:end])) and e.link is not None), None)
            if link is None:
                return
            target = posixpath.join(posixpath.dirname(link), self.files[link].link or "")
            path = posixpath.normpath(target + path[len(link) :])
            yield path

    def tar(self, epoch: int, extra: Mapping[str, bytes] | None = None) -> Iterator[bytes]:
        """The context as a tar stream; a file that changed since it was hashed raises `DefinitionError`."""
        files = dict(self.files)
        for name, data in (extra or {}).items():
            files[name] = in_memory(data)
        for name in _parents(files):
            files.setdefault(name, folder())
        for name in sorted(files):
            entry = files[name]
            yield _header(name, entry, epoch)
            if entry.link is None and not entry.folder:
                yield from _content(name, entry)
                yield bytes(-entry.size % 512)
        yield bytes(1024)


def in_memory(data: bytes, mode: int = 0o644) -> ContextFile:
    """A file made by the program itself."""
    return ContextFile(mode=mode, digest=hashlib.sha256(data).hexdigest(), size=len(data), data=data)


def folder(mode: int = 0o755, owner: int = 0) -> ContextFile:
    """A folder of its own, for those that stay empty or belong to another user."""
    return ContextFile(mode=mode, digest="", owner=owner, folder=True)


def from_file(path: Path, mode: int | None = None) -> ContextFile:
    """A file on disk, hashed now; modes are reduced to 0644 and 0755. Raises `DefinitionError` where it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            # A small file in one piece: most sources are thousands of those.
            small = status.st_size < _BLOCK
            digest = (hashlib.sha256(file.read()) if small else hashlib.file_digest(file, "sha256")).hexdigest()
    except OSError as error:
        raise DefinitionError(f"{path} cannot be read", why=error.strerror) from error
    executable = status.st_mode & 0o111
    return ContextFile(mode=mode or (0o755 if executable else 0o644), digest=digest, size=status.st_size, path=path)


def from_tree(
    root: Path,
    prefix: str,
    ignore: Sequence[str] = (),
    *,
    always: Sequence[str] = ALWAYS_IGNORED,
    look: Callable[[str, int], None] | None = None,
) -> dict[str, ContextFile]:
    """Every file below `root`, under `prefix`, but for what a pattern of `ignore` or `always` matches.

    A pattern stands for a path, or for the last element of one. What an earlier build left is no part of the tree either. `look`
    is called with the path below `root` and the size of each file before it is read, and may raise. Raises
    `DefinitionError` for what cannot be read, sockets, devices, names that are no UTF-8, and links that leave the tree.
    """
    patterns = (pattern.removeprefix("./").rstrip("/") for pattern in (*always, *ignore))
    ignored = re.compile("|".join(map(fnmatch.translate, patterns)) or r"(?!)").match
    found: dict[str, ContextFile] = {}
    pending = [""]
    while pending:
        above = pending.pop()
        output = _OUTPUT if _is_output(root / above) else ()
        for entry in _entries(root / above):
            inside = above + entry.name
            if entry.name in output or ignored(inside) or ignored(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{inside}/")
            else:
                found[posixpath.join(prefix, inside)] = _entry(Path(entry.path), inside, look)
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DefinitionError(f"the folder {folder} cannot be read", why=error.strerror) from error


def _is_output(folder: Path) -> bool:
    """Whether an earlier build left its output in a folder: no source has a store of ours in it.

    The rest of that folder may be the engine's own: `dist` is also where many a compiler leaves its result.
    """
    return (folder / "oci" / ".nexus").is_dir() and (folder / "oci" / "oci-layout").is_file()


def _entry(path: Path, inside: str, look: Callable[[str, int], None] | None) -> ContextFile:
    hint = "leave it out with the definition's `source.ignore`"
    if not _is_text(inside):
        raise DefinitionError(f"the name {inside!a} is not UTF-8", why="an image's file names have to be", hint=hint)
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        target = str(path.readlink())
        climbed = posixpath.normpath(posixpath.join(posixpath.dirname(inside), target))
        if not _is_text(target) or target.startswith("/") or climbed.split("/")[0] == "..":
            raise DefinitionError(
                f"{inside} is a link to {ascii(target)[1:-1]}, outside the engine's source",
                why="a build may read only what its source holds",
                hint="copy the file into the source, or leave the link out with `source.ignore`",
            )
        return ContextFile(mode=0o777, digest="", link=target)
    if not stat.S_ISREG(status.st_mode):
        raise DefinitionError(f"{inside} is neither a file nor a folder", hint=hint)
    if look is not None:
        look(inside, status.st_size)
    return from_file(path)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parents(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        above = posixpath.dirname(name)
        while above and above not in found:
            found.add(above)
            above = posixpath.dirname(above)
    return found


def _header(name: str, entry: ContextFile, epoch: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if entry.folder else tarfile.SYMTYPE if entry.link is not None else tarfile.REGTYPE
    info.mode, info.mtime, info.size = entry.mode, epoch, entry.size
    info.uid = info.gid = entry.owner
    info.linkname = entry.link or ""
    return info.tobuf(tarfile.PAX_FORMAT)


def _content(name: str, entry: ContextFile) -> Iterator[bytes]:
    if entry.data is not None:
        yield entry.data
        return
    assert entry.path is not None  # noqa: S101  a file is on disk, in memory or a link
    digest = hashlib.sha256()
    left = entry.size
    try:
        with entry.path.open("rb") as file:
            # One byte more than is announced, so that a file that has grown is noticed, and never sent to its end.
            while block := file.read(min(_BLOCK, left + 1)):
                digest.update(block)
                left -= len(block)
                if left < 0:
                    break
                yield block
    except OSError as error:
        raise _changed(name, error.strerror) from error
    if left or digest.hexdigest() != entry.digest:
        raise _changed(name)


def _changed(name: str, why: str | None = None) -> DefinitionError:
    hint = "run the build again when nothing writes to the source"
    return DefinitionError(f"{name} changed while the build read it", why=why, hint=hint)
