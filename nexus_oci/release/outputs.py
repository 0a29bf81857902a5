"""What a build leaves in dist/ beside the store: the extracted files, the chart, and the three lists of them.

Every file is written under a temporary name and renamed. A file that is right already is left alone; one that was changed since
is written again; one that an earlier build left, and that no longer belongs to the release, is removed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nexus_oci.errors import BuildError, StoreError, VerificationError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Platform

_ESCAPED = "\\"


@dataclass(frozen=True, kw_only=True)
class Output:
    """One line of manifest.json: a file below dist/, or an image or index in the store."""

    distribution: str | None
    platform: Platform | None
    format: str
    path: str
    descriptor: Descriptor

    @property
    def is_file(self) -> bool:
        """Whether the path is a file's; content of the store is named `oci:TAG` or `oci@DIGEST`."""
        return not self.path.startswith(("oci:", "oci@"))

    def to_json(self) -> dict[str, Any]:
        """The entry as manifest.json has it; `size` is in bytes."""
        return {
            "distribution": self.distribution,
            "platform": str(self.platform) if self.platform else None,
            "format": self.format,
            "path": self.path,
            "digest": self.descriptor.digest,
            "size": self.descriptor.size,
            "mediaType": self.descriptor.media_type,
        }


def write_outputs(store: Store, folder: Path, outputs: Sequence[Output], metadata: Mapping[str, Any]) -> None:
    """Bring `folder` in line with `outputs`.

    Outputs that are files, and not in the store, are copied out of it. Then SHA256SUMS (`sha256sum -c` works in `folder`),
    manifest.json and metadata.json are written. Of what stood there before, only files that the last manifest.json lists, and
    that are still what it says, are removed. Raises `BuildError` where two outputs would be one file, and `StoreError` where the
    folder has a manifest.json of another kind.
    """
    files = {output.path: output.descriptor for output in outputs if output.is_file}
    if len(files) < sum(output.is_file for output in outputs):
        paths = [output.path for output in outputs if output.is_file]
        twice = next(path for path in paths if paths.count(path) > 1)
        raise BuildError(
            f"two files of the release would be {twice}",
            why="their stages give them the same name",
            hint="let the stages put the platform into the file's name",
        )
    before = _listed(folder / "manifest.json")
    for path, blob in files.items():
        copy_out(store, blob, folder / path)
    _remove_strays(folder, {path: blob for path, blob in before.items() if path not in files})
    manifest = {"schemaVersion": 1, "outputs": [output.to_json() for output in outputs]}
    sums = {path: blob.digest.hex for path, blob in files.items()}
    for name, data in (("manifest.json", manifest), ("metadata.json", metadata)):
        text = (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
        sums[name] = hashlib.sha256(text).hexdigest()
        _replace(folder / name, text)
    _replace(folder / "SHA256SUMS", "".join(_sum_line(sums[path], path) for path in sorted(sums)).encode())


def _sum_line(digest: str, path: str) -> str:
    """A line as sha256sum writes it: a name with a backslash or a line break is escaped, and the line says so."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{_ESCAPED if escaped != path else ''}{digest}  {escaped}\n"


def copy_out(store: Store, blob: Descriptor, target: Path) -> None:
    """Copy a blob to its file, unless the file has those bytes already."""
    if _is(target, blob):
        return
    with _replacing(target) as file, store.open_blob(blob) as reader:
        for block in reader:
            file.write(block)


def _is(path: Path, blob: Descriptor) -> bool:
    """Whether the file has the blob's bytes."""
    try:
        if path.is_symlink() or path.stat().st_size != blob.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, blob.digest.algorithm).hexdigest() == blob.digest.hex
    except OSError:
        return False


def _replace(path: Path, data: bytes) -> None:
    with _replacing(path) as file:
        file.write(data)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when all of it is written, and is gone where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                yield file
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                Path(file.name).rename(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space and build again" if full else "see to it that the folder can be written to, and build again"
        raise StoreError(f"cannot write {path}", why=error.strerror or str(error), hint=hint) from error


def _remove_strays(folder: Path, strays: Mapping[str, Descriptor]) -> None:
    """Remove files of the last build that are still what it left, and folders that are empty then."""
    for path, blob in strays.items():
        if not _is(folder / path, blob):
            continue
        try:
            (folder / path).unlink()
            for above in list((folder / path).relative_to(folder).parents)[:-1]:
                (folder / above).rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise StoreError(f"cannot remove {folder / path} of an earlier build", why=error.strerror) from error


def _listed(manifest: Path) -> dict[str, Descriptor]:
    """The files that a manifest.json lists, where a build writes any; none where it is not there."""
    try:
        outputs = json.loads(manifest.read_bytes())["outputs"]
        found = {str(item["path"]): Descriptor.from_json({**item, "platform": None}) for item in outputs}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError, VerificationError) as error:
        raise StoreError(
            f"{manifest} was not written by this program",
            why="a build would replace it",
            hint="choose another folder with --output",
        ) from error
    ours = (path for path in found if path.startswith(("artifacts/", "charts/", "sbom/")) and ".." not in path.split("/"))
    return {path: found[path] for path in ours}
