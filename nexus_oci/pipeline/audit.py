"""The record of what was loaded: one JSON object a line, only ever appended to.

A line is written, and on the disk, before anything is sent, and another one when the work is over. Lines of several processes do
not mix.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nexus_oci.errors import StoreError

VARIABLE = "NEXUS_OCI_AUDIT"
"""The environment variable that names the file."""


@dataclass(frozen=True, kw_only=True)
class AuditLog:
    """A file of records."""

    path: Path

    def append(self, event: str, fields: Mapping[str, Any]) -> None:
        """Add a line with the time (UTC), who and where; raises `StoreError` where it cannot be kept."""
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "event": event,
            "user": _user(),
            "uid": os.getuid(),
            "host": socket.gethostname(),
            **fields,
        }
        line = (json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n").encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.write(file, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise StoreError(
                f"the audit record {self.path} cannot be written",
                why=error.strerror or str(error),
                hint=f"name another file with --audit or {VARIABLE}; nothing is loaded without a record",
            ) from error


def default_audit(environment: Mapping[str, str], home: Path) -> Path:
    """Where the record is kept: $NEXUS_OCI_AUDIT, else below $XDG_STATE_HOME or ~/.local/state."""
    if named := environment.get(VARIABLE):
        return Path(named)
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else home / ".local" / "state") / "nexus-oci" / "audit.jsonl"


def _user() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return str(os.getuid())
