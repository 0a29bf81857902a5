"""Looks into files for what gates ask about: secrets, programs, rights, and archives, also inside of one another.

A file passes once. Up to a few MiB of it are held, more is put into a scratch file without a name. Archives are looked into
(tar, zip, ar, cpio, rpm, and what gzip, bzip2, xz and, where there is libzstd, zstd made), to a depth, a number of files and a
number of bytes that no honest archive has; what cannot be looked into is noted as such, and never passed over.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import IO, Any, BinaryIO, Final, cast

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.ar import ar_members
from nexus_oci.oci.cpio import MAGICS, RPM, Readable, cpio_members, skip_to_payload
from nexus_oci.oci.tar_header import Entry, Kind
from nexus_oci.pipeline.zstd import MAGIC as ZSTD
from nexus_oci.pipeline.zstd import ZstdFile
from nexus_oci.sbom.model import shown_path
from nexus_oci.staging.licences import go_build
from nexus_oci.staging.secrets import scan_bytes, scan_file

HELD: Final = 8 << 20
"""Bytes of a file that are held in memory."""
DEEPEST: Final = 6
"""Archives in archives: a deb with a tar with a jar in it is three."""
MOST_FILES: Final = 200_000
MOST_BYTES: Final = 8 << 30
"""Files in, and bytes unpacked from, all archives of one blob."""
_PIECE: Final = 1 << 20
_HEAD: Final = 512
_PAGE: Final = 4096
_MOST_BLOCKS: Final = (64 << 20) // _PAGE
_TAIL: Final = 66_000
"""Bytes at the end of a zip archive in which its directory's end record has to be (APPNOTE 4.3.16)."""
_CAPABILITIES: Final = "security.capability"
PROGRAMS: Final = (
    b"\x7fELF",
    b"MZ",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xca\xfe\xba\xbe",
)
"""How a program begins: Linux, Windows, and macOS in either order of bytes and as several in one. A Java class begins so too."""
_CLOSED: Final = {
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"MSCF": "cabinet",
    b"xar!": "xar",
    b"hsqs": "squashfs",
    b"\xd0\xcf\x11\xe0": "OLE (msi)",
    b"070707": "cpio",
}
"""How archives begin that are not looked into here."""
_FAULTS: Final = (
    ArchiveError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class SeenFile:
    """A file that gates may ask about: one with special rights, a program, or an archive that stays closed, which `why` then
    says.

    `path` has `!` after each archive that the file is in. `digest` is of a program, `module` the main module of one that Go
    built.
    """

    path: str
    mode: int
    capabilities: bool = False
    program: bool = False
    digest: str = ""
    module: str = ""
    why: str = ""
    blocks: frozenset[bytes] = field(default=frozenset(), compare=False, repr=False)
    """Of a program: short digests of its pages, by which a changed copy of it is known."""

    @property
    def nested(self) -> bool:
        """Whether it is inside an archive."""
        return "!" in self.path


@dataclass(frozen=True, kw_only=True)
class SeenSecret:
    """A secret, told by path, line and kind, and of itself four characters at most."""

    path: str
    line: int
    kind: str
    hint: str


@dataclass(kw_only=True)
class Seen:
    """What was found in one blob. `passwd` is the text of etc/passwd, where a layer has one."""

    files: list[SeenFile] = field(default_factory=list)
    secrets: list[SeenSecret] = field(default_factory=list)
    passwd: bytes | None = None
    newest: int = 0
    """When the youngest of a layer's entries was changed, in seconds since 1970."""


@dataclass(kw_only=True)
class Inspector:
    """Looks at the entries of one layer, or at one file."""

    seen: Seen
    _files: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    def watch(self, entry: Entry, data: Iterator[memoryview]) -> Iterator[memoryview]:
        """Look at an entry of a layer while it passes: a `sbom.layers.Watch`."""
        about = SeenFile(
            path=shown_path(entry.name),
            mode=entry.mode,
            capabilities=any(name == _CAPABILITIES for name, _ in entry.xattrs),
        )
        self.seen.newest = max(self.seen.newest, entry.mtime)
        if entry.kind != Kind.FILE:
            if entry.kind == Kind.LINK and _has_rights(about):
                self.seen.files.append(about)
            yield from data
            return
        with _spool() as content:
            for piece in data:
                content.write(piece)
                yield piece
            self._look(about, content, 0)
            if entry.name == "etc/passwd" and entry.size < _PIECE:
                content.seek(0)
                self.seen.passwd = content.read()

    def look_at(self, name: str, chunks: Iterable[bytes]) -> None:
        """Look at a whole blob, such as an artifact's file."""
        with _spool() as content:
            for chunk in chunks:
                content.write(chunk)
            self._look(SeenFile(path=shown_path(name), mode=0o644), content, 0)

    def _look(self, about: SeenFile, content: IO[bytes], depth: int) -> None:
        """Everything there is to find in one file, whose content is at hand."""
        size = content.seek(0, 2)
        content.seek(0)
        head = content.read(_HEAD)
        own = self._search(about.path, content, size)
        inner = len(self.seen.secrets)
        program = head.startswith(PROGRAMS) and size > 64
        if program:
            content.seek(0)
            build = go_build(cast(BinaryIO, content))
            content.seek(0)
            digest, blocks = _hashed(content)
            about = replace(
                about,
                program=True,
                digest=digest,
                blocks=blocks,
                module=build.main.path if build and build.main else "",
            )
        try:
            self._unpack(about, content, head, size, depth)
        except _FAULTS as error:
            about = replace(about, why=" ".join(f"it is an archive that cannot be read: {error}".split())[:200])
        if about.why or program or _has_rights(about):
            self.seen.files.append(about)
        if len(self.seen.secrets) == inner:  # what an archive shows through its skin is told once, where it is
            self.seen.secrets += own

    def _search(self, path: str, content: IO[bytes], size: int) -> list[SeenSecret]:
        content.seek(0)
        if size <= HELD:
            found = scan_bytes(path, content.read())
        else:
            content.flush()
            found = scan_file(path, f"/dev/fd/{content.fileno()}")
        return [SeenSecret(path=one.path, line=one.line, kind=one.kind, hint=one.hint) for one in found]

    def _unpack(self, about: SeenFile, content: IO[bytes], head: bytes, size: int, depth: int) -> None:
        """Look at what is inside, where it is an archive; raises one of `_FAULTS` where that cannot be."""
        closed = next((kind for magic, kind in _CLOSED.items() if head.startswith(magic)), None)
        if closed is not None:
            raise ArchiveError(f"{closed} is not unpacked here")
        content.seek(0)
        if _is_zip(content, size):
            self._deeper(depth)
            self._zip(about, content, depth)
        elif head[257:262] == b"ustar" or (about.path.endswith(".tar") and tarfile.is_tarfile(content)):
            self._deeper(depth)
            content.seek(0)
            self._tar(about, content, depth)
        elif head.startswith(b"!<arch>\n") and not about.path.endswith((".a", ".lib")):
            self._deeper(depth)
            content.seek(0)
            for name, data in ar_members(iter(lambda: content.read(_PIECE), b""), about.path):
                self._inner(SeenFile(path=f"{about.path}!{name}", mode=0o644), _Chunks(data), depth)
        elif head.startswith(RPM):
            self._deeper(depth)
            content.seek(0)
            skip_to_payload(content)
            payload = content.tell()
            magic = content.read(_HEAD)
            content.seek(payload)
            opened = _decompressed(content, magic)
            if opened is None:
                raise ArchiveError("the payload of the rpm package is of an unknown kind")
            with closing(opened):
                self._cpio(about, opened, depth)
        elif head.startswith(MAGICS):
            self._deeper(depth)
            content.seek(0)
            self._cpio(about, content, depth)
        elif opened := _decompressed(_at_start(content), head):
            self._deeper(depth)
            with closing(opened):
                self._inner(SeenFile(path=f"{about.path}!{_stem(about.path)}", mode=0o644), opened, depth)

    def _deeper(self, depth: int) -> None:
        if depth >= DEEPEST:
            raise ArchiveError(f"archives are in one another more than {DEEPEST} deep")

    def _tar(self, about: SeenFile, content: IO[bytes], depth: int) -> None:
        with tarfile.open(fileobj=content, mode="r|") as archive:
            for member in archive:
                capable = f"SCHILY.xattr.{_CAPABILITIES}" in member.pax_headers
                inner = SeenFile(path=f"{about.path}!{shown_path(member.name)}", mode=member.mode & 0o7777, capabilities=capable)
                data = archive.extractfile(member) if member.isreg() else None
                if data is not None:
                    self._inner(inner, data, depth)
                elif member.islnk() and _has_rights(inner):
                    self.seen.files.append(inner)

    def _cpio(self, about: SeenFile, content: Readable, depth: int) -> None:
        for member in cpio_members(content):
            if stat.S_ISREG(member.mode):
                name = shown_path(member.name.removeprefix("./"))
                self._inner(SeenFile(path=f"{about.path}!{name}", mode=member.mode & 0o7777), member, depth)

    def _zip(self, about: SeenFile, content: IO[bytes], depth: int) -> None:
        with zipfile.ZipFile(content) as archive:
            for member in archive.infolist():
                mode = member.external_attr >> 16 & 0o7777
                if not member.is_dir():
                    with archive.open(member) as data:
                        self._inner(SeenFile(path=f"{about.path}!{shown_path(member.filename)}", mode=mode), data, depth)

    def _inner(self, about: SeenFile, data: Any, depth: int) -> None:
        """Look at a file inside an archive."""
        self._files += 1
        if self._files > MOST_FILES:
            raise ArchiveError(f"it has more than {MOST_FILES} files in it")
        with _spool() as content:
            while piece := data.read(_PIECE):
                self._bytes += len(piece)
                if self._bytes > MOST_BYTES:
                    raise ArchiveError(f"it unpacks to more than {MOST_BYTES >> 30} GiB")
                content.write(piece)
            self._look(about, content, depth + 1)


class _Chunks:
    """Pieces as a file to be read."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces

    def read(self, _: int) -> bytes:
        """The next piece; nothing at the end."""
        return bytes(next(self._pieces, b""))


def _hashed(content: IO[bytes]) -> tuple[str, frozenset[bytes]]:
    """The SHA-256 of a program, and short digests of its pages, but for empty ones and what lies beyond the first 64 MiB."""
    whole = hashlib.sha256()
    blocks: set[bytes] = set()
    while piece := content.read(_PIECE):
        whole.update(piece)
        if len(blocks) < _MOST_BLOCKS:
            pages = (piece[at : at + _PAGE] for at in range(0, len(piece), _PAGE))
            blocks |= {hashlib.blake2b(page, digest_size=8).digest() for page in pages if page.count(0) != len(page)}
    return whole.hexdigest(), frozenset(blocks)


def _spool() -> IO[bytes]:
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=HELD))


def _has_rights(about: SeenFile) -> bool:
    return bool(about.mode & 0o6000) or about.capabilities


def _stem(path: str) -> str:
    """What a compressed file is called once it is unpacked."""
    name = path.rpartition("/")[2].rpartition("!")[2]
    base, dot, ending = name.rpartition(".")
    if ending in ("tgz", "tbz2", "txz"):
        return f"{base}.tar"
    return base if dot and ending in ("gz", "bz2", "xz", "lzma", "zst") else f"{name}.content"


def _is_zip(content: IO[bytes], size: int) -> bool:
    """Whether it is a zip archive, or a program with one behind it."""
    content.seek(max(0, size - _TAIL))
    if b"PK\x05\x06" not in content.read(_TAIL):
        return False
    content.seek(0)
    return zipfile.is_zipfile(content)


def _at_start(content: IO[bytes]) -> IO[bytes]:
    content.seek(0)
    return content


def _decompressed(content: IO[bytes], head: bytes) -> Any:
    """What a file that is compressed from here on unpacks to, as a file; None for any other file."""
    if head.startswith(ZSTD):
        return ZstdFile(content)
    if head.startswith(b"\x1f\x8b\x08"):
        return gzip.GzipFile(fileobj=content, mode="rb")
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return bz2.BZ2File(content)
    return lzma.LZMAFile(content) if head.startswith(b"\xfd7zXZ\x00") else None
