"""The reference engine for systems that are no Linux, out of the very stage that its images come from; nothing of them runs here."""

from __future__ import annotations

import os
import struct

import pytest

from nexus_oci.docker_engine import BuildRequest, connect
from nexus_oci.pipeline.host import trust_files
from nexus_oci.render.context import Context, from_tree
from tests.integration.conftest import Reference

pytestmark = pytest.mark.integration

COMPILED_FOR = "GOOS=linux GOARCH="


def kind_of(head: bytes) -> str:
    """What an executable is for, by its own header (PE and COFF; Mach-O)."""
    if head[:2] == b"MZ":
        (offset,) = struct.unpack_from("<I", head, 60)
        machine = struct.unpack_from("<4sH", head, offset)
        return {(b"PE\0\0", 0x8664): "windows/amd64"}.get(machine, "an unknown PE file")
    magic, processor = struct.unpack_from("<II", head)
    return {0x01000007: "darwin/amd64", 0x0100000C: "darwin/arm64"}[processor] if magic == 0xFEEDFACF else "no executable"


@pytest.mark.parametrize("system", ["windows/amd64", "darwin/amd64", "darwin/arm64"])
def test_the_stage_of_the_images_compiles_for_other_systems_too(reference: Reference, native: str, system: str) -> None:
    text = reference.project.done("--json", "plan").data["dockerfiles"][f"runtime {native}"]
    name, _, architecture = system.partition("/")
    assert text.count(COMPILED_FOR + native.partition("/")[2]) == 1
    text = text.replace(COMPILED_FOR + native.partition("/")[2], f"GOOS={name} GOARCH={architecture}")
    source = Context(files=from_tree(reference.project.root / "images/engine", "source", ["*_test.go"]))
    host = trust_files({**os.environ, **reference.project.environment}, lambda _: None)
    engine = connect(environment=os.environ)
    try:
        wanted = BuildRequest(
            dockerfile=text, platform=engine.platform, target="compile", context=lambda: source.tar(0, host), title=system
        )
        with engine.files(engine.build(wanted)) as files:
            assert kind_of(files.head("/out/usr/bin/nexus-engine", 4096)) == system
    finally:
        engine.clean_up()
