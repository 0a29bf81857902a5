"""Our own program as a user calls it, in this process: what it prints and how it ends, without the time of a start."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from nexus_oci.cli import main as program
from tests.support.peers import Outcome


def nexus(folder: Path, *words: str | Path, environment: Mapping[str, str | None] = {}) -> Outcome:
    """`nexus-oci -C FOLDER WORDS`; None in the environment takes a variable away."""
    changed = {**os.environ, **{name: value for name, value in environment.items() if value is not None}}
    changed = {name: value for name, value in changed.items() if environment.get(name, "") is not None}
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    arguments = ["nexus-oci", "-C", str(folder), *map(str, words)]
    code: int | str | None = 0
    with (
        mock.patch.dict(os.environ, changed, clear=True), mock.patch.object(sys, "argv", arguments),
        mock.patch.object(signal, "signal"), mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):  # fmt: skip
        try:
            program.main()
        except SystemExit as ended:
            code = ended.code
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # connections that a process closes by ending
    out.flush()
    err.flush()
    return Outcome(int(code or 0), *(stream.buffer.getvalue().decode() for stream in (out, err)))
