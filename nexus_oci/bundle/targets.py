"""What a bundle is written to: one file, or parts. Each grows under a temporary name and gets its own when all of it is there.

A run that was killed leaves temporary files; the next one to the same name takes them over. Two at once are refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from nexus_oci.bundle.layout import INVENTORY
from nexus_oci.bundle.parts import MAGIC, PartPlan, parts_of, write_headers
from nexus_oci.bundle.repair import erasure_code
from nexus_oci.errors import StoreError, UsageError
from nexus_oci.transfer.crew import Crew

_STEP = 8 << 20
_WORKING = 6 << 20
"""Bytes that a thread that computes parity holds at once."""
_NOT_IN_KERNEL = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM})


class Target(Protocol):
    """Takes a bundle's bytes in any order, from several threads."""

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Put bytes at their place."""
        ...

    def copy(self, file: int, at: int, size: int, offset: int) -> None:
        """Put `size` bytes of an open file, from byte `at` on, at their place; within the kernel where it can."""
        ...

    def commit(self, sign: Callable[[bytes], bytes]) -> tuple[Path, ...]:
        """Finish, name and return the files. `sign` makes the signature of a description, empty where there is no key."""
        ...

    def discard(self) -> None:
        """Take away what is not finished."""
        ...


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into a message for the user."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space, or write elsewhere with --output" if full else "see to it that the folder can be written to"
        what = f"no space left to write {path}" if full else f"cannot write {path}"
        raise StoreError(what, why=error.strerror or str(error), hint=hint) from error


class _Growing:
    """A file under a temporary name, locked by whoever writes it."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._temporary = path.with_name(f".{path.name}.partial")
        with disk_errors(path):
            self.file = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self.file)
                raise UsageError(f"{path} is being written by another process", hint="wait for it, or write elsewhere") from None
            os.ftruncate(self.file, 0)
            os.ftruncate(self.file, size)

    def write(self, data: bytes | memoryview, at: int) -> None:
        with disk_errors(self.path):
            view = memoryview(data)
            while view:
                count = os.pwrite(self.file, view, at)
                view, at = view[count:], at + count

    def copy(self, file: int, start: int, size: int, at: int) -> None:
        with disk_errors(self.path):
            while size:
                try:
                    count = os.copy_file_range(file, self.file, min(size, _STEP), start, at)
                except OSError as error:
                    if error.errno not in _NOT_IN_KERNEL:
                        raise
                    count = 0
                if not count:
                    data = os.pread(file, min(size, _STEP // 8), start)
                    count = os.pwrite(self.file, data, at)
                if not count:
                    raise StoreError(f"{self.path} cannot be written", why="what it is made from became shorter meanwhile")
                start, at, size = start + count, at + count, size - count

    def read(self, size: int, at: int) -> bytes:
        return os.pread(self.file, size, at)

    def flush(self) -> None:
        with disk_errors(self.path):
            os.fchmod(self.file, 0o644)
            os.fsync(self.file)

    def rename(self) -> None:
        with disk_errors(self.path):
            self._temporary.rename(self.path)
            os.close(self.file)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)
            os.close(self.file)


def _flush_folder(path: Path) -> None:
    with disk_errors(path):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _make_room(folder: Path, name: Path, size: int) -> None:
    """Refuse at once where the disk has no room; what is written there meanwhile by others is met later."""
    with disk_errors(name):
        folder.mkdir(parents=True, exist_ok=True)
        room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize < size:
        raise StoreError(
            f"no space left to write {name}",
            why=f"it takes {size} bytes, and {room.f_bavail * room.f_frsize} are free in {folder}",
            hint="free some space, or write elsewhere with --output",
        )


class FileTarget:
    """A bundle in one file; a `Target`."""

    def __init__(self, path: Path, size: int) -> None:
        _make_room(path.parent, path, size)
        self._file = _Growing(path, size)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """As `Target.write`."""
        self._file.write(data, offset)

    def copy(self, file: int, at: int, size: int, offset: int) -> None:
        """As `Target.copy`."""
        self._file.copy(file, at, size, offset)

    def commit(self, sign: Callable[[bytes], bytes]) -> tuple[Path, ...]:  # noqa: ARG002 - the inventory's signature is enough
        """As `Target.commit`."""
        self._file.flush()
        self._file.rename()
        _flush_folder(self._file.path.parent)
        return (self._file.path,)

    def discard(self) -> None:
        """As `Target.discard`."""
        self._file.discard()


class PartsTarget:
    """A bundle in parts; a `Target`. Chunks are hashed and parity is computed when all bytes are there."""

    def __init__(self, folder: Path, plan: PartPlan, jobs: int) -> None:
        if plan.parity:
            erasure_code()
        self._plan = plan
        self._folder = folder
        self._jobs = jobs
        total = sum(plan.length(number) + plan.header_length for number in range(1, plan.count + 1))
        _make_room(folder, folder / plan.name, total)
        self._files: list[_Growing] = []
        try:
            for number in range(1, plan.count + 1):
                self._files.append(_Growing(folder / plan.file_name(number), plan.header_length + plan.length(number)))
        except BaseException:
            self.discard()
            raise

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """As `Target.write`."""
        view = memoryview(data)
        for index, at, start, size in self._ranges(offset, len(view)):
            self._files[index].write(view[start : start + size], at)

    def copy(self, file: int, at: int, size: int, offset: int) -> None:
        """As `Target.copy`."""
        for index, place, start, count in self._ranges(offset, size):
            self._files[index].copy(file, at + start, count, place)

    def _ranges(self, offset: int, size: int) -> Iterator[tuple[int, int, int, int]]:
        """The pieces of a range: index of the part, place in its file, start within the range, bytes."""
        start = 0
        while start < size:
            index, within = divmod(offset + start, self._plan.part_size)
            count = min(size - start, self._plan.part_size - within)
            yield index, self._plan.header_length + within, start, count
            start += count

    def commit(self, sign: Callable[[bytes], bytes]) -> tuple[Path, ...]:
        """As `Target.commit`. The headers are written last: until then no part is one.

        A bundle in one file of this name, or parts of an earlier one that had more, would be taken for this one: they go.
        """
        plan, crew = self._plan, Crew(self._jobs)
        if plan.parity:
            step = max(1, min(plan.chunk_size, _WORKING // plan.count))
            encoder = erasure_code().Encoder(plan.data, plan.count)
            crew.map(lambda at: self._encode(encoder, at, min(step, plan.part_size - at)), range(0, plan.part_size, step))
        table = b"".join(crew.map(self._hashes, range(1, plan.count + 1)))
        for file, header in zip(self._files, write_headers(plan, table, sign(plan.describe(table))), strict=True):
            file.write(header, 0)
        crew.map(lambda file: file.flush(), self._files)
        for file in self._files:
            file.rename()
        paths = tuple(file.path for file in self._files)
        whole = self._folder / plan.name
        _remove([path for path in (whole, *parts_of(whole)) if path not in paths])
        _flush_folder(self._folder)
        return paths

    def _encode(self, encoder: object, at: int, size: int) -> None:
        """Compute the same bytes of every parity part."""
        plan = self._plan
        place = plan.header_length + at
        blocks = [file.read(size, place).ljust(size, b"\0") for file in self._files[: plan.data]]
        made = encoder.encode(blocks, list(range(plan.data, plan.count)))  # type: ignore[attr-defined]
        for file, block in zip(self._files[plan.data :], made, strict=True):
            file.write(block, place)

    def _hashes(self, number: int) -> bytes:
        plan, file = self._plan, self._files[number - 1]
        return b"".join(
            hashlib.sha256(file.read(plan.chunk_length(number, row), plan.header_length + row * plan.chunk_size)).digest()
            for row in range(plan.chunks(number))
        )

    def discard(self) -> None:
        """As `Target.discard`."""
        for file in self._files:
            file.discard()


def _remove(paths: Sequence[Path]) -> None:
    """Remove bundles and parts of bundles; other files of such names stay."""
    begin = (MAGIC, INVENTORY.encode())
    for path in paths:
        with disk_errors(path), contextlib.suppress(FileNotFoundError):
            with path.open("rb") as file:
                ours = file.read(max(map(len, begin))).startswith(begin)
            if ours:
                path.unlink()
