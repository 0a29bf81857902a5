"""What one tar header says: the entry, and how it reads from ustar, GNU and pax fields.

POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format" for `L`, `K`
and base-256.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Buffer = bytes | bytearray | memoryview
"""Bytes in any of the forms that they are handed over in."""

BLOCK = 512
"""Bytes in a tar record: headers have one, data is padded to whole ones."""

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_MOST_SIZE = 1 << 63
_MOST_ID = 1 << 32
_MOST_DEVICE = 1 << 20
_DECIMAL = re.compile(rb"-?[0-9]{1,19}(?:\.[0-9]*)?\Z")
_XATTR = "SCHILY.xattr."
_PER_ENTRY = frozenset({"path", "linkpath", "size"})


class Kind(StrEnum):
    """What an entry is; the value is the word for messages."""

    FILE = "file"
    LINK = "hard link"
    SYMLINK = "symbolic link"
    CHARACTER = "character device"
    BLOCK = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of an archive.

    `name` is relative, without `./` at the front or `/` at the end; bytes that are no UTF-8 are kept by surrogate
    escapes. `mode` has the twelve permission bits, `mtime` counts seconds, `size` and `offset` (where the data begins
    in the archive) bytes. `target` is where a symbolic link points, or the name of the file that a hard link shares.
    `xattrs` are sorted by name.
    """

    name: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    device: tuple[int, int] = (0, 0)
    offset: int = 0

    @property
    def key(self) -> bytes:
        """Sorts entries canonically: by path components, as bytes. A folder comes just before what is in it."""
        return self.name.encode("utf-8", "surrogateescape").replace(b"/", b"\0")


def shown(name: str | bytes) -> str:
    """A name for messages: quoted, on one line, and not too long."""
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    text = ascii(name) if any("\ud800" <= c <= "\udfff" for c in name) else repr(name)
    return text if len(text) <= 200 else f"{text[:150]}…{text[-40:]}"


def climbs(name: str, target: str) -> bool:
    """Whether a symbolic link at `name` with that relative target points above the top of the tree."""
    if ".." not in target or target.startswith("/"):
        return False
    depth = name.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in ("", "."):
            depth += 1
    return False


def byte_sum(block: bytes) -> int:
    """The sum of 512 bytes, which is a header's checksum.

    The low half of Adler-32 is one more than the sum, modulo 65521; a half of a header cannot reach that. Ten times
    faster than `sum`.
    """
    return (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


def _number(field: bytes, what: str) -> int:
    """A number in octal digits, or in GNU's base 256 where the first bit is set; raises `ValueError`."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            return int.from_bytes(field, "big", signed=True)
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit():
        raise ValueError(f"its {what} is no octal number: {digits[:20]!r}")
    try:
        return int(digits, 8)
    except ValueError:
        raise ValueError(f"its {what} is no octal number: {digits!r}") from None


def _decimal(value: bytes, what: str) -> int:
    """The whole part of a decimal number in a pax record; raises `ValueError`."""
    if not _DECIMAL.match(value):
        raise ValueError(f"its pax record {what} is no number: {value[:40]!r}")
    return int(value.partition(b".")[0])


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def parse_pax(body: bytes) -> dict[str, bytes]:
    """The records of a pax header, a length, a key and a value each; raises `ValueError`."""
    records: dict[str, bytes] = {}
    at = 0
    while at < len(body):
        digits, space, _ = body[at : at + 20].partition(b" ")
        end = at + int(digits) if space and digits.isdigit() else 0
        key, equals, value = body[at + len(digits) + 1 : end].partition(b"=")
        if end > len(body) or not key or not equals or not value.endswith(b"\n"):
            raise ValueError(f"a pax record is malformed: {body[at : at + 40]!r}")
        records[_text(key)] = value[:-1]
        at = end
    return records


@dataclass(kw_only=True)
class Extension:
    """What extension headers say of the entry after them, and (`shared`) of all entries after a global one."""

    shared: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    pending: bool = False

    def take(self, type_: bytes, body: bytes) -> None:
        """Take in the body of one extension header; raises `ValueError`."""
        if type_ == b"g":
            records = parse_pax(body)
            if _PER_ENTRY & records.keys():
                raise ValueError("a global pax header gives all entries one name or size")
            self.shared = {**self.shared, **records}
            return
        records = parse_pax(body) if type_ == b"x" else {"path" if type_ == b"L" else "linkpath": body.rstrip(b"\0")}
        if twice := self.records.keys() & records.keys():
            raise ValueError(f"two extension headers give one entry its {min(twice)}")
        self.records.update(records)
        self.pending = True

    def merged(self) -> Mapping[str, bytes]:
        """All records that hold for the entry; an empty value takes a record back (POSIX)."""
        if not self.shared and not self.records:
            return self.records
        return {key: value for key, value in {**self.shared, **self.records}.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawHeader:
    """A header's fields as they stand, its checksum proved."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: bytes
    device: tuple[int, int]


def parse_header(block: bytes) -> RawHeader:
    """Read a header's 512 bytes; raises `ValueError` where they are none."""
    (name, mode, uid, gid, size, mtime, checksum, type_, target, magic, _, _, _, major, minor, prefix) = _FIELDS.unpack(block)
    if _number(checksum, "checksum") != byte_sum(block) - sum(checksum) + 8 * 0x20:
        raise ValueError("its checksum is wrong: these bytes are no tar header")
    name = name.partition(b"\0")[0]
    if magic == b"ustar\0" and prefix[0]:
        name = prefix.partition(b"\0")[0] + b"/" + name
    if type_ in b"\0007" and name.endswith(b"/"):
        type_ = b"5"
    device = (_number(major, "major"), _number(minor, "minor")) if type_ in b"34" else (0, 0)
    return RawHeader(
        name=name,
        type=type_,
        mode=_number(mode, "mode"),
        uid=_number(uid, "uid"),
        gid=_number(gid, "gid"),
        size=_number(size, "size"),
        mtime=_number(mtime, "mtime"),
        target=target.partition(b"\0")[0],
        device=device,
    )


def _xattrs(records: Mapping[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    return tuple(sorted((key[len(_XATTR) :], value) for key, value in records.items() if key.startswith(_XATTR)))


def build_entry(header: RawHeader, extension: Extension, offset: int, place: Callable[[str, Kind], str | None]) -> Entry | None:
    """The entry that a header and its extensions make together; raises `ValueError` where they make none.

    `place` judges a name and returns it as it stands in the tree, or None for an entry that is to be left out. It is
    asked for the entry's name with its kind, and for the name that a hard link shares.
    """
    records = extension.merged()
    kind = _KINDS.get(header.type)
    if kind is None or any(key.startswith("GNU.sparse.") for key in records):
        what = "a sparse file" if kind or header.type == b"S" else f"an entry of the type {header.type!r}"
        raise ValueError(f"{what} is not supported")
    size = _decimal(records["size"], "size") if "size" in records else header.size
    uid = _decimal(records["uid"], "uid") if "uid" in records else header.uid
    gid = _decimal(records["gid"], "gid") if "gid" in records else header.gid
    if not 0 <= size < _MOST_SIZE:
        raise ValueError(f"a size of {size} bytes is impossible")
    if size and kind != Kind.FILE:
        raise ValueError(f"a {kind} cannot have {size} bytes of data")
    if not (0 <= uid < _MOST_ID and 0 <= gid < _MOST_ID):
        raise ValueError(f"an owner {uid}:{gid} is impossible")
    if not all(0 <= number < _MOST_DEVICE for number in header.device):
        raise ValueError(f"a device {header.device[0]}:{header.device[1]} is impossible")
    name = place(_text(records.get("path", header.name)), kind)
    if name is None:
        return None
    target = ""
    if kind in (Kind.LINK, Kind.SYMLINK):
        target = _text(records.get("linkpath", header.target))
        if not target or "\0" in target:
            raise ValueError(f"a {kind} has no valid target")
        if kind == Kind.LINK:
            target = place(target, kind) or ""
    return Entry(
        name=name,
        kind=kind,
        mode=header.mode & 0o7777,
        uid=uid,
        gid=gid,
        size=size,
        mtime=_decimal(records["mtime"], "mtime") if "mtime" in records else header.mtime,
        target=target,
        xattrs=_xattrs(records) if records else (),
        device=header.device,
        offset=offset,
    )
