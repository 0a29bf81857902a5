"""Takes the files of formats out of the archive of a stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nexus_oci.errors import ArchiveError
from nexus_oci.oci.store import Store
from nexus_oci.oci.tar import iter_members
from nexus_oci.oci.tar_header import Kind
from nexus_oci.oci.values import Descriptor


def stage_files(
    store: Store, stream: Iterable[bytes], *, folder: str, formats: Mapping[str, str], step: str
) -> dict[str, list[tuple[str, Descriptor]]]:
    """Put every file below `folder`/FORMAT/ of a tar stream into the store; for each format the files' names and descriptors.

    `formats` gives each format's media type. Raises `ArchiveError` where a format has no file, or anything but plain files that
    are not empty.
    """
    found: dict[str, list[tuple[str, Descriptor]]] = {name: [] for name in formats}
    for entry, data in iter_members(stream, origin=f"the stage of {step}", prefix=folder):
        if entry.kind == Kind.DIRECTORY:
            continue
        name, _, title = entry.name.partition("/")
        if entry.kind != Kind.FILE or name not in found or not title or "/" in title:
            raise ArchiveError(
                f"the stage of {step} holds {entry.name!r}, which is no plain file of a format",
                hint="leave the files of a format, and nothing else, in the folder that is called as the format",
            )
        with store.writer() as writer:
            for piece in data:
                writer.write(piece)
            blob = writer.commit(formats[name])
        if not blob.size:
            # What the engine makes of a device when it copies one.
            raise ArchiveError(f"the stage of {step} holds {entry.name!r}, which is empty", hint="leave a plain file there")
        found[name].append((title, blob))
    for name, files in found.items():
        if not files:
            raise ArchiveError(f"the stage {name!r} of {step} holds no file", hint=f"the stage must leave its files in /{name}/")
    return {name: sorted(files) for name, files in found.items()}
