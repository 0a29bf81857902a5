from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nexus_oci.errors import StoreError
from nexus_oci.pipeline.audit import AuditLog, default_audit


def test_lines_are_added_and_never_changed(tmp_path: Path) -> None:
    log = AuditLog(path=tmp_path / "state" / "audit.jsonl")
    log.append("load-started", {"bundle": "sha256:x"})
    first = log.path.read_bytes()
    log.append("load-done", {"bundle": "sha256:x"})
    assert log.path.read_bytes().startswith(first)
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["load-started", "load-done"]
    assert {"time", "user", "uid", "host", "bundle"} <= lines[0].keys()
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_lines_of_several_writers_do_not_mix(tmp_path: Path) -> None:
    log = AuditLog(path=tmp_path / "audit.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.append("x", {"number": number, "filler": "x" * 9000}), range(40)))
    assert sorted(json.loads(line)["number"] for line in log.path.read_text().splitlines()) == list(range(40))


def test_a_record_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="nothing is loaded without a record"):
        AuditLog(path=tmp_path / "file" / "audit.jsonl").append("x", {})


def test_where_the_record_is(tmp_path: Path) -> None:
    assert default_audit({}, tmp_path) == tmp_path / ".local/state/nexus-oci/audit.jsonl"
    assert default_audit({"XDG_STATE_HOME": "/state"}, tmp_path) == Path("/state/nexus-oci/audit.jsonl")
    assert default_audit({"NEXUS_OCI_AUDIT": "/a"}, tmp_path) == Path("/a")
