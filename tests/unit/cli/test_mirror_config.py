from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import RunProgram


def test_a_source_and_a_mirror_are_enough(tmp_path: Path, run: RunProgram) -> None:
    words = (
        "mirror.site/m/team",
        "--for",
        "containerd",
        "--for",
        "podman",
        "--for",
        "cri-o",
        "--source",
        "registry.example/team",
    )
    done = run("-C", tmp_path, "--json", "mirror-config", *words)
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert (data["source"], data["mirror"]) == ("registry.example/team", "mirror.site/m/team")
    assert sorted(Path(path).relative_to(tmp_path / "mirror-config").as_posix() for path in data["files"]) == [
        "containerd/certs.d/registry.example/hosts.toml",
        "containerd/config.toml",
        "containers/registries.conf.d/50-team.conf",
        "containers/registries.d/team-mirror.yaml",
    ]
    assert all(Path(path).is_file() for path in data["files"])


@pytest.mark.parametrize(("words", "what"), [
    (("mirror.site/team", "--for", "podman"), "it is not known whose names are mirrored"),
    (("mirror.site/team:1", "--for", "podman", "--source", "registry.example"), "names one image"),
    (("mirror", "--for", "podman", "--source", "registry.example"), "names no registry"),
    (("mirror.site/else", "--for", "containerd", "--source", "registry.example/team"), "containerd cannot find"),
    (("mirror.site/team", "--for", "helm", "--source", "registry.example/team"), "there is no chart"),
    (("mirror.site/team", "--source", "registry.example/team"), "Missing option '--for'"),
])  # fmt: skip
def test_what_is_missing_or_wrong_is_said(tmp_path: Path, run: RunProgram, words: tuple[str, ...], what: str) -> None:
    done = run("-C", tmp_path, "mirror-config", *words)
    assert (done.code, what in done.err) == (2, True), done.err
    assert not (tmp_path / "mirror-config").exists()
