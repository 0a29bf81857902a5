"""Takes the one file of a format out of the archive of its stage."""

from __future__ import annotations

from collections.abc import Iterable

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.store import Store
from nexus_oci.oci.tar import iter_members
from nexus_oci.oci.tar_header import Kind
from nexus_oci.oci.values import Descriptor


def single_file(store: Store, stream: Iterable[bytes], *, folder: str, media_type: str, step: str) -> tuple[str, Descriptor]:
    """Put the only file below `folder` of a tar stream into the store; returns its name and descriptor.

    Raises `ArchiveError` where there is none, more than one, or anything but folders and a plain file.
    """
    found: tuple[str, Descriptor] | None = None
    for entry, data in iter_members(stream, origin=f"the stage of {step}", prefix=folder):
        if entry.kind == Kind.DIRECTORY:
            continue
        if entry.kind != Kind.FILE:
            raise ArchiveError(
                f"the stage of {step} holds {entry.name!r}, which is no plain file", hint=f"leave one file in /{folder}/"
            )
        if found is not None:
            raise ArchiveError(
                f"the stage of {step} holds more than one file",
                why=f"{found[0]!r} and {entry.name!r}",
                hint=f"leave exactly one file in /{folder}/",
            )
        with store.writer() as writer:
            for piece in data:
                writer.write(piece)
            found = (entry.name.rpartition("/")[2], writer.commit(media_type))
    if found is None:
        raise ArchiveError(f"the stage of {step} holds no file", hint=f"the stage must leave its file in /{folder}/")
    return found
