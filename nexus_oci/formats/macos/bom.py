"""The bill of materials of a package (`Bom`; bom(5)): every path with its mode, size and checksum, as the Installer records it.

The file is a store of numbered blocks: a header, the blocks, a table of where they are, and variables that name some of them.
Apple publishes no description; the layout is the one that lsbom and the Installer read: trees of 4096-byte pages, whose leaves
pair the number of a path and its facts with its parent's number and its name, sorted by the latter.
"""

from __future__ import annotations

import io
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from nexus_oci.formats.macos.tree import Entry

_HEADER: Final = 512
_PAGE: Final = 4096
_PAIRS: Final = (_PAGE - 12) // 8
_SMALL_PAGE: Final = 128
_FILE, _FOLDER, _LINK = 1, 2, 3
_ARCHITECTURE: Final = 0xF
_MOST_32: Final = 0xFFFFFFFF

_Pair = tuple[int, int]


@dataclass(kw_only=True)
class _Blocks:
    """The numbered blocks, and the variables that name some of them. Number 0 is none."""

    blocks: list[bytes] = field(default_factory=lambda: [b""])
    variables: list[tuple[bytes, int]] = field(default_factory=list)

    def add(self, data: bytes) -> int:
        """Keep a block; its number."""
        self.blocks.append(data)
        return len(self.blocks) - 1

    def name(self, name: bytes, data: bytes) -> None:
        """Keep a block under a name."""
        self.variables.append((name, self.add(data)))

    def tree(self, pairs: Sequence[_Pair], page: int = _PAGE) -> bytes:
        """Keep pairs, in their order, as leaves of a tree; the block that describes the tree."""
        chunks = [pairs[start : start + _PAIRS] for start in range(0, len(pairs), _PAIRS)] or [pairs]
        first = len(self.blocks)
        last = first + len(chunks) - 1
        for number, chunk in enumerate(chunks, first):
            self.add(_page(chunk, number + 1 if number < last else 0, number - 1 if number > first else 0, leaf=True, size=page))
        level: list[_Pair] = [(number, chunk[-1][1] if chunk else 0) for number, chunk in enumerate(chunks, first)]
        while len(level) > 1:
            groups = [level[start : start + _PAIRS] for start in range(0, len(level), _PAIRS)]
            level = [(self.add(_page(group, 0, 0, leaf=False, size=page)), group[-1][1]) for group in groups]
        return b"tree" + struct.pack(">IIIIB", 1, level[0][0], page, len(pairs), 0)

    def dump(self) -> bytes:
        """The whole file."""
        body = io.BytesIO()
        table = [(0, 0)]
        for block in self.blocks[1:]:
            table.append((_HEADER + body.tell(), len(block)))
            body.write(block)
        variables = struct.pack(">I", len(self.variables))
        variables += b"".join(struct.pack(">IB", number, len(name)) + name for name, number in self.variables)
        at = _HEADER + body.tell()
        index = struct.pack(">I", len(table)) + b"".join(struct.pack(">II", *place) for place in table)
        index += struct.pack(">I", 0) + bytes(16)
        numbers = (1, len(table) - 1, at + len(variables), len(index), at, len(variables))
        head = b"BOMStore" + struct.pack(">6I", *numbers)
        return head.ljust(_HEADER, b"\0") + body.getvalue() + variables + index


def _page(pairs: Sequence[_Pair], following: int, before: int, *, leaf: bool, size: int) -> bytes:
    head = struct.pack(">HHII", leaf, len(pairs), following, before)
    return (head + b"".join(struct.pack(">II", *pair) for pair in pairs)).ljust(size, b"\0")


def make_bom(entries: Sequence[Entry], checksums: Sequence[int], epoch: int) -> bytes:
    """The Bom of entries in the order of `tree.ordered`, each with its POSIX checksum and the time `epoch` (seconds)."""
    store = _Blocks()
    numbers: dict[str, int] = {}
    paths: list[_Pair] = []
    large: list[_Pair] = []
    total = 0
    for number, (entry, checksum) in enumerate(zip(entries, checksums, strict=True), 1):
        numbers[entry.path] = number
        size = len(entry.target.encode()) if stat.S_ISLNK(entry.mode) else entry.size
        total += size
        facts = store.add(_facts(entry, size, checksum, epoch))
        if size > _MOST_32:
            large.append((store.add(struct.pack(">Q", size)), store.add(struct.pack(">I", facts))))
        key = store.add(struct.pack(">II", number, facts))
        place = store.add(struct.pack(">I", numbers.get(entry.parent, 0)) + entry.name + b"\0")
        paths.append((key, place))
    store.name(b"BomInfo", struct.pack(">7I", 1, len(entries) + 1, 1, 0, 0, total & _MOST_32, 0))
    store.name(b"Paths", store.tree(paths))
    store.name(b"HLIndex", store.tree([]))
    store.name(b"VIndex", struct.pack(">IIIB", 1, store.add(store.tree([], _SMALL_PAGE)), 0, 0))
    store.name(b"Size64", store.tree(large))
    return store.dump()


def _facts(entry: Entry, size: int, checksum: int, epoch: int) -> bytes:
    """What is said of one path: type, mode, owner, time, size; of a file and a link its checksum; of a link its target."""
    kind = _LINK if stat.S_ISLNK(entry.mode) else _FOLDER if stat.S_ISDIR(entry.mode) else _FILE
    facts = struct.pack(">BBHHIIIIB", kind, 1, _ARCHITECTURE, entry.mode, 0, 0, epoch, size & _MOST_32, 1)
    if kind != _FOLDER:
        facts += struct.pack(">I", checksum)
    if kind == _LINK:
        target = entry.target.encode() + b"\0"
        facts += struct.pack(">I", len(target)) + target
    return facts + bytes(8)
