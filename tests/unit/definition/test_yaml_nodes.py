"""Reading YAML: what is understood, what is refused, and where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nexus_oci.definition.yaml_nodes import MAX_FILE_SIZE, Node, read


def fault(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    _, problems = read(path, "images/x.yaml")
    assert len(problems) == 1, problems
    return str(problems[0])


def content(tmp_path: Path, text: str) -> object:
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode())
    node, problems = read(path, "x.yaml")
    assert not problems
    assert isinstance(node, Node)
    return node.plain()


def test_only_true_and_false_are_booleans(tmp_path: Path) -> None:
    words = "[yes, no, on, off, y, n, True, FALSE, true, false]"
    assert content(tmp_path, f"a: {words}") == {"a": ["yes", "no", "on", "off", "y", "n", "True", "FALSE", True, False]}


def test_on_is_a_key_like_any_other(tmp_path: Path) -> None:
    assert content(tmp_path, "on: push\n") == {"on": "push"}


def test_numbers_nulls_and_text_are_told_apart_as_in_yaml_1_2(tmp_path: Path) -> None:
    text = "a: 8080\nb: 1.10\nc: -3\nd: 1.0.0\ne: 1:30\nf: 2026-11-20\ng: ~\nh:\ni: '8080'\nj: 1e3\nk: .inf\n"
    assert content(tmp_path, text) == {
        "a": 8080, "b": 1.1, "c": -3, "d": "1.0.0", "e": "1:30", "f": "2026-11-20", "g": None, "h": None, "i": "8080",
        "j": 1000.0, "k": float("inf"),
    }  # fmt: skip


def test_an_alias_stands_for_what_it_names(tmp_path: Path) -> None:
    assert content(tmp_path, "a: &x [1, {b: 2}]\nc: *x\n") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    assert content(tmp_path, "\ufeffa: 1\r\nb: |\r\n  x\r\n") == {"a": 1, "b": "x\n"}


def test_positions_count_characters_not_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("é: {ü: 1, b: [x, y]}\n")
    node, _ = read(path, "x.yaml")
    assert node is not None and node.entries is not None
    inner = node.entries["é"].value.entries
    assert inner is not None and inner["b"].value.items is not None
    assert str(inner["b"].position) == "x.yaml:1:11"
    assert str(inner["b"].value.items[1].position) == "x.yaml:1:18"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "1:1: the file is empty; expected a mapping of keys to values"),
        (b"# nothing\n", "1:1: the file is empty; expected a mapping of keys to values"),
        (b"- a\n", "1:1: found a list, expected a mapping of keys to values"),
        (b"name:shop\n", "1:1: found the text 'name:shop', expected a mapping of keys to values"),
        (b"a:\n\tb: 1\n", "2:1: found a tab; YAML is indented with spaces only"),
        (b"a: |\n\tx\n", "2:1: found a tab; YAML is indented with spaces only"),
        (b"a: 1\n---\nb: 2\n", "2:1: a second document begins; a file holds one"),
        (b"a: 1\nb: caf\xe9\n", "2:7: found the byte 0xe9, which is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "1:1: found the byte 0xff, which is not UTF-8; save the file as UTF-8"),
        ("é: \x07".encode(), "1:4: found the control character U+0007; YAML allows none"),
        (b"a: b: c\n", "1:5: found a second ':' in one value, or a wrong indentation; put a text with ': ' in quotes"),
        (b"a: @x\n", "1:4: found '@' at the start of a value; put the value in quotes"),
        (b"a: [1\nb: 2\n", "2:2: is not YAML: did not find expected ',' or ']' (while parsing a flow sequence, begun on line 1)"),
        (b"a: *x\n", "1:4: found the alias '*x', but nothing before it is '&x'"),
        (b"a: &x [*x]\n", "1:8: found the alias '*x' inside of what it stands for"),
        (b"a: 1\nb: 2\na: 3\n", "3:1: the key 'a' is written twice in one mapping, first on line 1"),
        (b"a: !!python/name:os.system x\n", "1:4: found the tag 'tag:yaml.org,2002:python/name:os.system'; a definition has no tags"),
        (b"a: !secret {}\n", "1:4: found the tag '!secret'; a definition has no tags"),
        (b"a: &a {x: 1}\nb:\n  <<: *a\n", "3:3: found a merge key '<<', which YAML 1.2 does not have; write its keys out"),
        (b"8080: x\n", "1:1: found the number 8080 as a key, expected text; put it in quotes"),
        (b"? [a]\n: b\n", "1:3: found a list as a key, expected text; put it in quotes"),
        (b"a: 0755\n", "1:4: found the unquoted number 0755, which YAML readers understand differently; write \"0755\" in quotes"),
        (b"a: 0x1F\n", "1:4: found the unquoted number 0x1F, which YAML readers understand differently; write \"0x1F\" in quotes"),
        (b"a: 1_000\n", "1:4: found the unquoted number 1_000, which YAML readers understand differently; write \"1_000\" in quotes"),
        (b"a: " + b"[" * 500, "1:53: is nested more than 50 levels deep"),
        (b"a: &a [" + b"x," * 60 + b"]\nb: &b [" + b"*a," * 60 + b"]\nc: [*b, *b, *b]\n",
         "3:9: the file holds more than 10000 values, counting each alias as what it stands for"),
    ],
)  # fmt: skip
def test_what_no_definition_holds_is_refused_at_its_place(tmp_path: Path, data: bytes, expected: str) -> None:
    assert fault(tmp_path, data) == f"images/x.yaml:{expected}"


def test_a_nesting_that_the_library_refuses_first_is_told_in_the_same_words(tmp_path: Path) -> None:
    assert fault(tmp_path, b"a: " + b"[" * 5000).endswith(": is nested more than 50 levels deep")


def test_an_alias_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert "more than 10000 values" in fault(tmp_path, "\n".join(lines).encode())


def test_depth_is_counted_through_aliases(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60)]
    assert fault(tmp_path, "\n".join(lines).encode()) == "images/x.yaml:49:12: is nested more than 50 levels deep"


def test_a_file_of_100_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    _, problems = read(path, "images/x.yaml")
    assert [str(problem) for problem in problems] == [
        f"images/x.yaml:1:1: has 104857600 bytes; a definition file may have {MAX_FILE_SIZE}. Is it one at all?"
    ]


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    _, problems = read(tmp_path / "x.yaml", "images/x.yaml")
    assert [str(problem) for problem in problems] == ["images/x.yaml:1:1: is not a regular file"]
    _, problems = read(tmp_path, "images/x.yaml")
    assert [str(problem) for problem in problems] == ["images/x.yaml:1:1: is not a regular file"]


def test_several_faults_of_one_file_are_found_together(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 0755\na: 1\n1: !x y\n")
    _, problems = read(path, "x.yaml")
    assert [str(problem.position) for problem in problems] == ["x.yaml:1:4", "x.yaml:3:4", "x.yaml:2:1", "x.yaml:3:1"]
