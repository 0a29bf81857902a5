"""Reads the content of artifacts that can be read with what Python has: tar.gz archives, and Debian packages.

deb(5): an ar archive whose member `data.tar`, compressed or not, has the files. What is compressed with zstd is not read here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.ar import ar_members, unpacked
from nexus_oci.oci.gzip import inflated
from nexus_oci.oci.tar_header import Buffer
from nexus_oci.sbom.layers import Layer, read_layer

READABLE: Final = ("tar.gz", "deb")
"""Formats whose files can be read, the best first."""


def read_archive(kind: str, chunks: Iterable[Buffer], origin: str) -> Layer:
    """The files of an artifact of a readable format; raises `ArchiveError` where it is damaged."""
    if kind == "tar.gz":
        return read_layer(inflated(chunks, origin), origin=origin)
    found = None
    for name, data in ar_members(chunks, origin):
        if name.startswith("data.tar"):
            found = read_layer(unpacked(name, data, origin), origin=origin)
    if found is None:
        raise ArchiveError(f"{origin} is no Debian package", why="it has no data.tar")
    return found
