"""Small releases for the tests of policies: images and artifacts of the files that a test wants in them."""

from __future__ import annotations

import ctypes
import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nexus_oci.oci import media_types
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Platform, digest_of
from nexus_oci.release.assemble import BuiltFile, Named, store_artifact, store_index, store_release
from nexus_oci.release.image import ImageLayer, store_image

ROOT = Path(__file__).resolve().parents[2]
AMD64 = Platform.parse("linux/amd64")
EPOCH = 1_800_000_000
DAY = 86_400
SECRET = (
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ8a7Wc5n3Q1xT0vYlQbR2dKfUo9sZeHmPpNqLwXyEtA\n-----END PRIVATE KEY-----\n"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of a tar."""

    data: bytes = b""
    mode: int = 0o644
    mtime: int = EPOCH - DAY
    pax: Mapping[str, str] = field(default_factory=dict)
    link: str = ""
    symlink: str = ""


Files = Mapping[str, Entry | bytes]


def tar(files: Files) -> bytes:
    """A tar of them, in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, given in files.items():
            entry = given if isinstance(given, Entry) else Entry(data=given)
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime, info.pax_headers = len(entry.data), entry.mode, entry.mtime, dict(entry.pax)
            if entry.link or entry.symlink:
                info.type, info.linkname = (tarfile.LNKTYPE, entry.link) if entry.link else (tarfile.SYMTYPE, entry.symlink)
            archive.addfile(info, io.BytesIO(entry.data))
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def deb(files: Files) -> bytes:
    """An ar archive with the members of a Debian package."""
    members = {"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(tar({})), "data.tar.gz": gzip.compress(tar(files))}
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def zstd(data: bytes) -> bytes:
    """A zstd frame, made by the library that is unpacked with."""
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(library.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    size = library.ZSTD_compress(out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)), 3)
    return out.raw[:size]


def cpio(files: Files) -> bytes:
    """An archive of the new ASCII form (cpio(5))."""
    out = b""
    for name, given in (*files.items(), ("TRAILER!!!", Entry(mode=0))):
        entry = given if isinstance(given, Entry) else Entry(data=given)
        fields = (1, 0o100000 | entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % number for number in fields) + name.encode() + b"\0"
        out += head + bytes(-len(head) % 4) + entry.data + bytes(-len(entry.data) % 4)
    return out


def rpm(files: Files, compress: Callable[[bytes], bytes]) -> bytes:
    """What holds a payload as an rpm package does: a lead, two headers, and the compressed archive."""
    header = b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">II", 1, 5) + bytes(16) + b"12345"
    return b"\xed\xab\xee\xdb" + bytes(92) + header + bytes(3) + header + compress(cpio(files))


def elf(body: bytes = b"engine") -> bytes:
    """What begins as a Linux program does."""
    return b"\x7fELF\x02\x01\x01" + bytes(57) + body


def go_program(module: str, body: bytes = b"") -> bytes:
    """A Linux program with Go's build information in it, as Go has written it since 1.18."""
    lines = f"path\t{module}/cmd\nmod\t{module}\t(devel)\t\n".encode()
    info = bytes(16) + lines + bytes(16)
    head = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16)
    return elf(body) + head + _counted(b"go1.24") + _counted(info)


def _counted(text: bytes) -> bytes:
    length, out = len(text), b""
    while length >= 0x80:
        out += bytes([length & 0x7F | 0x80])
        length >>= 7
    return out + bytes([length]) + text


def capability() -> dict[str, str]:
    """The pax record of cap_net_raw+ep (capability.h, VFS_CAP_REVISION_2)."""
    return {"SCHILY.xattr.security.capability": struct.pack("<5I", 0x02000001, 0x2000, 0, 0, 0).decode("latin-1")}


@dataclass(kw_only=True)
class Kit:
    """Writes a release into a store."""

    store: Store
    images: list[Named] = field(default_factory=list)
    artifacts: list[Descriptor] = field(default_factory=list)

    def layer(self, files: Files, media_type: str = media_types.LAYER_GZIP) -> ImageLayer:
        data = tar(files)
        packed = gzip.compress(data, mtime=0) if media_type != media_types.LAYER else data
        return ImageLayer(descriptor=self.store.put(packed, media_type), diff_id=digest_of(data), created_by="x")

    def image(
        self,
        distribution: str,
        *layers: Files | ImageLayer,
        user: str = "65532:65532",
        entrypoint: Sequence[str] = ("engine",),
        base: Files | None = None,
        environment: Sequence[str] = (),
    ) -> Descriptor:
        """An image of one platform, and its index."""
        found = [layer if isinstance(layer, ImageLayer) else self.layer(layer) for layer in layers]
        labels = {media_types.DISTRIBUTION: distribution, media_types.VERSION: "1.0.0"}
        if base is not None:
            below = self.layer(base)
            found.insert(0, ImageLayer(descriptor=below.descriptor, diff_id=below.diff_id, created_by="base static local/static"))
            labels[media_types.BASE_DIGEST] = str(digest_of(b"base"))
        config: dict[str, Any] = {"User": user, "Entrypoint": list(entrypoint), "Env": list(environment)}
        image = store_image(self.store, platform=AMD64, config=config, layers=found, labels=labels, epoch=EPOCH)
        index = store_index(self.store, [image], {media_types.DISTRIBUTION: distribution})
        self.images.append(Named(descriptor=index, repository=distribution, tag="1.0.0"))
        return index

    def artifact(self, distribution: str, kind: str, title: str, data: bytes, index: Descriptor) -> Descriptor:
        blob = self.store.put(data, media_types.ARTIFACTS[kind][1])
        file = BuiltFile(distribution=distribution, platform=AMD64, format=kind, title=title, files=((title, blob),))
        self.artifacts.append(store_artifact(self.store, file, index, {}))
        return self.artifacts[-1]

    def release(self, version: str = "1.0.0") -> Descriptor:
        """The release of all that was written so far, named as a build names it."""
        notes = {media_types.TITLE: "Shop", media_types.VERSION: version, media_types.CREATED: "2027-01-15T08:00:00Z"}
        root = store_release(self.store, images=self.images, artifacts=self.artifacts, charts=[], annotations=notes)
        names = {f"{named.repository}:{named.tag}": named.descriptor for named in self.images}
        self.store.replace_tags({version: root, **names}, self.artifacts)
        return root
