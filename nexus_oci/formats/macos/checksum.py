"""The checksum of the POSIX utility `cksum` (IEEE Std 1003.1, cksum), which a Bom has for every file.

It is CRC-32 with the bits the other way round from zlib's, and the length after the data. zlib works through bytes whose bits are
reversed, so that it runs at zlib's speed.
"""

from __future__ import annotations

import zlib

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


class Cksum:
    """The checksum of what was written to it so far."""

    def __init__(self) -> None:
        self._crc = 0xFFFFFFFF
        self._length = 0

    def update(self, data: bytes) -> None:
        """Add data at the end."""
        self._crc = zlib.crc32(data.translate(_REVERSED), self._crc)
        self._length += len(data)

    @property
    def value(self) -> int:
        """The checksum, 32 bits."""
        crc, left = self._crc, self._length
        while left:
            crc = zlib.crc32(_REVERSED[left & 0xFF :][:1], crc)
            left >>= 8
        return int(f"{crc:032b}"[::-1], 2)
