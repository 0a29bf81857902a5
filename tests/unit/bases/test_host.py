"""What a machine must have, and what it is told when it has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_oci.bases import host as hosts
from nexus_oci.bases.apt import stanzas
from nexus_oci.bases.commands import Finished, need_space, require, run
from nexus_oci.bases.host import Host, default_cache
from nexus_oci.bases.resolve import debian_architecture
from nexus_oci.errors import BuildError


def test_without_mmdebstrap_and_apt_the_machine_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hosts, "have", lambda _: False)
    with pytest.raises(BuildError, match=r"neither mmdebstrap nor apt is installed[\s\S]*install mmdebstrap"):
        Host(cache=tmp_path).mmdebstrap([], tmp_path)


def test_without_mmdebstrap_and_a_container_engine_both_ways_out_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hosts, "have", lambda name: name != "mmdebstrap")
    with pytest.raises(BuildError, match=r"install mmdebstrap, or start the container engine"):
        Host(cache=tmp_path).mmdebstrap([], tmp_path)


def test_without_mmdebstrap_it_runs_in_a_container_that_sees_the_scratch_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def containers(**call: object) -> tuple[int, str]:
        calls.append(call)
        return 3, "E: said"

    monkeypatch.setattr(hosts, "have", lambda name: name != "mmdebstrap")
    monkeypatch.setattr(hosts.bootstrap, "tool_rootfs", lambda *_: (tmp_path / "tool.tar", "tool:1"))
    done = Host(cache=tmp_path, containers=containers).mmdebstrap(["--include=x"], tmp_path)
    assert (done.code, done.last_lines()) == (3, "E: said")
    assert calls[0]["tag"] == "tool:1"
    assert calls[0]["mounts"] == {tmp_path: str(tmp_path)}
    assert calls[0]["argv"][-1] == "--include=x"  # type: ignore[index]


def test_a_missing_program_is_named_with_its_purpose() -> None:
    with pytest.raises(BuildError, match="no-such-program is needed to read packages"):
        require("no-such-program", purpose="read packages")


def test_a_program_that_cannot_be_started_is_an_error_of_ours() -> None:
    with pytest.raises(BuildError, match="could not be started"):
        run(["/no/such/program"])


def test_a_disk_that_is_too_small_is_noticed_before_it_is_full(tmp_path: Path) -> None:
    need_space(tmp_path / "not" / "yet", 1, "working")
    with pytest.raises(BuildError, match="no space left while working"):
        need_space(tmp_path / "not" / "yet", 1 << 62, "working")


def test_the_last_lines_of_a_failure_are_its_errors() -> None:
    done = Finished(code=1, output="I: begin\nGet:1 x", errors="E: one\nI: noise\nE: two\n")
    assert done.last_lines() == "E: one\n       E: two"


def test_the_cache_is_where_xdg_says() -> None:
    home = Path("/home/u")
    assert default_cache({}, home) == Path("/home/u/.cache/nexus-oci")
    assert default_cache({"XDG_CACHE_HOME": "/c"}, home) == Path("/c/nexus-oci")
    assert default_cache({"XDG_CACHE_HOME": "relative"}, home) == Path("/home/u/.cache/nexus-oci")


@pytest.mark.parametrize(
    ("architecture", "variant", "debian"),
    [
        ("amd64", None, "amd64"),
        ("arm", "v7", "armhf"),
        ("arm", "v6", "armel"),
        ("ppc64le", None, "ppc64el"),
        ("386", None, "i386"),
    ],
)
def test_architectures_have_debians_names(architecture: str, variant: str | None, debian: str) -> None:
    assert debian_architecture(architecture, variant) == debian


def test_stanzas_keep_their_continuation_lines() -> None:
    text = "Package: a\nDescription: one\n two\n\n# note\nPackage: b\nEmpty:\n"
    assert list(stanzas(text)) == [{"Package": "a", "Description": "one\ntwo"}, {"Package": "b", "Empty": ""}]
