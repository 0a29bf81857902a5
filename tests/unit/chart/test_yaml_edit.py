"""Setting scalars in YAML text."""

from __future__ import annotations

import pytest
import yaml

from nexus_oci.chart.yaml_edit import set_scalars
from nexus_oci.errors import DefinitionError

VALUES = """\
# The image to run.
image:
  repository: engine  # no tag here
  digest:             # written in by the release
  'tag': "a # b"      # ünïcode before the next value
  pullPolicy: IfNotPresent

replicas: 2 # pods
flow: {a: 1, b: [x, y]}
"""


def test_only_the_named_values_change_and_every_comment_stays() -> None:
    edited = set_scalars(
        VALUES,
        {"image": {"repository": "registry.example/ns/runtime", "digest": "sha256:ab", "tag": ""}, "flow": {"a": 7}},
        file="values.yaml",
    )
    assert (
        edited
        == """\
# The image to run.
image:
  repository: "registry.example/ns/runtime"  # no tag here
  digest: "sha256:ab"             # written in by the release
  'tag': ""      # ünïcode before the next value
  pullPolicy: IfNotPresent

replicas: 2 # pods
flow: {a: 7, b: [x, y]}
"""
    )


@pytest.mark.parametrize(
    "value", ["", "no", "1.0", "a: b # c", 'quote " and \\', "two\nlines", "ü \u2028\x7f😀", " x ", 3, True, None]
)
def test_a_value_reads_back_as_what_was_set(value: object) -> None:
    edited = set_scalars(VALUES, {"image": {"digest": value}}, file="values.yaml")
    assert yaml.safe_load(edited)["image"]["digest"] == value


def test_windows_line_ends_and_a_byte_order_mark_are_kept() -> None:
    text = "\ufeffimage:\r\n  digest: x  # c\r\n"
    assert set_scalars(text, {"image": {"digest": "y"}}, file="v") == '\ufeffimage:\r\n  digest: "y"  # c\r\n'


def test_an_empty_value_at_the_end_of_the_file_can_be_set() -> None:
    assert set_scalars("image:", {"image": "x"}, file="v") == 'image: "x"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image: {tag: a}", r"values\.yaml has no key image\.digest"),
        ("image: plain", r"values\.yaml:1:8: image is a single value, not a mapping"),
        ("image:\n  digest: {a: b}", r"values\.yaml:2:11: image\.digest is a mapping"),
        ("image:\n  digest: |\n    text\n", r"values\.yaml:2:11: image\.digest is a block of text"),
        ("image:\n  digest: a\n  digest: b\n", r"values\.yaml:3:11: image\.digest is given twice"),
        ("image: {digest: a\n", r"values\.yaml is not YAML"),
        ("- image\n", r"the document is a list"),
        ("# nothing\n", r"values\.yaml is empty"),
        ("other: &x {digest: a}\nimage: *x\n", r"image is used in several places"),
        ("other: &x a\nimage: {digest: *x}\n", r"image\.digest is used in several places"),
        ("image: {digest: &x a}\n", r"image\.digest cannot be set in values\.yaml without changing something else"),
        ("base: &b {digest: a}\nimage:\n  <<: *b\n", r"has no key image\.digest"),
    ],
)
def test_what_cannot_be_set_alone_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        set_scalars(text, {"image": {"digest": "x"}}, file="values.yaml")


@pytest.mark.parametrize("value", [["x"], 1.5])
def test_what_is_no_single_value_is_refused(value: object) -> None:
    with pytest.raises(DefinitionError, match=r"image\.digest cannot be set to a (list|float)"):
        set_scalars(VALUES, {"image": {"digest": value}}, file="values.yaml")


def test_an_alias_bomb_beside_the_value_costs_nothing() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)), "digest: old"]
    assert set_scalars("\n".join(lines), {"digest": "new"}, file="v").endswith('digest: "new"')
