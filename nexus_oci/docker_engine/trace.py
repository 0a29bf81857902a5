"""Reading BuildKit's progress: the protobuf message `moby.buildkit.v1.StatusResponse`.

The engine puts it, in base64, into the JSON lines of a version-2 build under the id `moby.buildkit.trace`. Only the
fields that the program shows are read; unknown fields are skipped, as protobuf asks of a reader, so newer engines stay
readable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, kw_only=True)
class Vertex:
    """A step of the build graph. Times are seconds since 1970, by the engine's clock."""

    digest: str
    name: str
    inputs: tuple[str, ...] = ()
    cached: bool = False
    started: float | None = None
    completed: float | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class VertexStatus:
    """How far a part of a step is, in bytes; `id` names the part, such as a layer's digest."""

    id: str
    vertex: str
    current: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class VertexLog:
    """Bytes that a step wrote to `stream` 1 (standard output) or 2 (standard error)."""

    vertex: str
    stream: int
    message: bytes


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One progress message."""

    vertexes: tuple[Vertex, ...] = ()
    statuses: tuple[VertexStatus, ...] = ()
    logs: tuple[VertexLog, ...] = ()


def decode(data: bytes) -> Trace:
    """Read one StatusResponse; raises `ValueError` for bytes that are none."""
    vertexes, statuses, logs = [], [], []
    for number, value in _fields(data):
        if number == 1:
            vertexes.append(_vertex(_bytes(value)))
        elif number == 2:
            statuses.append(_status(_bytes(value)))
        elif number == 3:
            logs.append(_log(_bytes(value)))
    return Trace(vertexes=tuple(vertexes), statuses=tuple(statuses), logs=tuple(logs))


def _vertex(data: bytes) -> Vertex:
    texts: dict[int, str] = {}
    times: dict[int, float] = {}
    inputs: list[str] = []
    cached = False
    for number, value in _fields(data):
        if number == 2:
            inputs.append(_text(value))
        elif number in (1, 3, 7):
            texts[number] = _text(value)
        elif number == 4:
            cached = bool(value)
        elif number in (5, 6):
            times[number] = _timestamp(_bytes(value))
    return Vertex(
        digest=texts.get(1, ""),
        name=texts.get(3, ""),
        inputs=tuple(inputs),
        cached=cached,
        started=times.get(5),
        completed=times.get(6),
        error=texts.get(7, ""),
    )


def _status(data: bytes) -> VertexStatus:
    texts: dict[int, str] = {}
    numbers: dict[int, int] = {}
    for number, value in _fields(data):
        if number in (1, 2):
            texts[number] = _text(value)
        elif number in (4, 5):
            numbers[number] = _integer(value)
    return VertexStatus(id=texts.get(1, ""), vertex=texts.get(2, ""), current=numbers.get(4, 0), total=numbers.get(5, 0))


def _log(data: bytes) -> VertexLog:
    vertex, stream, message = "", 1, b""
    for number, value in _fields(data):
        if number == 1:
            vertex = _text(value)
        elif number == 3:
            stream = _integer(value)
        elif number == 4:
            message = _bytes(value)
    return VertexLog(vertex=vertex, stream=stream, message=message)


def _timestamp(data: bytes) -> float:
    fields = dict(_fields(data))
    return _integer(fields.get(1, 0)) + _integer(fields.get(2, 0)) / 1e9


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: number and value."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} is unknown")
        if number == 0 or at + length > len(data):
            raise ValueError("a field is cut off")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where bytes belong")  # noqa: TRY004 - the message is at fault, not the caller
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8", "replace")


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes stand where a number belongs")  # noqa: TRY004
    return value - (1 << 64) if value >= 1 << 63 else value
