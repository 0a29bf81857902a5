"""Reaching the container engine, and turning what goes wrong on the way into this program's own errors.

docker, requests and urllib3 take a quarter of a second to import, so nothing of them is imported before the first use.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_oci.errors import BuildError, CancelledError, EngineError, NexusError, NotFoundError

if TYPE_CHECKING:
    from docker import APIClient
    from docker.errors import APIError
    from requests import Response

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
BLOCK = 1024 * 1024
"""Bytes that are read from the engine at a time."""
_POLL = 0.1
_START_HINT = (
    "start the engine (`systemctl start docker`, or `dockerd` as root), or let DOCKER_HOST name one that runs, "
    "as in unix:///run/user/1000/podman/podman.sock or tcp://builder.example:2376"
)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the engine is and how to speak to it.

    `environment` holds DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH as docker's own tools read them; `version`
    is the API version, `auto` until it is known; `timeout` is in seconds and for answers that should come at once.
    """

    environment: Mapping[str, str]
    version: str = "auto"
    timeout: float = 60.0

    @property
    def address(self) -> str:
        """The engine's address, for people."""
        return self.environment.get("DOCKER_HOST") or DEFAULT_ADDRESS

    def probe(self) -> None:
        """Find out whether anything listens on a local socket; raises `EngineError`.

        docker-py would find out as well, but leaves its own socket open when it fails.
        """
        kind, _, path = self.address.partition("://")
        if kind not in ("unix", "http+unix"):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(self.timeout)
            try:
                probe.connect("/" + path.lstrip("/"))
            except OSError as error:
                raise unreachable(error, "greeting it", self.address) from error

    def open(self, doing: str, *, timeout: float | None = None) -> APIClient:
        """A connection that the caller closes, and whose errors the caller translates."""
        from docker import APIClient
        from docker.utils import kwargs_from_env

        with translated(doing, self.address):
            # An empty mapping would make docker-py look into the process's own environment.
            options: dict[str, Any] = {**kwargs_from_env({"DOCKER_HOST": "", **self.environment})}
            options["timeout"] = timeout or self.timeout
            return APIClient(version=self.version, **options)

    @contextmanager
    def client(self, doing: str, *, timeout: float | None = None) -> Iterator[APIClient]:
        """A connection of its own, so that threads share nothing; opening one costs microseconds.

        `doing` completes the sentence «the engine died while …» and `timeout` replaces the endpoint's. What the body
        raises out of docker, requests or the socket leaves as an `EngineError`, or, where the engine answered and
        refused, as a `BuildError` or `NotFoundError`.
        """
        with translated(doing, self.address), closing(self.open(doing, timeout=timeout)) as client:
            yield client


@contextmanager
def translated(doing: str, address: str) -> Iterator[None]:
    """Let nothing foreign out: see `Endpoint.client`."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except NexusError:
        raise
    except APIError as error:
        raise _refusal(error, doing) from error
    except (DockerException, RequestException, HTTPError, http.client.HTTPException) as error:
        raise unreachable(error, doing, address) from error


def _refusal(error: APIError, doing: str) -> NexusError:
    """The engine answered, and said no."""
    said = str(error.explanation or error).strip()
    if error.status_code == 404:
        return NotFoundError(f"the engine does not have what it needs while {doing}", why=said)
    if "no space left on device" in said:
        return BuildError(
            f"the engine's disk is full while {doing}",
            why=said,
            hint="free space where the engine keeps its data: `docker system df` shows what takes it",
        )
    return BuildError(f"the engine refused while {doing}", why=f"{said} (status {error.status_code})")


def unreachable(error: BaseException, doing: str, address: str) -> EngineError:
    """Say what kept the engine from answering, found in the chain of causes that the libraries wrap around it."""
    causes = list(_causes(error))
    at = f"at {address}"
    for cause in causes:
        if isinstance(cause, FileNotFoundError):
            return EngineError(f"no container engine answers {at}", why="the socket is not there", hint=_START_HINT)
        if isinstance(cause, ConnectionRefusedError):
            return EngineError(
                f"no container engine answers {at}",
                why="the connection was refused: nothing listens there",
                hint=_START_HINT,
            )
        if isinstance(cause, PermissionError):
            return EngineError(
                f"the container engine {at} may not be used by this user",
                why="the socket's permissions forbid it",
                hint="run as root, or add the user to the socket's group: often `usermod -aG docker USER`, then log in",
            )
        if isinstance(cause, socket.gaierror):
            return EngineError(f"the container engine's host is unknown: {address}", why=str(cause), hint="correct DOCKER_HOST")
    text = str(error)
    if any(isinstance(cause, TimeoutError) for cause in causes) or "timed out" in text.lower():
        return EngineError(
            f"the container engine {at} did not answer in time while {doing}",
            why=text,
            hint="look at its log and its load",
        )
    broken = (ConnectionError, http.client.HTTPException)
    if any(isinstance(cause, broken) for cause in causes) or type(error).__name__ in _BROKEN_NAMES:
        return died(doing, address, why=text)
    return EngineError(
        f"the container engine {at} cannot be used",
        why=text,
        hint="DOCKER_HOST reads unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST; "
        "DOCKER_CERT_PATH names the folder with its keys",
    )


_BROKEN_NAMES = frozenset({"ProtocolError", "ChunkedEncodingError", "ConnectionError"})


def died(doing: str, address: str, *, why: str) -> EngineError:
    """The engine went away in the middle of its work."""
    return EngineError(
        f"the container engine at {address} went away while {doing}",
        why=why,
        hint="look at the engine's log (`journalctl -u docker`), start it again, and run the same command: "
        "what is done already is kept",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, and everything it was raised from or carries; requests and urllib3 put causes into `args`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]


def request(
    client: APIClient,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    data: Iterator[bytes] | bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Ask for something that is streamed, with no limit on how long the engine may be silent.

    Raises docker's APIError for a status of 400 and more, so it is for use inside `Endpoint.client`.
    """
    from docker.errors import create_api_error_from_http_exception
    from requests.exceptions import HTTPError

    # Unasked, requests offers gzip, and the engine then spends ten times the copying time on compressing.
    sent = {"Accept-Encoding": "identity", **(headers or {})}
    response = client.request(
        method,
        f"{client.base_url}/v{client.api_version}{path}",
        params=dict(params or {}),
        data=data,
        headers=sent,
        stream=True,
        timeout=(client.timeout, None),
    )
    try:
        response.raise_for_status()
    except HTTPError as error:
        with response:
            create_api_error_from_http_exception(error)
    return response


class Watch:
    """Ends an exchange with the engine when the user cancels.

    A read from a socket cannot be interrupted, so a thread waits for the event and closes the socket under it. It
    polls, ten times a second, because a plain `threading.Event` can be waited for in one place only, and the end of the
    exchange must end it too.
    """

    def __init__(self, cancel: threading.Event | None, stop: Callable[[], None] | None = None) -> None:
        self._cancel = cancel
        self._stop = stop
        self._done = threading.Event()
        self._response: Response | None = None
        self._lock = threading.Lock()
        self._told = False

    def attach(self, response: Response) -> None:
        """Name the answer whose connection is to be cut."""
        with self._lock:
            self._response = response
        self.check()

    def check(self) -> None:
        """Raise `CancelledError` if the user has cancelled."""
        if self._cancel is not None and self._cancel.is_set():
            raise CancelledError("cancelled")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch for the time of the body; whatever breaks in it after a cancellation is the cancellation."""
        self.check()
        thread = threading.Thread(target=self._wait, name="engine-watch", daemon=True) if self._cancel else None
        if thread:
            thread.start()
        try:
            yield
        except Exception:
            self.check()
            raise
        finally:
            self._done.set()
            if thread:
                thread.join()
                self._tell()
            if self._response is not None:
                self._response.close()

    def _wait(self) -> None:
        while not self._done.wait(_POLL):
            if self._cancel is not None and self._cancel.is_set():
                with suppress(NexusError):
                    self._cut()
                return

    def _tell(self) -> None:
        """Tell the engine of a cancellation that the body noticed before the watching thread did."""
        if self._cancel is not None and self._cancel.is_set() and not self._told:
            with suppress(NexusError):
                self._cut()

    def _cut(self) -> None:
        self._told = True
        if self._stop:
            self._stop()
        with self._lock:
            response = self._response
        if response is not None:
            sever(response)


def sever(response: Response) -> None:
    """Shut the connection under an answer that another thread may be reading."""
    # A copy of the descriptor: closing this socket object must not close the reader's.
    with (
        suppress(OSError, ValueError, AttributeError),
        socket.socket(fileno=os.dup(response.raw.fileno())) as connection,
    ):
        connection.shutdown(socket.SHUT_RDWR)


def blocks(response: Response, watch: Watch, doing: str, address: str) -> Iterator[bytes]:
    """The body in blocks of one MiB, the last one shorter; what goes wrong on the way is translated."""
    with translated(doing, address):
        while block := response.raw.read(BLOCK, decode_content=False):
            watch.check()
            yield block
        watch.check()


def json_lines(response: Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of a body, one a line, each as soon as it arrives; raises `ValueError` where a line is none."""
    rest = b""
    for chunk in response.raw.stream(64 * 1024, decode_content=False):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield _object(line)
    if rest.strip():
        yield _object(rest)


def _object(line: bytes) -> dict[str, Any]:
    data = json.loads(line)
    if not isinstance(data, dict):
        raise ValueError(f"{line[:80]!r} is not a JSON object")  # noqa: TRY004 - the engine is at fault, not the caller
    return data
