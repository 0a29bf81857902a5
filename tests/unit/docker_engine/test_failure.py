"""What a failed build says."""

from __future__ import annotations

import pytest

from nexus_oci.docker_engine.failure import LogTail, stage_error

TEXT = "FROM team/base:1 AS build\nRUN make\n"


@pytest.mark.parametrize(
    ("message", "step", "line", "hint"),
    [
        ("no active sessions", "[internal] load metadata for docker.io/team/base:1", 1, "holds no image of that name"),
        ("dial tcp: no such host", "[internal] load metadata for docker.io/team/base:1", 1, "holds no image"),
        ("dockerfile parse error line 2: unknown instruction: RUM", "", 2, "correct the Dockerfile's template"),
        ("parse error on line 2: x", "", 2, "correct the Dockerfile's template"),
        ("target stage deb could not be found", "", None, "add a stage of that name"),
        ("failed to reach build target deb in Dockerfile", "", None, "take the format out"),
        ("write /x: no space left on device", "[build 2/2] RUN make", 2, "docker system df"),
        ("standard_init_linux.go: exec format error", "[build 2/2] RUN make", 2, "BUILDPLATFORM"),
        ("executor failed running [/bin/sh -c make]: exit code: 127", "[build 2/2] RUN make", 2, "was not found"),
        ("executor failed running [/bin/sh -c make]: exit code: 137", "[build 2/2] RUN make", 2, "out of memory"),
        ("executor failed running [/bin/sh -c make]: exit code: 2", "[build 2/2] RUN make", 2, "build again"),
    ],
)
def test_each_kind_of_failure_has_its_line_and_its_advice(message: str, step: str, line: int | None, hint: str) -> None:
    error = stage_error(TEXT, title="runtime", message=message, step=step)
    assert error.line == line
    assert hint in str(error.hint)
    assert error.what.startswith("runtime: ")


def test_the_stages_own_output_decides_where_the_engine_only_gives_an_exit_code() -> None:
    error = stage_error(
        TEXT, title="runtime", message="exit code: 1", step="[build 2/2] RUN make", log=("sh: ./x: Exec format error",)
    )
    assert "BUILDPLATFORM" in str(error.hint)


def test_a_tail_keeps_the_last_lines_in_the_order_of_their_ends() -> None:
    tail = LogTail(lines=3)
    assert tail.feed(1, b"one\ntw") == ["one"]
    assert tail.feed(2, b"error\n") == ["error"]
    assert tail.feed(1, b"o\nthree\nhalf") == ["two", "three"]
    assert tail.lines() == ("error", "two", "three", "half")


def test_a_tail_shows_what_a_terminal_would_and_is_bounded() -> None:
    tail = LogTail()
    tail.feed(1, b"10%\r50%\r100%\r\n\x1b[91mred\x1b[0m\n" + b"x" * 5000 + b"\n" + b"y" * 5000)
    assert tail.lines()[:2] == ("100%", "red")
    assert [len(line) for line in tail.lines()[2:]] == [1000, 1000]
