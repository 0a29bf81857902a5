"""Numbered parts: a bundle cut for media that are smaller, each part whole enough to say what it belongs to.

The bundle's bytes are cut into `data` ranges of `part_size` bytes, the last one shorter: part 1 is the beginning, and so on. Each
part is a header and its range, so what follows the headers, put together in order, is the bundle. With parity there are `parity`
more parts, of which byte i is computed from byte i of every data part (Reed-Solomon, zfec): any `data` of all parts are enough,
and what is damaged is repaired chunk by chunk, wherever `data` of the chunks with that number are good.

A header, the same in every part but for the number:

    16 bytes  magic              4  version (1)      4  number: 1..data, then data+1..data+parity      8  length of the header
    32 bytes  SHA-256 of the fields above and of all that follows, up to the header's length
     4 bytes  length of the description, which is JSON and signed      1024  its signature, base64, filled up with spaces
              the description, the table: SHA-256 of every chunk of every part in order; zeros up to whole 4096 bytes

Numbers are big-endian. The description names the digest of the table, so its signature covers all chunks.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from nexus_oci.errors import UsageError, VerificationError
from nexus_oci.oci.values import Digest, canonical_json

MAGIC: Final = b"nexus-oci part\r\n"
MEDIA_TYPE: Final = "application/vnd.nexus-oci.bundle.parts.v1+json"
MOST_WITH_PARITY: Final = 256
"""Parts that the field of 2^8 elements can tell apart."""
_MOST_PARTS: Final = 900
"""Parts whose files can all be open at once."""
_LARGEST_CHUNK: Final = 1 << 20
_SMALLEST_CHUNK: Final = 4096
_CHUNKS_A_PART: Final = 64
"""Chunks that even a small part has, so that damage stays small."""
_PAGE: Final = 4096
_SLOT: Final = 1024
_FIRST = struct.Struct(">16sIIQ")
_LENGTH = struct.Struct(">I")
_HASH: Final = 32
_MOST_HEADER: Final = 256 << 20
_UNITS: Final = {
    "": 1,
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "t": 1000**4,
    "ki": 1024,
    "mi": 1024**2,
    "gi": 1024**3,
    "ti": 1024**4,
}


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """How a bundle of `size` bytes is cut; sizes in bytes. `bundle` is the digest of its inventory, `name` the file's name."""

    bundle: Digest
    name: str
    size: int
    part_size: int
    chunk_size: int
    data: int
    parity: int

    @property
    def count(self) -> int:
        """All parts."""
        return self.data + self.parity

    def length(self, number: int) -> int:
        """Bytes of a part's range, without its header."""
        return self.size - (self.data - 1) * self.part_size if number == self.data else self.part_size

    def chunks(self, number: int) -> int:
        """How many chunks a part has; its last one may be shorter."""
        return -(-self.length(number) // self.chunk_size)

    def chunk_length(self, number: int, row: int) -> int:
        """Bytes of one chunk."""
        return min(self.chunk_size, self.length(number) - row * self.chunk_size)

    @cached_property
    def hashes(self) -> int:
        """Bytes of the table."""
        return _HASH * sum(self.chunks(number) for number in range(1, self.count + 1))

    def file_name(self, number: int) -> str:
        """The name of a part's file: NAME.001, and NAME.p001 for parity."""
        return f"{self.name}.{number:03d}" if number <= self.data else f"{self.name}.p{number - self.data:03d}"

    def describe(self, table: bytes) -> bytes:
        """The description that is signed."""
        return canonical_json(
            {
                "schemaVersion": 1,
                "mediaType": MEDIA_TYPE,
                "bundle": self.bundle,
                "name": self.name,
                "size": self.size,
                "partSize": self.part_size,
                "chunkSize": self.chunk_size,
                "data": self.data,
                "parity": self.parity,
                "table": "sha256:" + hashlib.sha256(table).hexdigest(),
            }
        )

    @cached_property
    def header_length(self) -> int:
        """Bytes of each part's header."""
        plain = _FIRST.size + _HASH + _LENGTH.size + _SLOT + len(self.describe(b"")) + self.hashes
        return -(-plain // _PAGE) * _PAGE


@dataclass(frozen=True, kw_only=True)
class Header:
    """A part's header as it was read, whole. `common` is the same in every part of the bundle."""

    plan: PartPlan
    number: int
    description: bytes
    signature: bytes
    table: bytes
    common: bytes

    def chunk_hash(self, number: int, row: int) -> bytes:
        """The SHA-256 of one chunk."""
        full, last = self.plan.chunks(1), self.plan.chunks(self.plan.data)
        before = (number - 1) * full - (full - last if number > self.plan.data else 0)
        at = _HASH * (before + row)
        return self.table[at : at + _HASH]


def plan_parts(bundle: Digest, name: str, size: int, part_size: int, parity: str | None) -> PartPlan:
    """Cut a bundle so that no file is larger than `part_size`; raises `UsageError` where that cannot be.

    `parity` is a share of all parts, `10%`, or a number of parts.
    """
    whole = PartPlan(bundle=bundle, name=name, size=size, part_size=size, chunk_size=_SMALLEST_CHUNK, data=1, parity=0)
    plan = _cut(whole, part_size, parity)
    if plan is None:
        raise UsageError(
            f"parts of {part_size} bytes are too small",
            why="the header of each, which lists the chunks of all, takes more than that",
            hint=f"choose a --part-size of at least {_fitting(whole, part_size, parity)} bytes",
        )
    if plan.parity and plan.count > MOST_WITH_PARITY:
        raise UsageError(
            f"{plan.data} parts and {plan.parity} of parity are more than the {MOST_WITH_PARITY} that parity can tell apart",
            hint=f"choose a --part-size of at least {_fitting(whole, part_size, parity)} bytes, or leave --parity out",
        )
    if plan.data > _MOST_PARTS:
        raise UsageError(f"{plan.data} parts are too many", hint=f"the bundle has {size} bytes: choose a larger --part-size")
    return plan


def _cut(whole: PartPlan, part_size: int, parity: str | None) -> PartPlan | None:
    """The plan for parts of that size, however many they are; None where a header leaves no room."""
    chunk = _SMALLEST_CHUNK
    while chunk < _LARGEST_CHUNK and chunk * 2 * _CHUNKS_A_PART <= part_size:
        chunk *= 2
    plan = replace(whole, chunk_size=chunk)
    header = 0
    while header < plan.header_length:
        header = plan.header_length
        payload = (part_size - header) // chunk * chunk
        if payload <= 0:
            return None
        data = -(-whole.size // payload)
        plan = replace(plan, part_size=min(payload, whole.size), data=data, parity=_parity(parity, data))
    return plan


def _fitting(whole: PartPlan, part_size: int, parity: str | None) -> int:
    """A size of parts, not far above the smallest, with which there are not too many."""
    while (plan := _cut(whole, part_size, parity)) is None or (plan.parity and plan.count > MOST_WITH_PARITY):
        part_size += max(1, part_size // 50)
    return part_size


def _parity(text: str | None, data: int) -> int:
    """How many parity parts that are: enough for that share of all parts to be lost."""
    if text is None:
        return 0
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)(%?)", text.strip())
    if not found or (found[2] and not 0 < float(found[1]) < 100) or (not found[2] and not found[1].isdigit()):
        raise UsageError(f"--parity {text!r} is neither a share nor a number of parts", hint="write 10%, or 2")
    if not found[2]:
        return int(found[1])
    share = float(found[1]) / 100
    parity = 1
    while parity < math.ceil(share * (data + parity) - 1e-9):
        parity += 1
    return parity


def parse_size(text: str) -> int:
    """Bytes, from `4.7GB` (decimal) or `650MiB` (binary); raises `UsageError`."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?", text.strip(), re.IGNORECASE)
    if not found or found[2].lower() not in _UNITS:
        raise UsageError(f"{text!r} is no size", hint="write a number and B, kB, MB, GB, KiB, MiB or GiB, as in 4.7GB")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def write_headers(plan: PartPlan, table: bytes, signature: bytes) -> Iterator[bytes]:
    """The headers of all parts in order, one after the other: that of a large bundle has megabytes.

    Raises `UsageError` for a signature that does not fit.
    """
    if len(signature) > _SLOT:
        raise UsageError(
            "the key's signatures are too long for a part's header", hint="sign with ECDSA, Ed25519 or RSA up to 4096"
        )
    description = plan.describe(table)
    common = _LENGTH.pack(len(description)) + signature.ljust(_SLOT) + description + table
    common = common.ljust(plan.header_length - _FIRST.size - _HASH, b"\0")
    for number in range(1, plan.count + 1):
        first = _FIRST.pack(MAGIC, 1, number, plan.header_length)
        yield first + hashlib.sha256(first + common).digest() + common


def read_header(start: bytes, more: Callable[[int], bytes]) -> Header | None:
    """The header at the start of a part; `more(size)` reads that many bytes from the part's beginning. None: damaged, or no part.

    Raises `VerificationError` for one of another version.
    """
    if len(start) < _FIRST.size:
        return None
    magic, version, number, length = _FIRST.unpack(start[: _FIRST.size])
    if magic != MAGIC or not _FIRST.size + _HASH + _LENGTH.size + _SLOT < length <= _MOST_HEADER:
        return None
    whole = more(length)
    first, hashed, common = whole[: _FIRST.size], whole[_FIRST.size : _FIRST.size + _HASH], whole[_FIRST.size + _HASH :]
    if len(whole) != length or hashlib.sha256(first + common).digest() != hashed:
        return None
    if version != 1:
        raise VerificationError(f"a part is of version {version}", why="only 1 is known", hint="a newer nexus-oci made it")
    return _parse_common(number, length, common)


def _parse_common(number: int, length: int, common: bytes) -> Header | None:
    size = _LENGTH.unpack(common[: _LENGTH.size])[0]
    at = _LENGTH.size + _SLOT
    description = common[at : at + size]
    try:
        data = json.loads(description)
        numbers = [data[name] for name in ("size", "partSize", "chunkSize", "data", "parity")]
        if any(type(one) is not int or one < 0 for one in numbers) or not re.fullmatch(r"[^/\0]{1,200}", data["name"]):
            return None
        plan = PartPlan(
            bundle=Digest(data["bundle"]),
            name=data["name"],
            size=data["size"],
            part_size=data["partSize"],
            chunk_size=data["chunkSize"],
            data=data["data"],
            parity=data["parity"],
        )
        if not _is_possible(plan) or plan.header_length != length or not 1 <= number <= plan.count:
            return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    table = common[at + size : at + size + plan.hashes]
    if plan.describe(table) != description or common[at + size + plan.hashes :].strip(b"\0"):
        return None
    signature = common[_LENGTH.size : at].rstrip(b" ")
    return Header(plan=plan, number=number, description=description, signature=signature, table=table, common=common)


def _is_possible(plan: PartPlan) -> bool:
    """Whether the numbers fit together, so that computing with them takes neither memory nor time."""
    return (
        _SMALLEST_CHUNK <= plan.chunk_size <= _LARGEST_CHUNK
        and 0 < plan.part_size <= plan.size
        and 1 <= plan.data <= _MOST_PARTS
        and plan.data == -(-plan.size // plan.part_size)
        and (not plan.parity or plan.count <= MOST_WITH_PARITY)
        and plan.size // plan.chunk_size < _MOST_HEADER // _HASH
    )


def parts_of(path: Path) -> list[Path]:
    """The parts that stand beside a bundle's name: `NAME.001`, `NAME.p001` and so on."""
    pattern = re.compile(re.escape(path.name) + r"\.p?[0-9]{3,4}\Z")
    folder = path.parent
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if pattern.match(one.name))
