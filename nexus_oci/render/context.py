"""A build context: the files that a build reads, each known by its content before anything is sent.

Entries are sorted, root-owned, of two modes (0644, 0755) and one time, so that the context of one commit is the same on every
machine. The digest of any part of it can be asked for, which is what a step's key is made of.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nexus_oci.errors import DefinitionError
from nexus_oci.oci.values import Digest, canonical_json, digest_of

ALWAYS_IGNORED = (
    ".git", ".hg", ".svn", "__pycache__", "*.pyc", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache",
    ".ruff_cache", ".tox", ".DS_Store",
)  # fmt: skip
"""Patterns that no engine's source is built from; a definition adds its own with `source.ignore`."""
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

    def digest(self, paths: Iterable[str]) -> Digest:
        """The digest of everything at or below `paths`; names, modes, links and contents count, times do not."""
        wanted = [tuple(PurePosixPath(path).parts) for path in paths]
        listing = [
            (name, entry.mode, entry.owner, entry.folder, entry.link, entry.digest)
            for name, entry in sorted(self.files.items())
            if any(PurePosixPath(name).parts[: len(parts)] == parts for parts in wanted)
        ]
        return digest_of(canonical_json(listing))

    def listing(self, paths: Iterable[str]) -> dict[str, str]:
        """Name → content digest of everything at or below `paths`, to tell later what changed."""
        wanted = [tuple(PurePosixPath(path).parts) for path in paths]
        return {
            name: f"{entry.mode:o} {entry.link or entry.digest}"
            for name, entry in sorted(self.files.items())
            if any(PurePosixPath(name).parts[: len(parts)] == parts for parts in wanted)
        }

    def tar(self, epoch: int, extra: Mapping[str, bytes] | None = None) -> Iterator[bytes]:
        """The context as a tar stream; a file that changed since it was hashed raises `DefinitionError`."""
        files = dict(self.files)
        for name, data in (extra or {}).items():
            files[name] = in_memory(data)
        for name in {str(p) for name in files for p in PurePosixPath(name).parents if str(p) != "."}:
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
    """A file on disk, hashed now. Modes are reduced to 0644 and 0755."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        status = os.fstat(file.fileno())
    return ContextFile(
        mode=mode or (0o755 if status.st_mode & 0o111 else 0o644), digest=digest, size=status.st_size, path=path
    )


def from_tree(root: Path, prefix: str, ignore: Sequence[str] = ()) -> dict[str, ContextFile]:
    """Every file below `root`, under `prefix`; raises `DefinitionError` for sockets, devices and links that leave the tree."""
    found: dict[str, ContextFile] = {}
    for top, names, files in os.walk(root):
        relative = PurePosixPath(Path(top).relative_to(root).as_posix())
        links = [name for name in names if Path(top, name).is_symlink()]
        names[:] = sorted(
            n for n in names if n not in links and not _ignored(relative / n, ignore) and not _is_output(Path(top, n))
        )
        for name in [*files, *links]:
            inside = relative / name
            if _ignored(inside, ignore):
                continue
            found[str(PurePosixPath(prefix) / inside)] = _entry(Path(top, name), inside)
    return found


def _is_output(folder: Path) -> bool:
    """Whether a folder is what an earlier build left: no source has a store of ours in it."""
    return (folder / "oci" / ".nexus").is_dir() and (folder / "oci" / "oci-layout").is_file()


def _entry(path: Path, inside: PurePosixPath) -> ContextFile:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        target = str(path.readlink())
        climbed = os.path.normpath(str(inside.parent / target))
        if target.startswith("/") or climbed.startswith(".."):
            raise DefinitionError(
                f"{inside} is a link to {target}, outside the engine's source",
                why="a build may read only what its source holds",
                hint="copy the file into the source, or leave the link out with `source.ignore`",
            )
        return ContextFile(mode=0o777, digest="", link=target)
    if not stat.S_ISREG(status.st_mode):
        raise DefinitionError(
            f"{inside} is neither a file nor a folder", hint="leave it out with the definition's `source.ignore`"
        )
    return from_file(path)


def _ignored(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches the path or its last element."""
    return any(
        fnmatch.fnmatchcase(str(path), pattern.rstrip("/")) or fnmatch.fnmatchcase(path.name, pattern.rstrip("/"))
        for pattern in (*ALWAYS_IGNORED, *patterns)
    )


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
    sent = 0
    with entry.path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            sent += len(block)
            yield block
    if sent != entry.size or digest.hexdigest() != entry.digest:
        raise DefinitionError(
            f"{name} changed while the build read it", hint="run the build again when nothing writes to the source"
        )


def file_like(chunks: Iterable[bytes]) -> io.BufferedIOBase:
    """A readable file over chunks, for clients that want to pull rather than be pushed."""
    return io.BufferedReader(_Chunks(iter(chunks)), _BLOCK)


class _Chunks(io.RawIOBase):
    """Feeds chunks to `readinto`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
