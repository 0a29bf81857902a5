"""A wire that takes its time: a proxy for one server that holds every request back a little, and moves bytes in the kernel."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

_METHODS = (b"GET ", b"HEAD", b"POST", b"PUT ", b"PATC", b"DELE")
_PIPE = 1 << 20


@contextlib.contextmanager
def delayed(host: str, seconds: float) -> Iterator[str]:
    """HOST:PORT of a proxy on loopback to `host`: each request reaches it `seconds` later, bodies at full speed."""
    name, _, port = host.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    open_sockets: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection((name, int(port)), 10)
            except OSError:
                return
            for end in (client, server):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            open_sockets.extend((client, server))
            threading.Thread(target=_pump, args=(client, server, seconds), daemon=True).start()
            threading.Thread(target=_pump, args=(server, client, 0.0), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        for end in open_sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    """Move bytes one way; where they begin a request, wait first."""
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):
        while True:
            if seconds:
                start = source.recv(4, socket.MSG_PEEK)
                if start in _METHODS:
                    time.sleep(seconds)
            count = os.splice(source.fileno(), writing, _PIPE)
            if not count:
                break
            while count:
                count -= os.splice(reading, sink.fileno(), count)
    for end in (reading, writing):
        os.close(end)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
