"""Templates: a user's own stands in for the shipped one, and what is wrong with one is told with its file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_oci.errors import DefinitionError
from nexus_oci.render.templates import render

Renderer = Callable[..., str]


@pytest.fixture
def rendered(tmp_path: Path) -> Renderer:
    """Writes templates by name, and renders the first."""

    def write(values: dict[str, Any] | None = None, **templates: str | bytes) -> str:
        folder = tmp_path / "own"
        folder.mkdir(exist_ok=True)
        for name, text in templates.items():
            (folder / f"{name}.j2").write_bytes(text if isinstance(text, bytes) else text.encode())
        return render([folder, tmp_path / "shipped"], f"{next(iter(templates))}.j2", values or {})

    return write


def test_the_users_own_template_stands_in_for_the_shipped_one(tmp_path: Path) -> None:
    for name, templates in {"own": ["a"], "shipped": ["a", "b"]}.items():
        (tmp_path / name).mkdir()
        for template in templates:
            (tmp_path / name / template).write_text(f"{name} {template}")
    folders = [tmp_path / "own", tmp_path / "shipped"]
    assert [render(folders, name, {}) for name in ("a", "b")] == ["own a", "shipped b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM x\nENV {{ nmae }}\n", r"dockerfiles/go\.j2:2: 'nmae' is undefined"),
        ("{{ engine.nmae }}", r"dockerfiles/go\.j2:1: .*no attribute 'nmae'"),
        ("{% for x in none_such %}{% endfor %}", "'none_such' is undefined"),
        ("\n{% if x %}", r"dockerfiles/go\.j2:2: "),
        ("{{ 'x' | nofilter }}", "nofilter"),
        ("\n\n{{ 1 + 'a' }}", r"dockerfiles/go\.j2:3: unsupported operand"),
        ("{{ 1 // 0 }}", r"go\.j2:1: .*zero"),
        ("{% include 'go.j2' %}", "recursion"),
        ("{% include 'other.j2' %}", "there is no template 'other.j2'"),
        ("{% block b required %}{% endblock %}", "Required block 'b'"),
        (b"\xff", "not UTF-8"),
        ("{{ 'a\nb' | docker }}", "line break"),
    ],
)
def test_a_template_that_is_wrong_is_told_with_its_place(rendered: Renderer, text: str | bytes, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        rendered({"engine": {"name": "x"}}, go=text)
    assert caught.value.exit_code == 2


def test_a_fault_in_an_included_template_names_that_one(rendered: Renderer) -> None:
    with pytest.raises(DefinitionError, match=r"dockerfiles/inner\.j2:2: 'x' is undefined"):
        rendered(outer="{% include 'inner.j2' %}", inner="\n{{ x }}")


@pytest.mark.parametrize(
    "text",
    ["{{ ''.__class__.__mro__ }}", "{{ values.append(1) }}", "{{ json.__globals__ }}", "{% for i in range(10**9) %}{% endfor %}"],
)
def test_a_template_cannot_reach_the_program(rendered: Renderer, text: str) -> None:
    with pytest.raises(DefinitionError):
        rendered({"values": []}, go=text)


def test_a_missing_template_names_the_folders(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no template 'rust") as caught:
        render([tmp_path], "rust.Dockerfile.j2", {})
    assert str(tmp_path) in str(caught.value)


def test_values_are_quoted_for_where_they_stand(rendered: Renderer) -> None:
    values = {"word": "it's $HOME", "words": ["a b", "c"], "path": "/a/b/c"}
    text = rendered(
        values, go="{{ word | sh }}\n{{ words | sh }}\n{{ words | json }}\n{{ word | docker }}\n{{ path | parent }}\n"
    )
    assert text.splitlines() == ["'it'\"'\"'s $HOME'", "'a b' c", '["a b", "c"]', '"it\'s \\$HOME"', "/a/b"]
