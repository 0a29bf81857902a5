"""Uploads that another process may finish: where each of them goes on, in a small file of its own.

A file is named by what it is about, the host, the repository and the digest, and says the upload's address at the registry
and how many bytes had arrived. The address proves nothing about who we are: whoever uses it needs credentials as for any other
request. One that would (with a signature or a token in its query, or on another host, as storage services make them) is not
written down. Whoever works on an upload holds a lock on its file, so that two processes do not mix their bytes. A note that is
old, damaged or no longer known to the registry is worth nothing and does no harm: the upload begins anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from nexus_oci.oci.values import Descriptor

_KEPT = 7 * 24 * 3600.0
"""Seconds after which registries have swept away what was begun."""
_SECRET = re.compile(r"sig|token|secret|credential|password|accesskey|policy", re.IGNORECASE)
_LARGEST = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Note:
    """How far an upload had come: its address, and the bytes that the registry had confirmed."""

    location: str
    offset: int


class Page:
    """The note on one upload, held by this process alone. Without a file it forgets everything."""

    def __init__(self, file: int | None, path: Path | None, about: dict[str, object], wall: Callable[[], float]) -> None:
        self._file = file
        self._path = path
        self._about = about
        self._wall = wall

    def read(self) -> Note | None:
        """What a process before this one noted; None where there is nothing of use."""
        if self._file is None:
            return None
        try:
            data = json.loads(os.pread(self._file, _LARGEST, 0))
            location, offset, written = data["location"], data["offset"], float(data["written"])
            fits = {key: data[key] for key in self._about} == self._about
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not fits or not isinstance(location, str) or type(offset) is not int or not 0 <= self._wall() - written < _KEPT:
            return None
        return Note(location=location, offset=offset)

    def write(self, location: str, offset: int) -> None:
        """Note how far the upload has come. What cannot be written is not noted."""
        if self._file is None or not speaks_freely(location):
            return
        note = {**self._about, "location": location, "offset": offset, "written": self._wall()}
        with contextlib.suppress(OSError):
            data = json.dumps(note, sort_keys=True).encode()
            # A note that is cut short by a crash is no JSON, and so is none.
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))

    def clear(self) -> None:
        """The upload is done, or lost: nobody needs the note any more."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


class Journal:
    """The notes of all uploads, in one folder; None keeps none."""

    def __init__(self, folder: Path | None, wall: Callable[[], float]) -> None:
        self._folder = folder
        self._wall = wall
        self._swept = folder is None

    @contextlib.contextmanager
    def page(self, host: str, repository: str, descriptor: Descriptor) -> Iterator[Page]:
        """The page of one upload, for the block. Where another process holds it, or nothing can be written, an empty one."""
        about: dict[str, object] = {
            "registry": host,
            "repository": repository,
            "digest": str(descriptor.digest),
            "size": descriptor.size,
        }
        file, path = self._open(hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest())
        page = Page(file, path, about, self._wall)
        try:
            yield page
        finally:
            if file is not None and path is not None:
                with contextlib.suppress(OSError):
                    if os.fstat(file).st_size == 0:
                        path.unlink()
                os.close(file)

    def _open(self, name: str) -> tuple[int | None, Path | None]:
        if self._folder is None:
            return None, None
        path = self._folder / f"{name}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None, None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return None, None
        return file, path

    def _sweep(self) -> None:
        """Take away, once, the notes that nobody came back for."""
        if self._swept or self._folder is None:
            return
        self._swept = True
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                if os.fstat(file.fileno()).st_mtime < self._wall() - _KEPT:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def speaks_freely(location: str) -> bool:
    """Whether an address may be written down: nothing in it opens a door by itself."""
    parts = urlsplit(location)
    return "@" not in parts.netloc and not any(_SECRET.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True))
