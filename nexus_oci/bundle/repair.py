"""Reads a bundle out of its parts, in whatever order and under whatever names they come, and repairs what parity can repair.

Every chunk is hashed before a byte of it is handed on. One that is missing or damaged is computed from as many good chunks of the
same number as there are data parts; nothing is written.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nexus_oci.bundle.parts import MAGIC, Header, PartPlan, read_header
from nexus_oci.bundle.stream import OpenFile
from nexus_oci.errors import StoreError, UsageError, VerificationError

_HELD = 24
"""Chunks that are kept after they were read: several readers go through the bundle side by side."""
_WORKING = 12 << 20
"""Bytes that a repair holds at once."""


class PartStream:
    """The bytes of a bundle in parts; a `Stream`. `header` is what all of its parts agree on.

    `missing` are the numbers of parts that are not there, `headless` those that were known by their content alone, `repaired` the
    chunks (number, row) that were computed so far.
    """

    def __init__(self, header: Header, files: dict[int, OpenFile]) -> None:
        self.header = header
        self.plan = header.plan
        self.size = header.plan.size
        self.name = header.plan.name
        self.repaired: set[tuple[int, int]] = set()
        self.headless: set[int] = set()
        self._files = files
        self._good = {number: bytearray(header.plan.chunks(number)) for number in range(1, header.plan.count + 1)}
        self._held: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._repairing = threading.Lock()

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the parts that are not there."""
        return tuple(number for number in range(1, self.plan.count + 1) if number not in self._files)

    def paths(self) -> tuple[Path, ...]:
        """The files that are there, in the order of their numbers."""
        return tuple(self._files[number].path for number in sorted(self._files))

    def pread(self, size: int, offset: int) -> bytes:
        """As `Stream.pread`; raises `VerificationError` that names the parts where parity is not enough."""
        size = min(size, self.size - offset)
        pieces = []
        while size > 0:
            number, within = divmod(offset, self.plan.part_size)
            row, at = divmod(within, self.plan.chunk_size)
            piece = self._chunk(number + 1, row)[at : at + size]
            pieces.append(piece)
            size -= len(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def unchanged(self) -> bool:
        """As `Stream.unchanged`."""
        return all(file.unchanged() for file in self._files.values())

    def close(self) -> None:
        """As `Stream.close`."""
        for file in self._files.values():
            file.close()

    def damaged(self, number: int) -> list[int]:
        """The rows of a part's chunks that are not what the table says; all of them where it is not there."""
        return [row for row in range(self.plan.chunks(number)) if self._stored(number, row) is None]

    def check_parity(self) -> list[str]:
        """Hash the parity that is there, which reading the bundle does not need; a line for each part of it that is damaged."""
        lines = []
        for number in range(self.plan.data + 1, self.plan.count + 1):
            rows = self.damaged(number) if number in self._files else []
            if rows:
                place = f"part {number} ({self._files[number].path.name})"
                lines.append(f"{place} is damaged: {len(rows)} of its {self.plan.chunks(number)} chunks of parity")
        return lines

    def recognises(self, number: int, file: OpenFile) -> bool:
        """Whether one of the first chunks of a file is that of a part."""
        alone = PartStream(self.header, {number: file})
        return any(alone._stored(number, row) is not None for row in range(min(3, self.plan.chunks(number))))

    def _chunk(self, number: int, row: int) -> bytes:
        key = number, row
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        found = self._stored(number, row)
        if found is None:
            with self._repairing:
                found = self._rebuilt(number, row)
        with self._lock:
            self._held[key] = found
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return found

    def _stored(self, number: int, row: int) -> bytes | None:
        """A chunk as its part has it; None where that is not what it should be. It is hashed the first time."""
        file = self._files.get(number)
        if file is None:
            return None
        length = self.plan.chunk_length(number, row)
        try:
            data = file.pread(length, self.plan.header_length + row * self.plan.chunk_size)
        except StoreError:
            return None
        if len(data) != length or not (self._good[number][row] or self._is_good(number, row, data)):
            return None
        self._good[number][row] = 1
        return data

    def _is_good(self, number: int, row: int, data: bytes) -> bool:
        return hashlib.sha256(data).digest() == self.header.chunk_hash(number, row)

    def _rebuilt(self, number: int, row: int) -> bytes:
        """A data chunk, computed from the others of its row."""
        plan = self.plan
        others = [one for one in range(1, plan.count + 1) if one != number and row < plan.chunks(one)]
        empty = [one for one in range(1, plan.data + 1) if row >= plan.chunks(one)]
        good: list[int] = []
        for one in others if plan.parity else ():
            if len(good) + len(empty) == plan.data:
                break
            if self._stored(one, row) is not None:
                good.append(one)
        if len(good) + len(empty) < plan.data or not plan.parity:
            raise self._lost(number, row, [one for one in others if one not in good])
        decoder = _decoder(plan)
        numbers = [one - 1 for one in (*good, *empty)]
        length = plan.chunk_length(number, row)
        step = max(1, _WORKING // plan.count)
        pieces = []
        for at in range(0, length, step):
            count = min(step, plan.chunk_size - at)
            blocks = [self._slice(one, row, at, count) for one in good] + [bytes(count)] * len(empty)
            pieces.append(_decoded(decoder, blocks, numbers, number - 1))
        data = b"".join(pieces)[:length]
        if not self._is_good(number, row, data):
            raise self._lost(number, row, [])
        self.repaired.add((number, row))
        return data

    def _slice(self, number: int, row: int, at: int, count: int) -> bytes:
        """Bytes of a chunk, filled up with zeros as they were when parity was computed."""
        left = max(0, min(count, self.plan.chunk_length(number, row) - at))
        data = self._files[number].pread(left, self.plan.header_length + row * self.plan.chunk_size + at)
        return data.ljust(count, b"\0")

    def _lost(self, number: int, row: int, others: Sequence[int]) -> VerificationError:
        """What to say where a chunk cannot be had."""
        names = [self._say(one, row) for one in (number, *others)]
        parity = f"parity repairs {self.plan.parity} of them" if self.plan.parity else "the bundle was made without parity"
        return VerificationError(
            f"{self.name} cannot be repaired: chunk {row + 1} of {', '.join(names)}",
            why=f"{len(names)} of the {self.plan.count} chunks with that number are lost, and {parity}",
            hint="get these parts again",
        )

    def _say(self, number: int, row: int) -> str:
        file = self._files.get(number)
        place = "missing" if file is None else f"damaged in {file.path.name}"
        return f"part {number} ({self.plan.file_name(number)}, {place if self._stored(number, row) is None else 'good'})"

    def report(self) -> list[str]:
        """A line for each part that is missing or was repaired so far."""
        lines = [f"part {one} ({self.plan.file_name(one)}) is missing" for one in self.missing]
        rows: dict[int, list[int]] = {}
        for number, row in sorted(self.repaired):
            rows.setdefault(number, []).append(row + 1)
        lines += [
            f"part {number} ({self._files[number].path.name}) has a damaged header: its content told which part it is"
            for number in sorted(self.headless)
        ]
        for number, found in rows.items():
            if number in self._files:
                some = ", ".join(map(str, found[:10])) + (" …" if len(found) > 10 else "")
                file = self._files[number].path.name
                lines.append(f"part {number} ({file}) is damaged: {len(found)} chunks were repaired ({some})")
        return lines


def _decoder(plan: PartPlan) -> Any:
    return erasure_code().Decoder(plan.data, plan.count)


def erasure_code() -> Any:
    """zfec, which is a library that is not installed unasked; raises `UsageError` where it is missing."""
    try:
        import zfec
    except ImportError as error:
        raise UsageError(
            "parity needs zfec, which is not installed",
            why="it is under the GPL, version 2 or later, and so never installed unasked",
            hint="pip install nexus-oci[parity]",
        ) from error
    return zfec


def _decoded(decoder: Any, blocks: list[bytes], numbers: list[int], wanted: int) -> bytes:
    """One data block; zfec takes blocks of data at their own places."""
    placed: list[bytes | None] = [None] * len(blocks)
    ids = [-1] * len(blocks)
    spare = []
    for block, number in zip(blocks, numbers, strict=True):
        if number < len(blocks):
            placed[number], ids[number] = block, number
        else:
            spare.append((block, number))
    for place in [index for index, one in enumerate(placed) if one is None]:
        placed[place], ids[place] = spare.pop(0)
    data: bytes = decoder.decode(placed, ids)[wanted]
    return data


def is_part(path: Path) -> bool:
    """Whether a file begins as a part does, or is named as one."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def open_parts(paths: Iterable[Path]) -> PartStream:
    """Put the parts of one bundle together.

    A part is known by its header, whatever its file is called; one whose header is damaged by its content. Raises
    `VerificationError` where they are of several bundles, or where too many are missing: then it names them.
    """
    files = [OpenFile(path) for path in dict.fromkeys(paths)]
    try:
        return _assembled(files)
    except BaseException:
        for file in files:
            file.close()
        raise


def _assembled(files: Sequence[OpenFile]) -> PartStream:
    """The stream; of the headers, which may be large, only one is held."""
    first: Header | None = None
    numbers: dict[OpenFile, int] = {}
    for file in files:
        header = read_header(file.pread(64, 0), file.beginning)
        if header is None:
            continue
        numbers[file] = header.number
        if first is None:
            first = header
        elif header.common != first.common:
            raise VerificationError(
                "these parts are of different bundles",
                why=f"{file.path.name} is of {header.plan.name} ({header.plan.bundle}), "
                f"others of {first.plan.name} ({first.plan.bundle})",
                hint="name the parts of one bundle",
            )
    if first is None:
        raise VerificationError(
            f"no part of a bundle among {', '.join(file.path.name for file in files[:5])}",
            why="every header is damaged, or these are other files",
            hint="name the parts of one bundle, or get them again",
        )
    found: dict[int, OpenFile] = {}
    stream = PartStream(first, found)
    for file, number in numbers.items():
        found.setdefault(number, file)
    for file in files:
        known = None if file in numbers else _recognised(stream, file)
        if known is not None and known not in found:
            found[known] = file
            stream.headless.add(known)
    _complete(stream)
    return stream


def _recognised(stream: PartStream, file: OpenFile) -> int | None:
    """The number of a part whose header is damaged, told by its chunks."""
    for number in stream.missing:
        if stream.recognises(number, file):
            return number
    return None


def _complete(stream: PartStream) -> None:
    """Refuse where more parts are missing than parity can replace."""
    missing = stream.missing
    if len(missing) <= stream.plan.parity:
        if any(number <= stream.plan.data for number in missing):
            erasure_code()
        return
    names = ", ".join(f"part {one} ({stream.plan.file_name(one)})" for one in missing)
    parity = f"parity replaces {stream.plan.parity}" if stream.plan.parity else "it was made without parity"
    raise VerificationError(
        f"{stream.name} is not whole: {names} {'is' if len(missing) == 1 else 'are'} missing",
        why=f"{len(missing)} of {stream.plan.count} parts are not there, and {parity}",
        hint="name all parts, or get the missing ones again",
    )
