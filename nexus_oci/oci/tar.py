"""Reads tar archives from places that are not to be trusted: stages, containers, downloads.

Headers are read by hand, because Python's `tarfile` takes several times longer than hashing the same bytes, and because
what is refused here must not depend on what a general reader tolerates. Understood are ustar (POSIX.1-1988), GNU long
names and base-256 numbers, and pax records (POSIX.1-2001, with star's `SCHILY.xattr.`); everything else is refused and
not guessed at.

Nothing that `TarReader` yields can leave the tree it is put in: no name is absolute or has `..`, no name passes through
a link or a file, no relative symbolic link climbs above the top, a hard link names a file that came before it, and no
name comes twice. Absolute symbolic links are kept: in an image they start at the image's own root.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.tar_header import (
    BLOCK,
    Buffer,
    Entry,
    Extension,
    Kind,
    RawHeader,
    build_entry,
    climbs,
    parse_header,
    shown,
)

_CHUNK = 1 << 20
_ZEROS = bytes(BLOCK)
_MOST_EXTENSION = 1 << 20
"""Bytes of a long name or of pax records: extended attributes may have 64 KiB each, and nothing else comes near."""
_NODES = frozenset({Kind.CHARACTER, Kind.BLOCK, Kind.FIFO})
_LONGEST_NAME = 4096
"""Linux's PATH_MAX. A longer name cannot be put on a disk."""


class Source:
    """Bytes in order, from chunks of any size."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)
        self._view = memoryview(b"")
        self._at = 0
        self._passed = 0

    @property
    def position(self) -> int:
        """Bytes taken since the beginning."""
        return self._passed + self._at

    def _more(self) -> bool:
        """Move to the next chunk that has bytes; False at the end."""
        for chunk in self._chunks:
            if chunk:
                self._passed += len(self._view)
                self._view = memoryview(chunk)
                self._at = 0
                return True
        return False

    def take(self, size: int) -> bytes:
        """The next `size` bytes, or fewer at the end."""
        end = self._at + size
        if end <= len(self._view):
            data = self._view[self._at : end].tobytes()
            self._at = end
            return data
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes as views, valid until the next is asked for; fewer at the end."""
        while size:
            if self._at == len(self._view) and not self._more():
                return
            piece = self._view[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; returns how many there were."""
        return sum(len(piece) for piece in self.pieces(size))


class FileSource(Source):
    """The bytes of an open file from its beginning; what is skipped is not read."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._length = os.fstat(file).st_size
        super().__init__(iter(self._read, b""))

    def _read(self) -> bytes:
        return os.pread(self._file, _CHUNK, self._passed + len(self._view))

    def skip(self, size: int) -> int:
        """Pass over `size` bytes by moving on; returns how many there were."""
        size = min(size, self._length - self.position)
        self._at += size
        if self._at > len(self._view):
            self._passed += self._at
            self._view, self._at = memoryview(b""), 0
        return size


def chunks_of(stream: Iterable[Buffer] | BinaryIO) -> Iterable[Buffer]:
    """The chunks of a stream, whether it is a file to be read or an iterable already."""
    read = getattr(stream, "read", None)
    return iter(lambda: read(_CHUNK), b"") if read else stream


class Tree:
    """What an archive holds so far, and the rules about how its entries may stand to each other."""

    def __init__(self, origin: str) -> None:
        self.entries: dict[str, Entry] = {}
        self._origin = origin
        self._implied: set[str] = set()

    def add(self, entry: Entry) -> Entry:
        """Take in one entry; returns it with its hard link followed to the end. Raises `ArchiveError` for a
        contradiction.

        A directory may come twice, and the later one counts, because layers joined by appending have them so.
        """
        before = self.entries.get(entry.name)
        if before and not before.kind == entry.kind == Kind.DIRECTORY:
            raise ArchiveError(
                f"{self._origin} has two entries of one name: {shown(entry.name)}",
                why=f"the first is a {before.kind}, the second a {entry.kind}; readers disagree on which counts",
            )
        self._check_parents(entry)
        if entry.kind != Kind.DIRECTORY and entry.name in self._implied:
            raise ArchiveError(
                f"{self._origin} has {shown(entry.name)} as a {entry.kind}, and entries below it",
                why="only a directory can have entries below it",
            )
        if entry.kind == Kind.LINK:
            entry = self._followed(entry)
        if entry.kind == Kind.SYMLINK and climbs(entry.name, entry.target):
            raise ArchiveError(
                f"{self._origin} has a symbolic link that leaves the tree: {shown(entry.name)}",
                why=f"its target {shown(entry.target)} climbs above the top of the tree",
                hint="point the link at something inside the tree, or write its target as an absolute path",
            )
        self.entries[entry.name] = entry
        self._implied.discard(entry.name)
        return entry

    def is_folder(self, name: str) -> bool:
        """Whether that name is a directory, by an entry of its own or because something is below it; the top is one."""
        entry = self.entries.get(name)
        return not name or name in self._implied or (entry is not None and entry.kind == Kind.DIRECTORY)

    def _check_parents(self, entry: Entry) -> None:
        """Every parent must be a directory; those that have no entry (yet) are remembered as such."""
        name = entry.name
        while slash := name.rfind("/") + 1:
            name = name[: slash - 1]
            if parent := self.entries.get(name):
                if parent.kind == Kind.DIRECTORY:
                    return
                raise ArchiveError(
                    f"{self._origin} has an entry that passes through a {parent.kind}: {shown(entry.name)}",
                    why=f"{shown(name)} is a {parent.kind} in the same archive, so the entry would land elsewhere",
                )
            if name in self._implied:
                return
            self._implied.add(name)

    def _followed(self, entry: Entry) -> Entry:
        """A hard link, naming the file itself, with the file's own attributes: they are one and the same inode."""
        first = self.entries.get(entry.target)
        if first and first.kind == Kind.LINK:
            first = self.entries[first.target]
        if first is None:
            raise ArchiveError(
                f"{self._origin} has a hard link to a file that is not in it: {shown(entry.name)}",
                why=f"nothing named {shown(entry.target)} comes before the link",
            )
        if first.kind not in (Kind.FILE, Kind.SYMLINK):
            raise ArchiveError(
                f"{self._origin} has a hard link to a {first.kind}: {shown(entry.name)}",
                why=f"{shown(first.name)} is no file",
            )
        symbolic = first.kind == Kind.SYMLINK
        return Entry(
            name=entry.name,
            kind=Kind.SYMLINK if symbolic else Kind.LINK,
            target=first.target if symbolic else first.name,
            mode=first.mode,
            uid=first.uid,
            gid=first.gid,
            mtime=first.mtime,
            xattrs=first.xattrs,
        )


class TarReader:
    """Walks an archive once. Raises `ArchiveError`, naming the entry, at the first thing that is wrong.

    `origin` names the archive in messages. `prefix` is a leading folder that is taken off every name; what stands
    outside it is refused. The top directory itself is not an entry. Device nodes and fifos are refused unless
    `allow_devices`.
    """

    def __init__(self, source: Source, *, origin: str = "the archive", prefix: str = "", allow_devices: bool = False) -> None:
        self._source = source
        self._origin = origin
        self._prefix = [part for part in prefix.split("/") if part not in ("", ".")]
        self._allow_devices = allow_devices
        self._left = 0
        self._padding = 0
        self._current = b""
        self.tree = Tree(origin)

    def entries(self) -> Iterator[Entry]:
        """Every entry in the archive's order. What was not taken of an entry's data is passed over before the next
        one."""
        extension = Extension()
        while header := self._next_header():
            self._current = header.name
            if header.type in b"LKxg":
                self._extend(extension, header)
                continue
            entry = self._entry(header, extension)
            if extension.pending:
                extension = Extension(shared=extension.shared)
            if entry is not None:
                self._left = entry.size
                self._padding = -entry.size % BLOCK
                yield self.tree.add(entry)
        if extension.pending:
            raise self._broken("a long name or pax header is followed by no entry")

    def data(self) -> Iterator[memoryview]:
        """The current entry's data, as views that are valid until the next one is asked for."""
        for piece in self._source.pieces(self._left):
            self._left -= len(piece)
            yield piece
        if self._left:
            raise self._cut()

    def _next_header(self) -> RawHeader | None:
        """The next header, its checksum proved; None at the archive's end, after which there are only zeros."""
        rest = self._left + self._padding
        if rest and self._source.skip(rest) != rest:
            raise self._cut()
        self._left = self._padding = 0
        block = self._source.take(BLOCK)
        if len(block) < BLOCK:
            raise self._cut()
        if block != _ZEROS:
            try:
                return parse_header(block)
            except ValueError as error:
                raise self._broken(str(error)) from error
        while chunk := self._source.take(_CHUNK):
            if chunk.count(0) != len(chunk):
                raise self._broken("something other than zeros follows the end mark")
        return None

    def _extend(self, extension: Extension, header: RawHeader) -> None:
        """Take in a header that only describes the next one."""
        if not 0 < header.size <= _MOST_EXTENSION:
            raise self._broken(f"a header extension of {header.size} bytes")
        body = self._source.take(header.size)
        padding = -header.size % BLOCK
        if len(body) != header.size or self._source.skip(padding) != padding:
            raise self._cut()
        try:
            extension.take(header.type, body)
        except ValueError as error:
            raise self._broken(str(error)) from error

    def _entry(self, header: RawHeader, extension: Extension) -> Entry | None:
        """The entry that a header and its extensions describe; None for the top directory and what is above the
        prefix."""
        try:
            return build_entry(header, extension, self._source.position, self._place)
        except ValueError as error:
            raise self._broken(str(error)) from error

    def _place(self, raw: str, kind: Kind) -> str | None:
        """A name as a path below the top; None for the top itself, and for the folders above the prefix."""
        if kind in _NODES and not self._allow_devices:
            raise ArchiveError(
                f"{self._origin} has a {kind}: {shown(raw)}",
                why="device nodes and fifos are not shipped",
                hint="remove it in the stage; the container runtime makes its own /dev",
            )
        parts = [part for part in raw.split("/") if part not in ("", ".")]
        depth = len(self._prefix)
        why = None
        if raw.startswith("/"):
            why = "an absolute name leaves the tree"
        elif ".." in parts:
            why = "a name with .. leaves the tree"
        elif not raw or "\0" in raw:
            why = "a name is empty or has a NUL in it"
        elif len(raw) > _LONGEST_NAME:
            why = f"a name has {len(raw)} characters, more than a file system takes"
        elif parts[:depth] != self._prefix[: len(parts)]:
            why = f"it stands outside of {'/'.join(self._prefix)}, the only folder that was asked for"
        elif len(parts) <= depth and kind != Kind.DIRECTORY:
            why = "the top of the tree must be a directory"
        if why:
            raise ArchiveError(
                f"{self._origin} has an entry that is refused: {shown(raw)}",
                why=why,
                hint="let the stage write only below its own top, under plain relative names",
            )
        return "/".join(parts[depth:]) or None

    def _broken(self, why: str) -> ArchiveError:
        where = f" near {shown(self._current)}" if self._current else ""
        return ArchiveError(
            f"{self._origin} is malformed at byte {self._source.position}{where}",
            why=why,
            hint="make it again; if it comes out the same, its producer writes no valid tar",
        )

    def _cut(self) -> ArchiveError:
        return self._broken("it is truncated: the archive ends in the middle of an entry or with no end mark")


def read_index(path: Path, *, origin: str | None = None, prefix: str = "", allow_devices: bool = False) -> tuple[Entry, ...]:
    """Every entry of a tar file, in its order, checked; the data is not read. Each entry's `offset` is where its data
    begins."""
    with path.open("rb", buffering=0) as file:
        reader = TarReader(FileSource(file.fileno()), origin=origin or path.name, prefix=prefix, allow_devices=allow_devices)
        for _ in reader.entries():
            pass
    return tuple(reader.tree.entries.values())


def iter_members(
    stream: Iterable[Buffer] | BinaryIO, *, origin: str = "the archive", prefix: str = ""
) -> Iterator[tuple[Entry, Iterator[memoryview]]]:
    """Every entry of a streamed archive with its data, in constant memory.

    The data may be left unread. Its views are valid only until the next one, or the next entry, is asked for.
    """
    reader = TarReader(Source(chunks_of(stream)), origin=origin, prefix=prefix)
    for entry in reader.entries():
        yield entry, reader.data()
