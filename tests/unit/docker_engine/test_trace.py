"""The decoder of BuildKit's progress, on messages that a real engine (20.10.24) sent."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from nexus_oci.docker_engine import trace

RECORDED = Path(__file__).parent / "recorded"


def messages(name: str) -> list[trace.Trace]:
    lines = [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]
    return [trace.decode(base64.b64decode(line["aux"])) for line in lines if line.get("id") == "moby.buildkit.trace"]


def test_vertexes_of_a_real_build_are_read_with_names_inputs_times_and_errors() -> None:
    vertexes = {v.name: v for message in messages("buildkit-failed.jsonl") for v in message.vertexes}
    failed = next(v for name, v in vertexes.items() if name.startswith("[build 3/3] RUN seq"))
    workdir = vertexes["[build 2/3] WORKDIR /src"]
    assert failed.error.endswith("exit code: 3")
    assert failed.inputs == (workdir.digest,)
    assert failed.started is not None
    assert failed.completed is not None
    assert 0 < failed.completed - failed.started < 60
    assert not failed.cached


def test_log_bytes_of_a_real_build_are_read_with_their_stream() -> None:
    logs = [log for message in messages("buildkit-failed.jsonl") for log in message.logs]
    assert b"broken\n" in {log.message for log in logs if log.stream == 2}
    assert b"".join(log.message for log in logs if log.stream == 1).endswith(b"49\n50\n")


def test_statuses_of_a_real_build_are_read() -> None:
    statuses = [status for message in messages("buildkit-built.jsonl") for status in message.statuses]
    assert "exporting layers" in {status.id for status in statuses}
    assert all(status.vertex.startswith("sha256:") for status in statuses)


def test_numbers_and_unknown_fields_of_every_wire_type_are_skipped_or_read() -> None:
    status = b"\x0a\x01a\x12\x01v\x20\xac\x02\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    unknown = b"\x7a\x01x" + b"\x78\x05" + b"\x7d\x00\x00\x00\x00" + b"\x79" + bytes(8)
    decoded = trace.decode(unknown + b"\x12" + bytes([len(status + unknown)]) + status + unknown)
    assert decoded.statuses == (trace.VertexStatus(id="a", vertex="v", current=300, total=-1),)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x0a\x05ab", "a field is cut off"),
        (b"\x0a", "a number is cut off"),
        (b"\xff" * 11, "a number is cut off"),
        (b"\x0b", "wire type 3 is unknown"),
        (b"\x08\x01", "a number stands where bytes belong"),
    ],
)
def test_a_malformed_message_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        trace.decode(data)
