"""What SRC and DST mean, and how a watch goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nexus_oci.errors import RegistryError
from nexus_oci.mirroring.run import Report
from nexus_oci.pipeline.mirror import _folder, watch


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("registry.example/team", False),
        ("localhost/team", False),
        ("127.0.0.1:5000/team/releases:1.0", False),
        ("/srv/mirror", True),
        ("./mirror", True),
        ("../mirror", True),
        ("mirror", True),
        ("team/mirror", True),
        ("registry.example", True),
    ],
)
def test_what_has_a_host_is_in_a_registry(text: str, folder: bool) -> None:
    assert (_folder(text) is not None) is folder


def test_a_folder_that_looks_like_a_host_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v1.0" / "out").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert _folder("v1.0/out") == Path("v1.0/out")


def test_what_stops_a_run_does_not_stop_the_watch() -> None:
    waits: list[float] = []
    runs: list[Any] = [RegistryError("gone"), Report(source=None, destinations=(), plan=False), RegistryError("again")]  # type: ignore[arg-type]
    left = list(runs)

    def run(_: object) -> Report:
        one = left.pop(0)
        if isinstance(one, RegistryError):
            raise one
        return one  # type: ignore[no-any-return]

    results = watch(None, 60.0, run, wait=waits.append)  # type: ignore[arg-type]
    assert [next(results) for _ in runs] == runs
    assert waits == [60.0, 60.0]
