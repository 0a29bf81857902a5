"""Writes tar archives in one canonical form: the same tree gives the same bytes, whoever made the archive it came from.

Entries are sorted by path components, as bytes; a parent that is missing is made (0755). Times are not later than the
epoch, there are no names of owners, and of the extended attributes `security.capability` and `user.*` are kept. Of
several names of one file the first carries the data and the others are hard links to it. Headers are ustar
(POSIX.1-1988); pax records (POSIX.1-2001) stand only before entries that ustar cannot say. The end is two blocks of
zeros.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.tar_header import BLOCK, Buffer, Entry, Kind, byte_sum, shown

_CHUNK = 1 << 20
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_NO_CHECKSUM = b" " * 8
_MOST_OCTAL = 0o7777777
_MOST_OCTAL_LONG = 0o77777777777
_TYPES = {
    Kind.FILE: b"0",
    Kind.LINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}
_ZEROS = bytes(BLOCK)
_PADDING = [bytes(-size % BLOCK) for size in range(BLOCK)]

Emit = Callable[[Buffer], object]
"""Takes the next bytes of an archive. It must not keep them: the memory is used again."""


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _block(
    name: bytes,
    type_: bytes,
    *,
    mode: int,
    size: int,
    mtime: int,
    uid: int = 0,
    gid: int = 0,
    target: bytes = b"",
    prefix: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """One header of 512 bytes; its fields are known to fit."""
    block = _FIELDS.pack(
        name,
        b"%07o\0" % mode,
        b"%07o\0" % uid,
        b"%07o\0" % gid,
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        _NO_CHECKSUM,
        type_,
        target,
        b"ustar\0",
        b"00",
        b"",
        b"",
        b"%07o\0" % device[0],
        b"%07o\0" % device[1],
        prefix,
    )
    return b"%b%06o\0 %b" % (block[:148], byte_sum(block), block[156:])


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """A name as ustar's prefix and name fields, the prefix as short as can be; None where it does not fit."""
    if len(name) <= 100:
        return b"", name
    slash = name.find(b"/", len(name) - 101)
    if 0 < slash <= 155 and slash < len(name) - 1:
        return name[:slash], name[slash + 1 :]
    return None


def _record(key: str, value: bytes) -> bytes:
    """One pax record: its length, which counts its own digits, key and value."""
    rest = b" %b=%b\n" % (_bytes(key), value)
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d%b" % (length, rest)


def _plain(name: bytes) -> bytes:
    """What stands in a name field when a pax record has the real name: the ASCII part of it."""
    return bytes(byte for byte in name if byte < 0x80)[:100].rstrip(b"/")


def _is_kept(xattr: str) -> bool:
    """Capabilities and the user's own; the marks of an overlay file system are the engine's, not the image's."""
    return xattr == "security.capability" or (xattr.startswith("user.") and not xattr.startswith("user.overlay."))


def encode_header(entry: Entry, *, mtime: int | None = None, owner: tuple[int, int] | None = None) -> bytes:
    """The blocks that stand before an entry's data, with a pax header where ustar cannot say it all.

    `mtime` and `owner` (user and group id) stand in for the entry's own.
    """
    name = _bytes(entry.name) + (b"/" if entry.kind == Kind.DIRECTORY else b"")
    target = _bytes(entry.target)
    fields = _split(name) if _is_plain(name) else None
    mtime = entry.mtime if mtime is None else mtime
    uid, gid = owner or (entry.uid, entry.gid)
    records: dict[str, bytes] = {}
    if fields is None:
        records["path"] = name
    if len(target) > 100 or not _is_plain(target):
        records["linkpath"] = target
    for key, number, most in (
        ("size", entry.size, _MOST_OCTAL_LONG),
        ("mtime", mtime, _MOST_OCTAL_LONG),
        ("uid", uid, _MOST_OCTAL),
        ("gid", gid, _MOST_OCTAL),
    ):
        if number > most:
            records[key] = b"%d" % number
    if entry.xattrs:
        records.update({f"SCHILY.xattr.{key}": value for key, value in entry.xattrs if value and _is_kept(key)})
    prefix, short = fields or (b"", _plain(name))
    header = _block(
        short,
        _TYPES[entry.kind],
        mode=0o777 if entry.kind == Kind.SYMLINK else entry.mode,
        uid=0 if "uid" in records else uid,
        gid=0 if "gid" in records else gid,
        size=0 if "size" in records else entry.size,
        mtime=0 if "mtime" in records else mtime,
        target=_plain(target) if "linkpath" in records else target,
        prefix=prefix,
        device=entry.device,
    )
    return _pax_header(name, records) + header if records else header


def _pax_header(name: bytes, records: dict[str, bytes]) -> bytes:
    """An `x` header and its records, sorted, for the entry of that name."""
    body = b"".join(_record(key, value) for key, value in sorted(records.items()))
    if any(not _is_utf8(records.get(key, b"")) for key in ("path", "linkpath")):
        body = _record("hdrcharset", b"BINARY") + body
    base = b"PaxHeaders/" + name.rstrip(b"/").rpartition(b"/")[2]
    return _block(_plain(base), b"x", mode=0o644, size=len(body), mtime=0) + body + _PADDING[len(body) % BLOCK]


def _is_plain(value: bytes) -> bool:
    """Whether a ustar field may hold it: ASCII, and bytes in no encoding, which pax could only say with a further record."""
    return value.isascii() or not _is_utf8(value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


class CanonicalWriter:
    """Writes entries that come in canonical order; `emit` takes the bytes.

    Times later than `epoch` become `epoch`, in seconds since 1970; with `fixed` all do. `owner` replaces every user and
    group id.
    """

    def __init__(self, emit: Emit, *, epoch: int, fixed: bool = False, owner: tuple[int, int] | None = None) -> None:
        self._emit = emit
        self._epoch = epoch
        self._fixed = fixed
        self._owner = owner
        self._last = b""
        self._folders: set[str] = {""}

    def accepts(self, entry: Entry) -> bool:
        """Whether that entry may come next in the canonical order."""
        return entry.key > self._last

    def write(self, entry: Entry, data: Iterable[Buffer] = ()) -> None:
        """Write an entry and its data; raises `ArchiveError` where the data has another size than the entry says."""
        self._parents(entry.name)
        self._last = entry.key
        if entry.kind == Kind.DIRECTORY:
            self._folders.add(entry.name)
        mtime = self._epoch if self._fixed or entry.mtime > self._epoch else max(0, entry.mtime)
        self._emit(encode_header(entry, mtime=mtime, owner=self._owner))
        left = entry.size
        for piece in data:
            left -= len(piece)
            self._emit(piece)
        if left:
            raise ArchiveError(f"{shown(entry.name)} changed while it was read", why=f"its size is off by {abs(left)} bytes")
        if entry.size % BLOCK:
            self._emit(_PADDING[entry.size % BLOCK])

    def _parents(self, name: str) -> None:
        """Write the folders above a name that have no entry of their own."""
        parent = name.rpartition("/")[0]
        if parent in self._folders:
            return
        self._parents(parent)
        self._folders.add(parent)
        folder = Entry(name=parent, kind=Kind.DIRECTORY, mode=0o755)
        self._emit(encode_header(folder, mtime=self._epoch, owner=self._owner))

    def finish(self) -> None:
        """Write the end mark."""
        self._emit(_ZEROS + _ZEROS)


def arrange(entries: Iterable[Entry]) -> list[Entry]:
    """Checked entries in canonical order, the first name of each file carrying the data.

    Hard links must name the file itself, as `tar.Tree` sees to.
    """
    ordered = sorted(entries, key=lambda entry: entry.key)
    files = {entry.name: entry for entry in ordered if entry.kind == Kind.FILE}
    first: dict[str, str] = {}
    for position, entry in enumerate(ordered):
        if entry.kind not in (Kind.FILE, Kind.LINK):
            continue
        origin = entry.target if entry.kind == Kind.LINK else entry.name
        carrier = first.setdefault(origin, entry.name)
        if carrier != entry.name:
            ordered[position] = replace(entry, kind=Kind.LINK, size=0, target=carrier)
        elif entry.kind == Kind.LINK:
            ordered[position] = replace(files[origin], name=entry.name)
    return ordered


def write_canonical(
    entries: Iterable[Entry],
    file: int,
    emit: Emit,
    *,
    epoch: int,
    fixed: bool = False,
    owner: tuple[int, int] | None = None,
) -> None:
    """Rewrite an indexed archive canonically. `file` is the descriptor of the archive that the entries' offsets are
    of."""
    writer = CanonicalWriter(emit, epoch=epoch, fixed=fixed, owner=owner)
    for entry in arrange(entries):
        writer.write(entry, file_range(file, entry.offset, entry.size))
    writer.finish()


def file_range(file: int, offset: int, size: int) -> Iterator[bytes]:
    """A range of an open file in pieces of one MiB; shorter where the file ends early."""
    end = offset + size
    while offset < end and (piece := os.pread(file, min(_CHUNK, end - offset), offset)):
        offset += len(piece)
        yield piece
