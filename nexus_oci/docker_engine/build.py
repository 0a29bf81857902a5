"""One call of the engine's builder: context in, progress out, an image id at the end."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from nexus_oci.docker_engine.buildkit import BuildKitReader
from nexus_oci.docker_engine.classic import ClassicReader, platform_arguments, rewrite
from nexus_oci.docker_engine.connect import BLOCK, Endpoint, Watch, died, json_lines, request
from nexus_oci.docker_engine.context import DOCKERFILE_NAME, context_stream
from nexus_oci.docker_engine.events import ByteEvent, Progress, StepEvent, silent
from nexus_oci.errors import NexusError
from nexus_oci.oci.values import Platform

_SENDING = "sending the build context"
_RELEASE_SECONDS = 15


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build.

    `dockerfile` is its text. `context` is called once and gives the bytes of an uncompressed tar, in pieces of any size
    (64 KiB and more are quick); `files` adds small ones from memory, by path. `target` is a stage's name, `None` the
    last. `network` is `None` for the engine's default, `none` or `host`. `temporary` marks the image as one that
    `clean_up` may remove. `title` is what error messages call the build.
    """

    dockerfile: str
    platform: Platform
    context: Callable[[], Iterable[bytes]] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    target: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tag: str | None = None
    network: str | None = None
    no_cache: bool = False
    temporary: bool = True
    title: str = "the build"


def run_buildkit(
    endpoint: Endpoint, wanted: BuildRequest, *, progress: Progress = silent, cancel: threading.Event | None = None
) -> str:
    """Build with BuildKit, and without a session: FROM can only name images that the engine holds.

    Returns the image id. Raises `StageError`, `CancelledError` or `EngineError`.
    """
    build_id = secrets.token_hex(16)
    reader = BuildKitReader(progress)
    parameters = {"version": "2", "buildid": build_id, **_parameters(wanted, wanted.arguments)}
    if wanted.network in ("none", "host"):
        parameters["networkmode"] = wanted.network
    watch = Watch(cancel, stop=lambda: _cancel(endpoint, build_id))
    _exchange(endpoint, wanted, wanted.dockerfile, parameters, reader, watch, progress)
    return _result(endpoint, wanted, reader)


def run_classic(
    endpoint: Endpoint,
    wanted: BuildRequest,
    *,
    engine_platform: Platform,
    podman: bool,
    made: list[str],
    progress: Progress = silent,
    cancel: threading.Event | None = None,
) -> str:
    """Build with the classic builder, or with Podman's; returns and raises as `run_buildkit`.

    The builder leaves an image of every step as its cache. Their ids are added to `made`; where the build fails or is
    cancelled, they are removed again at once.
    """
    reader = ClassicReader(progress)
    text, arguments = wanted.dockerfile, dict(wanted.arguments)
    if not podman:
        text = rewrite(text)
        declared = platform_arguments(build=engine_platform, target=wanted.platform)
        arguments = {name: value for name, value in declared.items() if f"ARG {name}" in text} | arguments
    parameters = {"version": "1", "rm": "1", "forcerm": "1", **_parameters(wanted, arguments)}
    if not podman:
        del parameters["platform"]
    if wanted.network:
        parameters["networkmode"] = wanted.network
    try:
        _exchange(endpoint, wanted, text, parameters, reader, Watch(cancel), progress)
        if reader.error is None:
            reader.finish()
        image = _result(endpoint, wanted, reader)
    except BaseException:
        with suppress(NexusError):
            discard(endpoint, reader.layers)
        raise
    made.extend(layer for layer in reader.layers if layer not in image)
    return image


def _parameters(wanted: BuildRequest, arguments: Mapping[str, str]) -> dict[str, str]:
    parameters = {
        "dockerfile": DOCKERFILE_NAME,
        "platform": str(wanted.platform),
        "buildargs": json.dumps(dict(sorted(arguments.items()))),
        "labels": json.dumps(dict(sorted(wanted.labels.items()))),
    }
    if wanted.target:
        parameters["target"] = wanted.target
    if wanted.tag:
        parameters["t"] = wanted.tag
    if wanted.no_cache:
        parameters["nocache"] = "1"
    return parameters


def _exchange(
    endpoint: Endpoint,
    wanted: BuildRequest,
    dockerfile: str,
    parameters: Mapping[str, str],
    reader: BuildKitReader | ClassicReader,
    watch: Watch,
    progress: Progress,
) -> None:
    """Send the context and follow the answer to its end."""
    from docker.errors import APIError

    doing = f"building {wanted.title}"
    with endpoint.client(doing) as client, watch.running():
        body = _sent(context_stream(dockerfile, wanted.files, wanted.context), watch, progress)
        headers = {"Content-Type": "application/x-tar"}
        try:
            response = request(client, "POST", "/build", params=parameters, data=body, headers=headers)
        except APIError as error:
            # Some faults of a Dockerfile are found before the answer begins, and come as a status.
            reader.feed({"error": str(error.explanation or error)})
            return
        watch.attach(response)
        try:
            for data in json_lines(response):
                reader.feed(data)
        except ValueError as error:
            raise died(doing, endpoint.address, why=f"its answer cannot be read: {error}") from error
        watch.check()


def _sent(pieces: Iterable[bytes], watch: Watch, progress: Progress) -> Iterator[bytes]:
    """The pieces, with the progress that only this side knows."""
    begun, total, told = time.monotonic(), 0, 0
    progress(StepEvent(step=_SENDING, name=_SENDING, state="started"))
    for piece in pieces:
        watch.check()
        yield piece
        total += len(piece)
        if total - told >= BLOCK:
            told = total
            progress(ByteEvent(step=_SENDING, item="sent", current=total))
    progress(ByteEvent(step=_SENDING, item="sent", current=total, total=total))
    progress(StepEvent(step=_SENDING, name=_SENDING, state="completed", seconds=time.monotonic() - begun))


def _result(endpoint: Endpoint, wanted: BuildRequest, reader: BuildKitReader | ClassicReader) -> str:
    if reader.error is not None:
        raise reader.failure(wanted.dockerfile, wanted.title)
    if reader.image_id is None:
        raise died(f"building {wanted.title}", endpoint.address, why="the answer ended with neither an image nor an error")
    return reader.image_id


def _cancel(endpoint: Endpoint, build_id: str) -> None:
    """Ask the engine to stop; closing the connection says the same, to engines that do not know this call."""
    with endpoint.client("cancelling a build", timeout=5) as client:
        request(client, "POST", "/build/cancel", params={"id": build_id}).close()


def discard(endpoint: Endpoint, images: Iterable[str]) -> None:
    """Remove images of single steps, the newest first; removing one takes its unnamed parents along.

    A cancelled step's container holds its image until the engine has killed it, which takes a moment after the
    connection ends.
    """
    from docker.errors import APIError

    deadline = time.monotonic() + _RELEASE_SECONDS
    with endpoint.client("removing what a failed build left") as client:
        for image in reversed(list(images)):
            while True:
                try:
                    client.remove_image(image)
                except APIError as error:
                    if error.status_code == 409 and time.monotonic() < deadline:
                        time.sleep(0.1)
                        continue
                break
