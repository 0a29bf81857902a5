"""The archive that a flat package is (xar, «eXtensible ARchiver», its wiki's pages on the format): written, read, and checked.

A header of 28 bytes; a table of contents, XML, in zlib's form; and the heap, where every file lies as the table says. At the
heap's beginning is the digest of the table in that form, and after it the signatures of that digest: RSA over it, and a CMS whose
content it is. The table has a digest of every file, so that the one over the table vouches for all. It is SHA-1: the Installer of
macOS takes no signature over another, and neither does libarchive read another; SHA-256 signs it in the CMS.

The table is stored, not squeezed (RFC 1951, 3.2.4): it has a few kB, and so its bytes are the same whatever zlib is at hand.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Protocol
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from nexus_oci.errors import VerificationError

_HEADER: Final = struct.Struct(">4sHHQQI")
_SHA1: Final = 1
_DIGEST: Final = 20
_MOST_TABLE: Final = 64 << 20
_BLOCK: Final = 1 << 20
_TIME: Final = "%Y-%m-%dT%H:%M:%S"
_NAMESPACE: Final = "http://www.w3.org/2000/09/xmldsig#"


class TableSigner(Protocol):
    """What signs an archive: the lengths of its signatures have to be known before what they are of."""

    @property
    def certificates(self) -> Sequence[bytes]:
        """The chain, DER, the signer's own first."""
        ...

    def rsa(self, digest: bytes) -> bytes:
        """PKCS #1 v1.5 over a SHA-1 digest."""
        ...

    def cms(self, digest: bytes) -> bytes:
        """A detached CMS whose content is the digest, always as long for a digest of that length."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A file that is to go into an archive: what it is in and from which byte on, its size in bytes and SHA-1 (hexadecimal)."""

    path: Path
    size: int
    sha1: str
    offset: int = 0


@dataclass(kw_only=True)
class HashedFile:
    """A file that is written, and hashed meanwhile. `stored` is what an archive needs of it."""

    path: Path
    file: IO[bytes]
    _sha1: hashlib._Hash = field(default_factory=lambda: hashlib.sha1(usedforsecurity=False))
    _size: int = 0

    def write(self, data: bytes) -> int:
        """Append data."""
        self._sha1.update(data)
        self._size += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        """As the file."""
        self.file.flush()

    @property
    def stored(self) -> Stored:
        """What was written so far."""
        return Stored(path=self.path, size=self._size, sha1=self._sha1.hexdigest())


Members = Mapping[str, "Stored | Members"]
"""Files and folders by name."""


def write_xar(out: IO[bytes], members: Members, epoch: int, signer: TableSigner | None = None) -> None:
    """Write an archive of the members, in their order; `epoch` is its time in seconds. Files are not compressed."""
    lengths: list[int] = []
    if signer is not None:
        lengths = [len(signer.rsa(bytes(_DIGEST))), len(signer.cms(bytes(_DIGEST)))]
    layout = _Layout(offset=_DIGEST + sum(lengths))
    files = layout.element(members)
    head = f'<checksum style="sha1"><offset>0</offset><size>{_DIGEST}</size></checksum>'
    head += f"<creation-time>{time.strftime(_TIME, time.gmtime(epoch))}</creation-time>"
    if signer is not None:
        head += _signature("signature", "RSA", _DIGEST, lengths[0], signer)
        head += _signature("x-signature", "CMS", _DIGEST + lengths[0], lengths[1], signer)
    table = f'<?xml version="1.0" encoding="UTF-8"?>\n<xar><toc>{head}{files}</toc></xar>'.encode()
    packed = _stored(table)
    digest = hashlib.sha1(packed, usedforsecurity=False).digest()
    out.write(_HEADER.pack(b"xar!", _HEADER.size, 1, len(packed), len(table), _SHA1))
    out.write(packed + digest)
    if signer is not None:
        made = signer.rsa(digest), signer.cms(digest)
        if [len(one) for one in made] != lengths:
            raise VerificationError("the signer's signatures vary in length", why="their places are fixed before they are made")
        out.write(b"".join(made))
    for stored in layout.heap:
        with stored.path.open("rb") as file:
            file.seek(stored.offset)
            left = stored.size
            while left and (block := file.read(min(left, _BLOCK))):
                out.write(block)
                left -= len(block)


def _stored(data: bytes) -> bytes:
    """Data in zlib's form (RFC 1950), in blocks that are not compressed."""
    blocks = [data[start : start + 0xFFFF] for start in range(0, len(data), 0xFFFF)] or [b""]
    body = b"".join(
        struct.pack("<BHH", number == len(blocks), len(block), len(block) ^ 0xFFFF) + block
        for number, block in enumerate(blocks, 1)
    )
    return b"\x78\x01" + body + struct.pack(">I", zlib.adler32(data))


def sign_xar(path: Path, out: IO[bytes], signer: TableSigner) -> None:
    """Write the archive at `path`, whatever signatures it has, with the signer's; raises `VerificationError` if it is damaged."""
    archive = read_xar(path)
    members: dict[str, Any] = {}
    for one in archive.members:
        *folders, name = one.path.split("/")
        place = members
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = Stored(path=path, size=one.size, sha1=one.sha1, offset=one.offset)
    write_xar(out, members, archive.epoch, signer)


@dataclass(kw_only=True)
class _Layout:
    """The places that files get in the heap, and their elements in the table."""

    offset: int
    number: int = 0
    heap: list[Stored] = field(default_factory=list)

    def element(self, members: Members) -> str:
        """The elements of a folder's members."""
        return "".join(self._file(name, member) for name, member in members.items())

    def _file(self, name: str, member: Stored | Members) -> str:
        self.number += 1
        head = f'<file id="{self.number}"><name>{escape(name)}</name>'
        if not isinstance(member, Stored):
            return f"{head}<type>directory</type><mode>0755</mode>{self.element(member)}</file>"
        place = f"<length>{member.size}</length><offset>{self.offset}</offset><size>{member.size}</size>"
        sums = "".join(f'<{name} style="sha1">{member.sha1}</{name}>' for name in ("extracted-checksum", "archived-checksum"))
        self.heap.append(member)
        self.offset += member.size
        kind = '<encoding style="application/octet-stream"/>'
        return f"{head}<type>file</type><mode>0644</mode><data>{place}{kind}{sums}</data></file>"


def _signature(element: str, style: str, offset: int, size: int, signer: TableSigner) -> str:
    encoded = (base64.b64encode(one).decode() for one in signer.certificates)
    chain = "".join(f"<X509Certificate>{one}</X509Certificate>" for one in encoded)
    keys = f'<KeyInfo xmlns="{_NAMESPACE}"><X509Data>{chain}</X509Data></KeyInfo>'
    return f'<{element} style="{style}"><offset>{offset}</offset><size>{size}</size>{keys}</{element}>'


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A signature in an archive: its style (`RSA`, `CMS`), its bytes, and its certificates (DER, the signer's first)."""

    style: str
    data: bytes
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in an archive by its path, and where it lies in the file that is the archive, in bytes."""

    path: str
    offset: int
    size: int
    sha1: str


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An archive whose table and files were found to be what their digests say; who signed it is not judged yet.

    `digest` is that of the table, `epoch` its time in seconds.
    """

    digest: bytes
    epoch: int
    members: tuple[Member, ...]
    signatures: tuple[Signature, ...]

    def member(self, path: str) -> Member:
        """The file of that path; raises `VerificationError` where there is none."""
        for one in self.members:
            if one.path == path:
                return one
        raise VerificationError(f"there is no {path} in the package")


def read_xar(path: Path) -> Archive:
    """Read an archive's table and every file, and check each digest; raises `VerificationError` for the first that is wrong.

    Files are expected to lie in the heap as they are, as `write_xar` leaves them.
    """
    with path.open("rb") as file:
        table, digest, heap = _table(file, path.name)
        if _at(file, heap, _number(table, "checksum/offset"), _number(table, "checksum/size")) != digest:
            raise VerificationError(f"{path.name} is damaged", why="its table of contents is not what its digest says")
        signatures = tuple(
            Signature(
                style=str(found.get("style")),
                data=_at(file, heap, _number(found, "offset"), _number(found, "size")),
                certificates=tuple(base64.b64decode(one.text or "") for one in found.iter(f"{{{_NAMESPACE}}}X509Certificate")),
            )
            for found in (*table.findall("signature"), *table.findall("x-signature"))
        )
        members = tuple(_checked(file, heap, one, name) for name, one in _files(table, ""))
        places = [table.find("checksum"), *table.findall("signature"), *table.findall("x-signature")]
        ends = [heap + _number(one, "offset") + _number(one, "size") for one in places if one is not None]
        if file.seek(0, 2) != max([*ends, *(one.offset + one.size for one in members)]):
            raise VerificationError(f"{path.name} is damaged", why="there is more in it than its table of contents says")
    return Archive(digest=digest, epoch=_epoch(table), members=members, signatures=signatures)


def _table(file: IO[bytes], name: str) -> tuple[ET.Element, bytes, int]:
    """The table, the digest of its deflated bytes, and where the heap begins."""
    head = file.read(_HEADER.size)
    magic, size, version, packed, plain, kind = _HEADER.unpack(head.ljust(_HEADER.size, b"\0"))
    if (magic, version, kind) != (b"xar!", 1, _SHA1) or size < _HEADER.size or max(packed, plain) > _MOST_TABLE:
        raise VerificationError(
            f"{name} is no package of macOS that can be read", why="its header is not that of a xar with SHA-1"
        )
    file.seek(size)
    data = file.read(packed)
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(data, _MOST_TABLE)
        if len(text) != plain or inflate.unconsumed_tail or not inflate.eof or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise VerificationError(f"{name} is damaged", why="its table of contents is not of the size that its header says")
        root = ET.fromstring(text)  # noqa: S314  bounded, and without declarations of entities
    except (zlib.error, ET.ParseError) as error:
        raise VerificationError(f"{name} is damaged", why=f"its table of contents cannot be read: {error}") from error
    table = root.find("toc")
    if table is None:
        raise VerificationError(f"{name} is damaged", why="it has no table of contents")
    return table, hashlib.sha1(data, usedforsecurity=False).digest(), size + packed


def _files(folder: ET.Element, above: str) -> Iterator[tuple[str, ET.Element]]:
    for element in folder.findall("file"):
        path = f"{above}{element.findtext('name', '')}"
        if element.findtext("type") == "directory":
            yield from _files(element, f"{path}/")
        else:
            yield path, element


def _checked(file: IO[bytes], heap: int, element: ET.Element, path: str) -> Member:
    offset, size = _number(element, "data/offset"), _number(element, "data/length")
    expected = element.find("data/archived-checksum")
    if expected is None or expected.get("style") != "sha1":
        raise VerificationError(f"{path} in the package has no digest that can be checked", why="only SHA-1 is")
    found = hashlib.sha1(usedforsecurity=False)
    file.seek(heap + offset)
    left = size
    while left and (block := file.read(min(left, _BLOCK))):
        found.update(block)
        left -= len(block)
    if left or found.hexdigest() != expected.text:
        raise VerificationError(f"{path} in the package is damaged", why="its bytes are not what its digest says")
    return Member(path=path, offset=heap + offset, size=size, sha1=found.hexdigest())


def _epoch(table: ET.Element) -> int:
    try:
        return calendar.timegm(time.strptime(table.findtext("creation-time", ""), _TIME))
    except ValueError as error:
        raise VerificationError("the package is damaged", why="its table of contents has no time that can be read") from error


def _at(file: IO[bytes], heap: int, offset: int, size: int) -> bytes:
    if size > _MOST_TABLE:
        raise VerificationError("the package is damaged", why=f"a signature of {size} bytes is none")
    file.seek(heap + offset)
    return file.read(size)


def _number(element: ET.Element, path: str) -> int:
    text = element.findtext(path, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise VerificationError("the package is damaged", why=f"its table of contents has no number at {path}")
    return int(text)
