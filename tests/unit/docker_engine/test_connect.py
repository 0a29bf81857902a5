"""What is said when the engine is absent, refuses, is something else, or goes away; against fake engines."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nexus_oci.docker_engine import BuildRequest, Engine, connect
from nexus_oci.docker_engine.connect import unreachable
from nexus_oci.errors import BuildError, CancelledError, EngineError
from nexus_oci.oci.values import Platform

# Only sockets in the file system are opened here.
pytestmark = pytest.mark.enable_socket

VERSION = {
    "ApiVersion": "1.41",
    "Version": "20.10.24",
    "Os": "linux",
    "Arch": "amd64",
    "Components": [{"Name": "Engine"}],
}
Answer = Callable[["Handler"], None]


class Handler(socketserver.StreamRequestHandler):
    """One request after the other, answered by what the test put for its path."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            path = line.split()[1].decode()
            chunked = False
            length = 0
            while (header := self.rfile.readline().strip().lower()) != b"":
                chunked |= header == b"transfer-encoding: chunked"
                if header.startswith(b"content-length:"):
                    length = int(header.split()[1])
            self.rfile.read(length)
            while chunked and (size := int(self.rfile.readline(), 16)) + 1:
                self.rfile.read(size + 2)
                if size == 0:
                    break
            answers: dict[str, Answer] = self.server.answers  # type: ignore[attr-defined]
            for name, answer in answers.items():
                if name in path:
                    answer(self)
                    break

    def body(self, data: object, *headers: str, status: str = "200 OK") -> None:
        raw = json.dumps(data).encode()
        head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(raw)}", *headers]
        self.wfile.write("\r\n".join(head).encode() + b"\r\n\r\n" + raw)

    def begin(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def cut(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def served(path: Path, answers: dict[str, Answer]) -> Iterator[str]:
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        usual: dict[str, Answer] = {"/version": lambda h: h.body(VERSION), "/_ping": lambda h: h.body("OK")}
        missing = {name: answer for name, answer in usual.items() if name not in answers}
        server.answers = answers | missing  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


def build(engine: Engine, cancel: threading.Event | None = None) -> str:
    request = BuildRequest(dockerfile="FROM a\n", platform=Platform.parse("linux/amd64"), title="runtime")
    return engine.build(request, cancel=cancel)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, nexus_oci.docker_engine; print([m for m in ('docker','requests','urllib3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_absent_socket_says_how_to_start_an_engine(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no container engine answers at unix:.*none\.sock\n.*not there\n.*start") as e:
        connect(f"unix://{tmp_path}/none.sock")
    assert e.value.exit_code == 5


def test_a_refused_connection_says_that_nothing_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "s"))
    with pytest.raises(EngineError, match=r"no container engine answers(.|\n)*nothing listens there"):
        connect(f"unix://{tmp_path}/s")


def test_a_forbidden_socket_says_which_permission_is_missing() -> None:
    error = unreachable(OSError("aborted", PermissionError(13, "Permission denied")), "greeting it", "unix:///s")
    assert "may not be used by this user" in str(error)
    assert "group" in str(error.hint)


def test_a_wrong_address_shows_how_one_is_written() -> None:
    with pytest.raises(EngineError, match=r"cannot be used(.|\n)*DOCKER_HOST reads unix:"):
        connect("gopher://x")


def test_the_address_comes_from_the_given_environment_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "DOCKER_HOST", "unix:///not/this/one")
    with pytest.raises(EngineError, match=r"unix:.*that"):
        connect(environment={"DOCKER_HOST": f"unix://{tmp_path}/that"})


def test_something_else_on_the_socket_is_told_apart(tmp_path: Path) -> None:
    def other(handler: Handler) -> None:
        handler.body({"hello": 1})

    with (
        served(tmp_path / "s", {"/version": other}) as address,
        pytest.raises(EngineError, match=r"cannot be used|is no container engine"),
    ):
        connect(address)


@pytest.mark.parametrize(
    ("headers", "name", "buildkit"),
    [
        (("Builder-Version: 2",), "docker", True),
        (("Builder-Version: 1",), "docker", False),
        ((), "docker", True),
        (("Libpod-API-Version: 5.0.0", "Builder-Version: "), "podman", False),
    ],
)
def test_the_builder_is_told_by_the_engine(tmp_path: Path, headers: tuple[str, ...], name: str, buildkit: bool) -> None:
    with served(tmp_path / "s", {"/_ping": lambda h: h.body("OK", *headers)}) as address:
        engine = connect(address)
    assert (engine.name, engine.buildkit, str(engine.platform)) == (name, buildkit, "linux/amd64")


def test_an_engine_that_dies_in_the_middle_of_a_build_is_said_to_have_died(tmp_path: Path) -> None:
    def dies(handler: Handler) -> None:
        handler.begin()
        handler.chunk(b'{"stream":"Step 1/2 : FROM a"}\n')
        handler.cut()

    with (
        served(tmp_path / "s", {"/build": dies}) as address,
        pytest.raises(EngineError, match=r"went away while building runtime\n.*\n.*run the same command") as error,
    ):
        build(connect(address))
    assert error.value.exit_code == 5


def test_an_engine_that_dies_before_it_answers_is_said_to_have_died(tmp_path: Path) -> None:
    with (
        served(tmp_path / "s", {"/build": Handler.cut}) as address,
        pytest.raises(EngineError, match="went away while building runtime"),
    ):
        build(connect(address))


def test_a_build_that_ends_without_a_result_is_no_success(tmp_path: Path) -> None:
    def ends(handler: Handler) -> None:
        handler.begin()
        handler.chunk(b"{}\n")
        handler.chunk(b"")

    with served(tmp_path / "s", {"/build": ends}) as address, pytest.raises(EngineError, match="neither an image nor"):
        build(connect(address))


def test_an_answer_that_is_not_json_is_no_success(tmp_path: Path) -> None:
    def babbles(handler: Handler) -> None:
        handler.begin()
        handler.chunk(b"<html>\n")

    with served(tmp_path / "s", {"/build": babbles}) as address, pytest.raises(EngineError, match="cannot be read"):
        build(connect(address))


def test_a_refused_build_gives_the_engines_reason(tmp_path: Path) -> None:
    def refuses(handler: Handler) -> None:
        handler.body({"message": "dockerfile parse error line 1: unknown instruction: FORM"}, status="400 Bad Request")

    with (
        served(tmp_path / "s", {"/build": refuses}) as address,
        pytest.raises(BuildError, match=r"Dockerfile line 1: FROM a\n.*unknown instruction: FORM"),
    ):
        build(connect(address))


def test_a_cancellation_ends_a_silent_build_and_tells_the_engine(tmp_path: Path) -> None:
    begun, told = threading.Event(), threading.Event()

    def hangs(handler: Handler) -> None:
        handler.begin()
        handler.chunk(b"{}\n")
        begun.set()
        handler.rfile.read()

    def cancelled(handler: Handler) -> None:
        told.set()
        handler.body({})

    cancel = threading.Event()

    def cancel_then() -> None:
        begun.wait()
        cancel.set()

    threading.Thread(target=cancel_then, daemon=True).start()
    with served(tmp_path / "s", {"/build/cancel": cancelled, "/build": hangs}) as address:
        engine = connect(address)
        with pytest.raises(CancelledError, match="cancelled"):
            build(engine, cancel)
    assert told.is_set()


def test_a_build_that_is_cancelled_before_it_begins_sends_nothing(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    asked: list[str] = []
    with served(tmp_path / "s", {"/build": lambda _: asked.append("build")}) as address:
        engine = connect(address)
        with pytest.raises(CancelledError):
            build(engine, cancel)
    assert asked == []


def test_a_full_disk_of_the_engine_is_named(tmp_path: Path) -> None:
    def full(handler: Handler) -> None:
        handler.body({"message": "write /x: no space left on device"}, status="500 Internal Server Error")

    with served(tmp_path / "s", {"/images/": full}) as address:
        engine = connect(address)
        with pytest.raises(BuildError, match=r"disk is full(.|\n)*docker system df"):
            engine.image("x")


def test_a_base_that_is_compressed_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs.tar.gz"
    rootfs.write_bytes(b"\x1f\x8b" + bytes(600))
    with served(tmp_path / "s", {}) as address:
        engine = connect(address)
        with pytest.raises(BuildError, match="is not an uncompressed tar"):
            engine.load_base(rootfs, tag="t:1", platform=engine.platform)
