"""Scalars with a meaning of their own."""

from __future__ import annotations

import pytest

from nexus_oci.definition.distribution_model import is_secret
from nexus_oci.definition.scalars import nanoseconds, semantic_version
from nexus_oci.definition.suggestions import did_you_mean, nearest


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10s", 10_000_000_000), ("1m30s", 90_000_000_000), ("1.5s", 1_500_000_000), ("500ms", 500_000_000), ("2h", 7200 * 10**9)],
)  # fmt: skip
def test_durations_have_the_length_that_go_gives_them(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected


@pytest.mark.parametrize("text", ["1.0.0", "0.0.0", "1.2.3-rc.1", "1.2.3-0a.x-y+build.01", "1.2.3+g0123"])
def test_semantic_versions_are_taken(text: str) -> None:
    assert semantic_version(text) == text


@pytest.mark.parametrize("text", ["", "1", "1.0", "01.0.0", "1.0.0-", "1.0.0-rc..1", "1.0.0-01", "1.0.0+", "1.0.0\n", "v1.0.0"])
def test_other_versions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no semantic version"):
        semantic_version(text)


@pytest.mark.parametrize("name", ["DB_PASSWORD", "TOKEN", "github_token", "PRIVATE_KEY", "MY_SECRET_VALUE", "API_KEY", "AWS_CREDENTIALS"])  # fmt: skip
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["PASSWORD_FILE", "TOKEN_TTL", "TOKENIZER", "SECRETARY", "KEY", "TOKEN_URL", "HOME"])
def test_names_that_only_sound_like_secrets_are_let_through(name: str) -> None:
    assert not is_secret(name)


def test_the_nearest_word_ignores_case_and_underscores() -> None:
    assert nearest("Working_Directory", ["working-directory", "command"]) == "working-directory"
    assert did_you_mean("zzz", ["command"]) == ""
