"""What a build that did nothing says: what the last one said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.pipeline.releasing import as_before

LAST: dict[str, Any] = {
    "version": "1.0.0", "release": "sha256:a", "plan": "sha256:b", "seconds": 51.2, "lock": {"refreshed": ["x 1"]},
    "tools": {"nexus-oci": "0.1.0", "engine": "Docker 20.10"},
}  # fmt: skip
NOW: dict[str, Any] = {**LAST, "seconds": 0.4, "lock": {"refreshed": []}, "tools": {"nexus-oci": "0.1.0", "engine": None}}


def test_how_the_last_build_went_stays_where_nothing_else_differs(tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps(LAST))
    assert as_before(tmp_path, NOW) == LAST


@pytest.mark.parametrize(
    "change", [{"release": "sha256:c"}, {"plan": "sha256:c"}, {"tools": {"nexus-oci": "0.2.0", "engine": None}}]
)
def test_another_release_plan_or_tool_is_said(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps(LAST))
    assert as_before(tmp_path, NOW | change) == NOW | change


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seconds": 1, "lock": {}, "tools": []}'])
def test_a_file_that_was_written_otherwise_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.json").write_text(text)
    assert as_before(tmp_path, NOW) == NOW
    (tmp_path / "metadata.json").unlink()
    assert as_before(tmp_path, NOW) == NOW
