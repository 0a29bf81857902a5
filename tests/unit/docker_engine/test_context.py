"""The tar that a build sends."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest

from nexus_oci.docker_engine.context import DOCKERFILE_NAME, context_stream
from nexus_oci.errors import BuildError


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_dockerfile_extra_files_and_the_callers_tar_are_one_tar() -> None:
    pieces = context_stream("FROM a\n", {"build/ca.pem": b"x" * 600}, lambda: [b"", tar_of({"src/main.go": b"go"}), b""])
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert found == {DOCKERFILE_NAME: b"FROM a\n", "build/ca.pem": b"x" * 600, "src/main.go": b"go"}


def test_a_context_may_be_the_dockerfile_alone() -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context_stream("FROM a\n", {}, None)))) as tar:
        assert tar.getnames() == [DOCKERFILE_NAME]


def test_no_piece_is_empty_because_that_would_end_the_request() -> None:
    assert all(context_stream("", {}, lambda: [b"", b"a", b""]))


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ""])
def test_a_file_that_leaves_the_context_is_refused(name: str) -> None:
    with pytest.raises(BuildError, match="cannot be put into a build context"):
        list(context_stream("", {name: b""}, None))


def test_a_source_that_cannot_be_read_is_not_taken_for_a_broken_connection() -> None:
    def context() -> Iterator[bytes]:
        yield b"x"
        raise PermissionError(13, "Permission denied", "secret.go")

    with pytest.raises(BuildError, match=r"the build context cannot be read\n.*secret.go"):
        list(context_stream("", {}, context))
