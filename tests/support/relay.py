"""A wire between the program and a server that a test can cut or freeze: for engines that die and pushes that stall."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_BLOCK = 1 << 16


class Relay:
    """Forwards connections from `listener` to whatever `dial` opens.

    `on_request` and `on_answer` see every block on its way to and from the server, before it is passed on. They may call
    `cut`, after which every connection is closed and new ones are refused, or `freeze`, after which nothing moves any more.
    """

    def __init__(self, listener: socket.socket, dial: Callable[[], socket.socket]) -> None:
        self._listener = listener
        self._dial = dial
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._released = threading.Event()
        self._frozen = threading.Event()
        self.on_request: Callable[[bytes], None] = lambda _: None
        self.on_answer: Callable[[bytes], None] = lambda _: None
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close everything, as a server that is killed does; a Unix socket's file stays, and nothing listens on it."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Stop moving bytes; connections stay open."""
        self._frozen.set()

    def wait_until_frozen(self, timeout: float) -> bool:
        """Whether `freeze` was called within `timeout` seconds."""
        return self._frozen.wait(timeout)

    def close(self) -> None:
        """End it all."""
        self._released.set()
        self.cut()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = self._dial()
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            there = threading.Thread(target=self._pump, args=(client, server, True), daemon=True)
            back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
            there.start()
            back.start()
            threading.Thread(target=self._bury, args=(there, back, client, server), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, request: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(_BLOCK):
                (self.on_request if request else self.on_answer)(block)
                if self._frozen.is_set():
                    self._released.wait()
                if self._stopped.is_set():
                    return
                sink.sendall(block)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _bury(self, there: threading.Thread, back: threading.Thread, *ends: socket.socket) -> None:
        there.join()
        back.join()
        with self._lock:
            self._open -= set(ends)
        for end in ends:
            end.close()


@contextlib.contextmanager
def relay_to_socket(path: Path, target: str) -> Iterator[Relay]:
    """A relay that listens on a Unix socket at `path` and speaks to the one at `target`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)

    def dial() -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.connect(target)
        return end

    relay = Relay(listener, dial)
    try:
        yield relay
    finally:
        relay.close()


@contextlib.contextmanager
def relay_to_host(host: str) -> Iterator[tuple[Relay, str]]:
    """A relay to HOST:PORT, and the HOST:PORT on loopback at which it listens."""
    name, _, port = host.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    relay = Relay(listener, lambda: socket.create_connection((name, int(port)), 10))
    try:
        yield relay, f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        relay.close()
