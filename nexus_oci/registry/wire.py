"""The HTTP adapter under a requests session: pools, the system's certificate authorities, sendfile for file bodies."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import certifi
import requests.adapters
import urllib3
import urllib3.connection
import urllib3.connectionpool

from nexus_oci.errors import UsageError
from nexus_oci.registry.body import FilePiece

_POOLS = 16
_CONNECTIONS = 64
_BLOCK = 1 << 18
_SEND_TIMEOUT = 120.0


class _PatientSend:
    """Sending waits longer for a slow registry than connecting does; urllib3 knows only one time for both."""

    sock: socket.socket | None

    def send(self, data: Any) -> None:
        """Send bytes as always; let the kernel send a range of a file."""
        if self.sock is not None:
            self.sock.settimeout(_SEND_TIMEOUT)
        if not isinstance(data, FilePiece):
            super().send(data)  # type: ignore[misc]
            return
        if self.sock is None:
            raise ConnectionResetError("the connection was closed while a file was being sent")
        if self.sock.sendfile(data.file, data.offset, data.count) != data.count:
            raise ConnectionResetError("the file became shorter while it was being sent")


class _Plain(_PatientSend, urllib3.connection.HTTPConnection):
    pass


class _Secure(_PatientSend, urllib3.connection.HTTPSConnection):
    pass


class _PlainPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _Secure


class Adapter(requests.adapters.HTTPAdapter):
    """Connections for one session; retries are the transport's business."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=_POOLS, pool_maxsize=_CONNECTIONS, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """Make the pools, with our certificate authorities and our connections."""
        options |= {"ssl_context": self._context, "blocksize": _BLOCK}
        super().init_poolmanager(connections, maxsize, block, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """The pools through a proxy, with the same certificate authorities."""
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, *_: Any, **__: Any) -> None:
        """Always verify, against the context alone: reading a bundle again for each connection is a waste."""
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = None
        conn.ca_cert_dir = None


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the system's authorities and those in `ca_file`; raises `UsageError` for a bad file."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not ssl.get_default_verify_paths().capath:
        context.load_verify_locations(certifi.where())
    if ca_file:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"the certificate authorities in {ca_file} cannot be read",
                why=str(error),
                hint="give a file of PEM certificates",
            ) from error
    return context
