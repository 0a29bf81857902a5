"""Expressions: what they give, and that none can run away."""

from __future__ import annotations

import pytest

from nexus_oci.policy.expression import ExpressionFault, compiled


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("image.base.age <= limits.days", {"image": {"base": {"age": 91}}, "limits": {"days": 90}}, False),
        ("has(image.base) && image.base.age > 1", {"image": {}}, False),
        ("names.exists(way, way.all(name, name in allowed))", {"names": [["a", "b"], ["c"]], "allowed": ["c"]}, True),
        ("string(size(x)) + ' of ' + y", {"x": [1, 2], "y": "three"}, "2 of three"),
        ("path.matches('^usr/.*[.]so$')", {"path": "usr/lib/x.so"}, True),
    ],
)
def test_an_expression_has_the_value_that_cel_gives_it(text: str, values: dict[str, object], expected: object) -> None:
    assert compiled(text).evaluate(values) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("image.age <", "line 1, column 12 of the expression: Syntax error"),
        ("a ==\n  b &&", "line 2, column 7 of the expression"),
        ("'x' + " * 400 + "'x'", "2403 characters; 2000 are allowed"),
        ("[1].map(a, [1].map(b, [1].map(c, c)))", "3 loops .map, map, map.; 2 are allowed"),
        ("x.all(a, true) && y . exists ( b , true ) && z.filter(c, true) == []", "3 loops"),
        ("(" * 31 + "1" + ")" * 31, "more than 30 levels deep"),
        ("!" * 40 + "true", "more than 30 levels deep"),
        ("x ? 1 : " * 31 + "1", "more than 30 levels deep"),
    ],
)  # fmt: skip
def test_what_is_no_expression_or_too_much_of_one_is_refused_before_it_runs(text: str, why: str) -> None:
    with pytest.raises(ExpressionFault, match=why):
        compiled(text)


def test_a_loop_that_only_stands_in_a_text_is_none() -> None:
    assert compiled("'.map(a, .map(b, .map(c,' == x").evaluate({"x": ""}) is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("image.usr == ''", r"nothing is called 'usr'; where it may be missing, ask has\(…\) first"),
        ("nope == 1", "nope"),
        ("image.foo()", "foo"),
        ("image.user < 1", "No such overload"),
        ("1 / size(image.list)", "division by zero"),
    ],
)
def test_what_cannot_be_evaluated_says_why(text: str, why: str) -> None:
    with pytest.raises(ExpressionFault, match=why):
        compiled(text).evaluate({"image": {"user": "x", "list": []}})


def test_the_variables_of_an_expression_are_those_that_no_loop_binds() -> None:
    assert compiled("release.distributions.exists(name, name == tier)").variables == {"release", "tier"}
