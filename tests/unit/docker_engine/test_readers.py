"""Both builders' answers, as a real engine (20.10.24) sent them, become events, an image id or an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexus_oci.docker_engine.buildkit import BuildKitReader
from nexus_oci.docker_engine.classic import ClassicReader, platform_arguments, rewrite
from nexus_oci.docker_engine.events import Event, LogEvent, StepEvent
from nexus_oci.oci.values import Platform

RECORDED = Path(__file__).parent / "recorded"
FAILED = (RECORDED / "failed.Dockerfile").read_text()


def read(reader: BuildKitReader | ClassicReader, name: str) -> None:
    for line in (RECORDED / name).read_text().splitlines():
        reader.feed(json.loads(line))


@pytest.mark.parametrize("kind", ["buildkit", "classic"])
def test_a_failure_names_stage_line_and_last_forty_lines(kind: str) -> None:
    events: list[Event] = []
    reader = BuildKitReader(events.append) if kind == "buildkit" else ClassicReader(events.append)
    read(reader, f"{kind}-failed.jsonl")
    error = reader.failure(FAILED, "runtime for linux/amd64")
    assert error.what.startswith("runtime for linux/amd64: stage 'build' failed at Dockerfile line 7: RUN seq 1 50 &&")
    assert error.line == 7
    assert len(error.log) == 40
    assert {"48", "49", "50"} <= set(error.log[-4:])
    assert "code: 3" in str(error.why)
    assert "\n    | 49\n    | 50\n" in str(error)
    assert error.hint
    assert "failed" in {event.state for event in events if isinstance(event, StepEvent)}


@pytest.mark.parametrize("kind", ["buildkit", "classic"])
def test_a_build_that_ends_well_gives_the_id_of_its_last_stage(kind: str) -> None:
    events: list[Event] = []
    reader = BuildKitReader(events.append) if kind == "buildkit" else ClassicReader(events.append)
    read(reader, f"{kind}-built.jsonl")
    assert reader.error is None
    assert reader.image_id is not None
    assert reader.image_id in (RECORDED / f"{kind}-built.jsonl").read_text().splitlines()[-2]


def test_buildkit_steps_keep_the_engines_names_and_are_reported_once_per_state() -> None:
    events: list[Event] = []
    read(BuildKitReader(events.append), "buildkit-built.jsonl")
    steps = [(event.name, event.state) for event in events if isinstance(event, StepEvent)]
    assert ("[tools 2/2] RUN echo ready", "completed") in steps
    assert ("[image 1/1] COPY --from=tools /etc /etc", "cached") in steps
    assert len(steps) == len(set(steps))
    assert [event.text for event in events if isinstance(event, LogEvent)] == ["ready"]


def test_an_answer_that_stops_before_the_end_has_no_image() -> None:
    reader = ClassicReader(lambda _: None)
    for line in (RECORDED / "classic-built.jsonl").read_text().splitlines()[:-1]:
        reader.feed(json.loads(line))
    assert reader.image_id is None


def test_a_trace_that_is_not_base64_is_refused() -> None:
    with pytest.raises(ValueError, match="not base64"):
        BuildKitReader(lambda _: None).feed({"id": "moby.buildkit.trace", "aux": "*"})


def test_classic_steps_that_make_images_are_known_for_their_removal() -> None:
    reader = ClassicReader(lambda _: None)
    read(reader, "classic-failed.jsonl")
    assert reader.layers == ("91100cbe1149", "9c086b520cfa")


def test_the_classic_builder_gets_no_platforms_and_no_cache_mounts() -> None:
    text = "FROM --platform=$BUILDPLATFORM a AS b\nRUN --mount=type=cache,target=/c make\nFROM --platform=linux/arm64 c\n"
    assert rewrite(text) == "FROM a AS b\nRUN make\nFROM c\n"


def test_the_classic_builder_is_told_what_buildkit_would_define() -> None:
    amd64, arm = Platform.parse("linux/amd64"), Platform.parse("linux/arm/v7")
    arguments = platform_arguments(build=amd64, target=arm)
    assert arguments["BUILDPLATFORM"] == "linux/amd64"
    assert (arguments["TARGETARCH"], arguments["TARGETVARIANT"]) == ("arm", "v7")
