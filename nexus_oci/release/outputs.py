"""What a build leaves in dist/ beside the store: the extracted files, the chart, and the three lists of them.

Every file is written under a temporary name and renamed. A file that is right already is left alone; one that was changed since is
written again; one that no longer belongs to the release is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_oci.errors import StoreError
from nexus_oci.oci.store import Store
from nexus_oci.oci.values import Descriptor, Platform


@dataclass(frozen=True, kw_only=True)
class Output:
    """One line of manifest.json: a file below dist/, or an image or index in the store."""

    distribution: str | None
    platform: Platform | None
    format: str
    path: str
    descriptor: Descriptor

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

    Outputs whose path is a file (and not inside the store, `oci/`) are copied out of it. Then SHA256SUMS (`sha256sum -c` works in
    `folder`), manifest.json and metadata.json are written, and files of earlier builds are removed.
    """
    files = [output for output in outputs if not output.path.startswith("oci")]
    for output in files:
        copy_out(store, output.descriptor, folder / output.path)
    manifest = {"schemaVersion": 1, "outputs": [output.to_json() for output in outputs]}
    _replace(folder / "manifest.json", _pretty(manifest))
    _replace(folder / "metadata.json", _pretty(metadata))
    sums = [(output.descriptor.digest.hex, output.path) for output in files]
    sums += [(_sha256(folder / name), name) for name in ("manifest.json", "metadata.json")]
    _replace(folder / "SHA256SUMS", "".join(f"{digest}  {path}\n" for digest, path in sorted(sums, key=_by_path)).encode())
    _remove_strays(folder, {output.path for output in files})


def _by_path(line: tuple[str, str]) -> str:
    return line[1]


def copy_out(store: Store, blob: Descriptor, target: Path) -> None:
    """Copy a blob to its file, unless the file has those bytes already."""
    if target.is_file() and target.stat().st_size == blob.size and _sha256(target) == blob.digest.hex:
        return
    _make_folder(target.parent)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as file:
        try:
            with store.open_blob(blob) as reader:
                for block in reader:
                    file.write(block)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            Path(file.name).rename(target)
        except OSError as error:
            Path(file.name).unlink(missing_ok=True)
            raise StoreError(f"cannot write {target.name}", why=str(error), hint="free some space and build again") from error
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pretty(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}", why=error.strerror) from error


def _replace(path: Path, data: bytes) -> None:
    _make_folder(path.parent)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
        Path(file.name).rename(path)
    except OSError as error:
        raise StoreError(f"cannot write {path.name}", why=str(error), hint="free some space and build again") from error


def _remove_strays(folder: Path, kept: set[str]) -> None:
    """Remove what earlier builds left under artifacts/ and charts/."""
    for name in ("artifacts", "charts"):
        for path in sorted((folder / name).rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
            elif path.is_file() and path.relative_to(folder).as_posix() not in kept:
                path.unlink()
