"""A chart's provenance file: what is signed, and what is read out of it."""

from __future__ import annotations

import pytest
import yaml

from nexus_oci.chart.provenance import read_statement, statement_text
from nexus_oci.errors import VerificationError
from nexus_oci.oci.values import canonical_json, digest_of

CONFIG = canonical_json(
    {"name": "engine", "version": "1.0", "description": "long " * 60, "keywords": ["a", "b"], "appVersion": "1.0"}
)


def test_the_text_is_chart_yaml_three_dots_and_the_digest_of_the_archive() -> None:
    metadata, sums = statement_text(CONFIG, "engine-1.0.tgz", b"archive").decode().split("\n...\n")
    assert yaml.safe_load(metadata)["version"] == "1.0"
    assert metadata.count("\n") == 7
    assert yaml.safe_load(sums) == {"files": {"engine-1.0.tgz": str(digest_of(b"archive"))}}


def test_a_version_with_a_plus_sign_is_there_under_both_of_its_names() -> None:
    said = read_statement(statement_text(CONFIG, "engine-1.0+b.tgz", b"archive"))
    assert (said.name, said.version) == ("engine", "1.0")
    assert dict(said.files) == {name: digest_of(b"archive") for name in ("engine-1.0+b.tgz", "engine-1.0_b.tgz")}


@pytest.mark.parametrize(
    "text",
    [b"", b"name: a\nversion: 1\n", b"name: a\nversion: 1\n\n...\n", b"name: a\nversion: 1\n\n...\nfiles:\n  a.tgz: sha256:abc\n",
     b"- a\n\n...\nfiles: {}\n", b"name: a\nversion: 1\n\n...\nfiles: [a]\n", b"\xff\n...\n", b"a: [\n...\nfiles: {}\n"],
)  # fmt: skip
def test_what_is_no_such_text_is_refused(text: bytes) -> None:
    with pytest.raises(VerificationError, match="no provenance file of a chart"):
        read_statement(text)
