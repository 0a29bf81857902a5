"""Unpacks zstd with the system's libzstd, which Debian's package manager itself needs; Python has no reader of its own before
3.14.

Streamed: in pieces, with a window of at most 128 MiB, which is the library's own limit. Where there is no libzstd, nothing is
unpacked, and whoever asks is told so.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache
from typing import IO, Any, Final

from nexus_oci.errors import ArchiveError

MAGIC: Final = b"\x28\xb5\x2f\xfd"
_NAMES: Final = ("libzstd.so.1", "libzstd.1.dylib", "libzstd.dll")
_PIECE: Final = 1 << 17


class _Buffer(ctypes.Structure):
    """`ZSTD_inBuffer` and `ZSTD_outBuffer` (zstd.h): a place, its size, and how far it is used."""

    _fields_ = (("place", ctypes.c_void_p), ("size", ctypes.c_size_t), ("used", ctypes.c_size_t))


@cache
def _library() -> Any:
    """The library, its functions declared; None where the system has none."""
    for name in _NAMES:
        with suppress(OSError):
            found = ctypes.CDLL(name)
            found.ZSTD_createDStream.restype = ctypes.c_void_p
            found.ZSTD_freeDStream.argtypes = (ctypes.c_void_p,)
            found.ZSTD_decompressStream.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer))
            found.ZSTD_decompressStream.restype = ctypes.c_size_t
            found.ZSTD_isError.argtypes = (ctypes.c_size_t,)
            found.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
            found.ZSTD_getErrorName.restype = ctypes.c_char_p
            return found
    return None


def is_there() -> bool:
    """Whether this machine can unpack zstd."""
    return _library() is not None


class ZstdFile:
    """What a zstd file unpacks to, as a file to be read once. Raises `ArchiveError` for damaged and cut data, and without
    libzstd."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zstd = _library()
        if self._zstd is None:
            raise ArchiveError("zstd is not unpacked here", why="this machine has no libzstd")
        self._file = file
        self._stream = self._zstd.ZSTD_createDStream()
        self._output = ctypes.create_string_buffer(_PIECE)
        self._ready = b""
        self._data = b""
        self._used = 0
        self._open = True
        """Whether the last frame has not ended."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, and at most 128 KiB; empty at the end."""
        if not self._ready:
            self._ready = self._next()
        wanted = len(self._ready) if size < 0 else size
        found, self._ready = self._ready[:wanted], self._ready[wanted:]
        return found

    def _next(self) -> bytes:
        """What comes next, in the pieces that the library gives."""
        while self._stream:
            if self._used == len(self._data):
                self._data, self._used = self._file.read(_PIECE), 0
            source = _Buffer(ctypes.cast(ctypes.c_char_p(self._data), ctypes.c_void_p), len(self._data), self._used)
            target = _Buffer(ctypes.cast(self._output, ctypes.c_void_p), _PIECE, 0)
            result = self._zstd.ZSTD_decompressStream(self._stream, ctypes.byref(target), ctypes.byref(source))
            if self._zstd.ZSTD_isError(result):
                raise ArchiveError("the zstd data is damaged", why=self._zstd.ZSTD_getErrorName(result).decode())
            if self._data:
                self._used, self._open = source.used, result != 0
            if target.used:
                return self._output.raw[: target.used]
            if not self._data:
                if self._open:
                    raise ArchiveError("the zstd data is cut")
                return b""
        return b""

    def close(self) -> None:
        """Give the library's memory back."""
        if self._stream:
            self._zstd.ZSTD_freeDStream(self._stream)
            self._stream = None
