"""The gzip encoder: valid, reproducible, bounded, and honest about failures."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import subprocess
import threading
from collections.abc import Iterable

import pytest

from nexus_oci.errors import ArchiveError, NexusError
from nexus_oci.oci.gzip import BLOCK, ENCODER, LEVEL, GzipWriter, _check_version, inflated


def _sample(size: int, seed: int = 1) -> bytes:
    """Bytes that compress about as well as programs do, the same on every run."""
    source = random.Random(seed)
    words = [source.randbytes(source.randint(2, 12)) for _ in range(500)]
    made = b"".join(source.choices(words, k=size // 6 + 1))
    return (made * (size // max(1, len(made)) + 1))[:size]


def _encoded(pieces: Iterable[bytes | memoryview], workers: int = 2) -> bytes:
    out = bytearray()
    with GzipWriter(out.extend, workers=workers) as writer:
        for piece in pieces:
            writer.write(piece)
    return bytes(out)


@pytest.mark.parametrize("size", [0, 1, 511, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 77_777])
def test_what_is_written_is_read_back_by_python_and_by_gzip(size: int) -> None:
    data = _sample(size)
    encoded = _encoded([data])
    assert gzip.decompress(encoded) == data
    assert b"".join(inflated([encoded], "it")) == data
    unzipped = subprocess.run(["gzip", "-dc"], input=encoded, capture_output=True, check=True)
    assert unzipped.stdout == data


def test_the_bytes_do_not_depend_on_the_number_of_workers() -> None:
    data = _sample(5 * BLOCK + 12345)
    assert len({_encoded([data], workers) for workers in (1, 2, 3, 8)}) == 1


def test_the_bytes_do_not_depend_on_how_the_input_is_cut() -> None:
    data = _sample(2 * BLOCK + 4321)
    view = memoryview(data)
    whole = _encoded([data])
    cuts = random.Random(7)
    for most in (5_000, 300_000, BLOCK, 3 * BLOCK):
        pieces = []
        at = 0
        while at < len(data):
            step = cuts.randint(1, most)
            pieces.append(view[at : at + step])
            at += step
        assert _encoded(pieces) == whole


def test_the_bytes_are_those_of_the_release_before() -> None:
    """A change here changes every layer's digest: the encoder's name must then change too."""
    words = [hashlib.sha256(b"%d" % number).hexdigest()[: 3 + number % 9].encode() for number in range(300)]
    data = b" ".join(words[(number * number + number // 7) % 300] for number in range(300_000))
    digest = hashlib.sha256(_encoded([data])).hexdigest()
    assert ENCODER == "zlib-ng 1.1.0 level 3 blocks 1MiB"
    assert digest == "f22d9f979055ba08712ed23bb03de200f34050e972e7639876e863dde2c2481b"


def test_the_header_tells_neither_time_nor_name_nor_system() -> None:
    assert _encoded([b"x"])[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def test_a_buffer_may_be_reused_once_it_was_taken() -> None:
    data = _sample(2 * BLOCK)
    out = bytearray()
    buffer = bytearray(64 << 10)
    with GzipWriter(out.extend) as writer:
        for at in range(0, len(data), len(buffer)):
            buffer[:] = data[at : at + len(buffer)]
            writer.write(buffer)
    assert gzip.decompress(bytes(out)) == data


def test_the_watcher_sees_every_block_in_order() -> None:
    data = _sample(3 * BLOCK + 5)
    seen = hashlib.sha256()
    with GzipWriter(lambda _: None, workers=3, watch=seen.update) as writer:
        writer.write(data)
    assert writer.size == len(data)
    assert seen.hexdigest() == hashlib.sha256(data).hexdigest()


def test_a_failing_watcher_is_not_passed_over() -> None:
    def refuse(_: memoryview) -> None:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"), GzipWriter(lambda _: None, watch=refuse) as writer:
        writer.write(_sample(BLOCK * 2))


def test_a_failing_worker_is_not_passed_over() -> None:
    with pytest.raises(Exception, match=r"compression level|[Ii]nvalid"), GzipWriter(lambda _: None, level=99) as writer:
        writer.write(b"x")


def test_a_failing_sink_stops_the_writer_and_its_threads() -> None:
    def full(data: bytes) -> None:
        if len(data) > 10:
            raise OSError(28, os.strerror(28))

    before = threading.active_count()
    with pytest.raises(OSError, match="No space left"), GzipWriter(full) as writer:
        writer.write(os.urandom(40 * BLOCK))
    assert threading.active_count() == before


def test_only_a_few_blocks_are_held() -> None:
    taken = 0
    given = 0
    worst = 0

    def sink(data: bytes) -> None:
        nonlocal taken
        taken += len(data)

    with GzipWriter(sink, workers=2) as writer:
        for _ in range(60):
            given += writer.write(os.urandom(BLOCK))
            worst = max(worst, given - taken)
    assert worst <= 18 * BLOCK


def test_nothing_more_is_written_after_an_exception() -> None:
    out = bytearray()

    def interrupted() -> None:
        with GzipWriter(out.extend) as writer:
            writer.write(b"half")
            raise KeyError("interrupted")

    with pytest.raises(KeyError, match="interrupted"):
        interrupted()
    assert len(out) == 10


def test_another_encoder_than_the_pinned_one_is_refused() -> None:
    with pytest.raises(NexusError, match=r"zlib-ng is 9\.9\.9"):
        _check_version("9.9.9", "2.3.3")
    with pytest.raises(NexusError, match=r"library 2\.2\.0"):
        _check_version("1.1.0", "2.2.0")


def test_inflating_reads_all_members_in_any_pieces() -> None:
    data = _sample(200_000)
    encoded = gzip.compress(data) + gzip.compress(b"") + gzip.compress(data)
    for step in (1, 1000, len(encoded)):
        pieces = [encoded[at : at + step] for at in range(0, len(encoded), step)]
        assert b"".join(inflated(pieces, "it")) == data * 2


def test_inflating_holds_little_of_what_unpacks_to_much() -> None:
    bomb = gzip.compress(bytes(64 * BLOCK))
    sizes = [len(piece) for piece in inflated([bomb], "it")]
    assert sum(sizes) == 64 * BLOCK
    assert max(sizes) <= BLOCK


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-5], "truncated"),
        (lambda data: data[:300], "truncated"),
        (lambda _: b"", "truncated"),
        (lambda data: data[:-8] + bytes(4) + data[-4:], "damaged"),
        (lambda data: data[:200] + b"\xff" * 50 + data[250:], "damaged"),
        (lambda data: data + b"rubbish", "damaged|truncated"),
    ],
)
def test_damaged_gzip_is_refused(damage, message: str) -> None:  # type: ignore[no-untyped-def]
    encoded = gzip.compress(_sample(100_000))
    with pytest.raises(ArchiveError, match=f"the layer is ({message})"):
        for _ in inflated([damage(encoded)], "the layer"):
            pass


def test_the_level_is_the_one_in_the_name() -> None:
    assert f"level {LEVEL} " in ENCODER
