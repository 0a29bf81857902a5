"""What an image of the engine is, and getting bases into it: from a root filesystem's tar, or from a registry."""

from __future__ import annotations

import hashlib
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nexus_oci.docker_engine.connect import BLOCK, Endpoint, Watch, died, json_lines, request
from nexus_oci.docker_engine.events import ByteEvent, LogEvent, Progress, State, StepEvent, silent
from nexus_oci.errors import BuildError, NotFoundError, RegistryError, VerificationError
from nexus_oci.oci.reference import Reference
from nexus_oci.oci.values import Digest, Platform

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response

_EPOCH = "1970-01-01T00:00:00Z"
_PADDING = 512


@dataclass(frozen=True, kw_only=True)
class EngineImage:
    """An image that the engine holds.

    `config` is the part that a runtime reads: Env, Entrypoint, Cmd, User, Labels, Healthcheck, ExposedPorts,
    WorkingDir, Volumes, StopSignal. `diff_ids` are the digests of its uncompressed layers, the lowest first; `size` is
    in bytes.
    """

    id: str
    platform: Platform
    diff_ids: tuple[Digest, ...]
    config: Mapping[str, Any]
    tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    size: int

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return MappingProxyType(self.config.get("Labels") or {})


def find_image(endpoint: Endpoint, name: str) -> EngineImage | None:
    """The image of that id, tag or digest, or nothing."""
    from docker.errors import NotFound

    with endpoint.client(f"looking for the image {name}") as client:
        try:
            data: dict[str, Any] = client.inspect_image(name)  # type: ignore[no-untyped-call]
        except NotFound:
            return None
    platform = {
        "os": data.get("Os") or "linux",
        "architecture": data.get("Architecture") or "unknown",
        "variant": data.get("Variant"),
    }
    return EngineImage(
        id=str(data["Id"]),
        platform=Platform.parse(str(Platform.from_json(platform))),
        diff_ids=tuple(Digest(layer) for layer in (data.get("RootFS") or {}).get("Layers") or ()),
        config=MappingProxyType(data.get("Config") or {}),
        tags=tuple(data.get("RepoTags") or ()),
        repo_digests=tuple(data.get("RepoDigests") or ()),
        size=int(data.get("Size") or 0),
    )


def load_base(
    endpoint: Endpoint,
    rootfs: Path,
    *,
    tag: str,
    platform: Platform,
    labels: Mapping[str, str],
    diff_id: Digest | None = None,
    cancel: threading.Event | None = None,
) -> str:
    """Make an image of one layer, the uncompressed tar `rootfs`, and name it `tag`; returns the image id.

    The layer keeps the tar's own bytes, so its diff_id is the tar's sha256 (`diff_id`, where the caller knows it; the
    engine checks it). The image's configuration has no date and no host in it. An image of that name that has it all is
    left as it is.
    """
    _check_rootfs(rootfs)
    layer = diff_id or _hash(rootfs)
    present = find_image(endpoint, tag)
    if present and present.diff_ids == (layer,) and present.platform == platform and dict(present.labels) == dict(labels):
        return present.id
    config = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": _EPOCH,
        "config": {"Labels": dict(sorted(labels.items()))},
        "rootfs": {"type": "layers", "diff_ids": [str(layer)]},
        "history": [{"created": _EPOCH, "created_by": "nexus-oci base"}],
    }
    if platform.variant:
        config["variant"] = platform.variant
    doing = f"loading the base {tag}"
    watch = Watch(cancel)
    with endpoint.client(doing) as client, watch.running():
        body = _image_archive(rootfs, layer, config, tag, watch)
        headers = {"Content-Type": "application/x-tar"}
        response = request(client, "POST", "/images/load", params={"quiet": "1"}, data=body, headers=headers)
        watch.attach(response)
        for data in json_lines(response):
            if data.get("error"):
                raise BuildError(f"the base {tag} cannot be loaded", why=str(data["error"]))
    loaded = find_image(endpoint, tag)
    if loaded is None or loaded.diff_ids != (layer,):
        raise died(doing, endpoint.address, why="the engine took the base but does not list it")
    drop_unnamed(endpoint, present, loaded.id)
    return loaded.id


def drop_unnamed(endpoint: Endpoint, previous: EngineImage | None, now: str) -> None:
    """Remove an image whose only name has just gone to another one; one that is still in use stays."""
    from docker.errors import APIError

    if previous is None or previous.id == now or len(previous.tags) > 1 or previous.repo_digests:
        return
    with endpoint.client("removing a replaced image") as client, suppress(APIError):
        client.remove_image(previous.id, force=False)


def _image_archive(rootfs: Path, layer: Digest, config: Mapping[str, Any], tag: str, watch: Watch) -> Iterator[bytes]:
    """A docker-archive around the root filesystem, which is read once and never held."""
    raw = json.dumps(config, sort_keys=True).encode()
    name = f"{hashlib.sha256(raw).hexdigest()}.json"
    where = f"{layer.hex}/layer.tar"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": [where]}]).encode()
    yield _header(name, len(raw)) + raw + bytes(-len(raw) % _PADDING)
    size = rootfs.stat().st_size
    yield _header(where, size)
    with rootfs.open("rb") as file:
        while block := file.read(BLOCK):
            watch.check()
            yield block
    yield bytes(-size % _PADDING) + _header("manifest.json", len(manifest)) + manifest
    yield bytes(-len(manifest) % _PADDING + 2 * _PADDING)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def _check_rootfs(rootfs: Path) -> None:
    try:
        with rootfs.open("rb") as file:
            start = file.read(_PADDING)
    except OSError as error:
        raise BuildError(f"the base's root filesystem {rootfs} cannot be read", why=str(error)) from error
    if start[257:262] != b"ustar":
        raise BuildError(
            f"{rootfs} is not an uncompressed tar",
            why="its first block is no tar header",
            hint="make it anew; mmdebstrap compresses where the file's name ends in .gz, .xz or .zst",
        )


def _hash(rootfs: Path) -> Digest:
    with rootfs.open("rb") as file:
        return Digest("sha256:" + hashlib.file_digest(file, "sha256").hexdigest())


# Two platforms of one digest share a name in the engine: the last pull has it. So a pull and the look at its result
# belong together.
_PULLING = threading.Lock()


def pull(
    endpoint: Endpoint,
    reference: Reference,
    *,
    platform: Platform,
    progress: Progress = silent,
    cancel: threading.Event | None = None,
) -> str:
    """Pull an image by its digest for one platform, with Docker's configured credentials; returns the image id.

    Raises `VerificationError` where the engine holds another digest or platform than was asked for, `NotFoundError`
    where the registry has no such image, `RegistryError` where it cannot be reached or refuses.
    """
    if reference.digest is None:
        raise VerificationError(
            f"the base {reference} is not pinned", why="it names no digest", hint="run `nexus-oci lock` to pin it"
        )
    name = f"{reference.host}/{reference.repository}"
    with _PULLING:
        _pull(endpoint, reference, platform, progress, cancel)
        found = find_image(endpoint, f"{name}@{reference.digest}")
    if found is None or f"{name}@{reference.digest}" not in found.repo_digests:
        raise VerificationError(
            f"the base {reference} is not what was pulled",
            why=f"the engine lists {', '.join(found.repo_digests) if found else 'no image of that digest'}",
        )
    if (found.platform.os, found.platform.architecture) != (platform.os, platform.architecture):
        raise VerificationError(
            f"the base {reference} is for {found.platform}, not for {platform}",
            hint="pin the digest of the image index, or that of this platform's own manifest",
        )
    return found.id


def _pull(
    endpoint: Endpoint, reference: Reference, platform: Platform, progress: Progress, cancel: threading.Event | None
) -> None:
    step, title = str(reference), f"pull {reference}"
    progress(StepEvent(step=step, name=title, state="started"))
    ended: State = "failed"
    watch = Watch(cancel)
    try:
        with endpoint.client(f"pulling {reference}") as client, watch.running():
            response = _ask_to_pull(client, reference, platform)
            watch.attach(response)
            for data in json_lines(response):
                if data.get("error"):
                    raise _registry_error(reference, str(data["error"]))
                _report(step, data, progress)
            watch.check()
        ended = "completed"
    finally:
        progress(StepEvent(step=step, name=title, state=ended))


def _ask_to_pull(client: APIClient, reference: Reference, platform: Platform) -> Response:
    from docker.errors import APIError

    parameters = {
        "fromImage": f"{reference.host}/{reference.repository}",
        "tag": str(reference.digest),
        "platform": str(platform),
    }
    headers = _credentials(client, reference.host)
    try:
        return request(client, "POST", "/images/create", params=parameters, headers=headers)
    except APIError as error:
        raise _registry_error(reference, str(error.explanation or error)) from error


def _credentials(client: APIClient, host: str) -> dict[str, str]:
    """The header with the registry's login, from Docker's configuration file and its helpers."""
    from docker import auth

    header = auth.get_config_header(client, host)
    return {"X-Registry-Auth": header.decode() if isinstance(header, bytes) else str(header)} if header else {}


def _report(step: str, data: Mapping[str, Any], progress: Progress) -> None:
    detail = data.get("progressDetail") or {}
    if detail.get("current"):
        progress(
            ByteEvent(
                step=step,
                item=f"{data.get('id', '')} {str(data.get('status', '')).lower()}".strip(),
                current=int(detail["current"]),
                total=int(detail.get("total") or 0),
            )
        )
    elif data.get("status"):
        text = f"{data['id']}: {data['status']}" if data.get("id") else str(data["status"])
        progress(LogEvent(step=step, stream="stdout", text=text))


def _registry_error(reference: Reference, said: str) -> NotFoundError | RegistryError:
    low = said.lower()
    if "unauthorized" in low or "denied" in low or "authentication required" in low:
        return RegistryError(
            f"the registry refuses the base {reference}",
            why=said,
            hint=f"log in with `docker login {reference.host}`, as the user that runs this program",
        )
    if "manifest unknown" in low or "not found" in low or "no matching manifest" in low:
        return NotFoundError(f"the base {reference} does not exist", why=said, hint="run `nexus-oci lock` to pin one that does")
    return RegistryError(
        f"the base {reference} cannot be pulled", why=said, hint="check the network, the registry and its certificate"
    )
