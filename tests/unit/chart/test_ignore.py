"""The rules of .helmignore."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from nexus_oci.chart.ignore import IgnoreRules
from nexus_oci.errors import DefinitionError


@pytest.mark.parametrize(
    ("pattern", "path", "folder", "ignored"),
    [
        ("*.tmp", "a.tmp", False, True),
        ("*.tmp", "deep/er/a.tmp", False, True),
        ("*.tmp", "a.tmpl", False, False),
        ("git/", "git", True, True),
        ("git/", "git", False, False),
        ("/top.txt", "top.txt", False, True),
        ("/top.txt", "deep/top.txt", False, False),
        ("docs/*.md", "docs/a.md", False, True),
        ("docs/*.md", "docs/deep/a.md", False, False),
        ("docs/*.md", "a.md", False, False),
        ("?.txt", "a.txt", False, True),
        ("?.txt", "ab.txt", False, False),
        ("[a-c].txt", "b.txt", False, True),
        ("[^a-c].txt", "b.txt", False, False),
        ("[^a-c].txt", "d.txt", False, True),
        (r"\*.txt", "a.txt", False, False),
        (r"\*.txt", "*.txt", False, True),
        ("a+b.txt", "a+b.txt", False, True),
        ("!keep.txt", "keep.txt", False, False),
        ("!keep.txt", "other.txt", False, True),
        ("# a.txt", "a.txt", False, False),
        ("  a.txt  ", "a.txt", False, True),
        ("", "templates/.hidden", False, True),
        ("", "templates/shown.yaml", False, False),
    ],
)
def test_a_rule_ignores_what_helm_ignores(pattern: str, path: str, folder: bool, ignored: bool) -> None:
    rules = IgnoreRules.parse(f"# a comment\n\n{pattern}\n")
    assert rules.ignores(PurePosixPath(path), folder=folder) is ignored


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("a/**/b", r"\.helmignore:2: .* uses \*\*"), ("[ab", r"\.helmignore:2: '\[ab' is not a pattern")],
)
def test_a_pattern_that_helm_refuses_is_named_with_its_line(pattern: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        IgnoreRules.parse(f"*.tmp\n{pattern}\n")
