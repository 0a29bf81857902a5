"""A zip file (PKWARE's APPNOTE.TXT) that is the same to the byte wherever the same zlib makes it.

Members are sorted, of one time in UTC, with Unix modes; files of 4 GiB and more get the Zip64 fields that zipfile writes.
"""

from __future__ import annotations

import stat
import time
import zipfile
from collections.abc import Sequence
from typing import IO, Final

from nexus_oci.formats.libraries.members import Member

_EARLIEST: Final = 315532800
"""1980-01-01 UTC, in seconds: before it there is no time in a zip file."""
_UNIX: Final = 3
_BLOCK: Final = 1 << 20
_LEVEL: Final = 9


def write_zip(out: IO[bytes], members: Sequence[Member], epoch: int) -> None:
    """Write members in the order given, each with the time `epoch`, in seconds."""
    moment = time.gmtime(max(epoch, _EARLIEST))[:6]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for member in members:
            entry = zipfile.ZipInfo(member.path, moment)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = _UNIX
            entry.external_attr = (stat.S_IFREG | (0o755 if member.executable else 0o644)) << 16
            entry.file_size = member.size
            with archive.open(entry, "w") as target:
                if member.data is not None:
                    target.write(member.data)
                elif member.file is not None:
                    with member.file.open("rb") as source:
                        while block := source.read(_BLOCK):
                            target.write(block)
