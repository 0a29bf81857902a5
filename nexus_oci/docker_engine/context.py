"""The tar that a build sends: the Dockerfile and small extra files from memory, then the caller's own tar, streamed."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from nexus_oci.errors import BuildError

DOCKERFILE_NAME = ".nexus-oci.Dockerfile"
"""Where the Dockerfile stands in the context; a leading dot, and a name that no engine's source has."""

_BLOCK = 512
_END = bytes(2 * _BLOCK)


def context_stream(dockerfile: str, files: Mapping[str, bytes], context: Callable[[], Iterable[bytes]] | None) -> Iterator[bytes]:
    """The bytes of the context, in pieces.

    The Dockerfile and `files` come first: a tar can be continued, but its end cannot be found without reading it all.
    So where a path is in both, the caller's tar wins. Raises `BuildError` where the caller's tar cannot be read.
    """
    yield b"".join(_member(name, data) for name, data in {DOCKERFILE_NAME: dockerfile.encode(), **files}.items())
    if context is None:
        yield _END
        return
    try:
        # An empty piece would end a chunked body.
        yield from filter(None, context())
    except OSError as error:
        # It must not pass through the HTTP client as itself: there it would look like a broken connection to the
        # engine.
        raise BuildError(
            "the build context cannot be read", why=str(error), hint="check the source folder that the definition names"
        ) from error


def _member(name: str, data: bytes) -> bytes:
    """One file: its header, with nothing in it that changes from run to run, and its content, padded."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BuildError(f"{name!r} cannot be put into a build context", why="its path leads out of the context")
    info = tarfile.TarInfo(str(path))
    info.size = len(data)
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % _BLOCK)
