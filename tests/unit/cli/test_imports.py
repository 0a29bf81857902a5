"""Cold start: what a verb loads before it does anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {"docker", "oras", "requests", "urllib3", "pydantic", "jinja2", "rich", "yaml", "cryptography", "asyncio", "ssl"}
CODE = """
import sys
from nexus_oci.cli.main import main
sys.argv[0] = "nexus-oci"
try:
    main()
finally:
    print(*sorted(name for name in sys.modules if "." not in name), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "forbidden"),
    [
        (["--version"], HEAVY),
        (["--help"], HEAVY),
        (["ls", "--help"], HEAVY),
        (["build", "--help"], HEAVY),
        (["-C", str(ROOT), "check"], {"docker", "oras", "requests", "urllib3", "rich", "cryptography", "asyncio"}),
    ],
    ids=lambda value: " ".join(value[-2:]).replace(str(ROOT), "") if isinstance(value, list) else "",
)
def test_nothing_is_loaded_that_the_verb_does_not_need(words: list[str], forbidden: set[str]) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout
    assert set(done.stderr.split()) & forbidden == set()
