from __future__ import annotations

import pytest

from inception.compose.interpolate import InvalidTemplate, MissingVariable, substitute
from inception.errors import InvalidArgument

ENV = {"SET": "value", "EMPTY": "", "N": "B", "B": "b"}


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("$SET ${SET}", "value value"),
        ("$SETTER.", "."),
        ("${NO:-d} ${EMPTY:-d} ${SET:-d}", "d d value"),
        ("${NO-d} ${EMPTY-d} ${SET-d}", "d  value"),
        ("${NO:+r} ${EMPTY:+r} ${SET:+r}", "  r"),
        ("${NO+r} ${EMPTY+r} ${SET+r}", " r r"),
        ("${SET:?e} ${SET?e} ${EMPTY?e}", "value value "),
        ("${NO:-${NOPE:-${B}}}", "b"),
        ("${NO:-a${B}c}d", "abcd"),
        ("${SET:+${NO:-x}}", "x"),
        ("$$SET $${SET}", "$SET ${SET}"),
        ("${NO:-$$x}", "$x"),
        ("$ $1 a$", "$ $1 a$"),
        ("${NO:-}", ""),
        ("${NO:-a:b-c?d}", "a:b-c?d"),
        ("plain", "plain"),
    ],
)
def test_operators(template: str, result: str) -> None:
    assert substitute(template, ENV) == result


@pytest.mark.parametrize(
    "template", ["${", "${SET", "${}", "${1}", "${SET/a/b}", "${NO:-${}", "${ SET}", "${NO:-" * 60 + "}" * 60]
)
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(InvalidTemplate):
        substitute(template, ENV)


def test_values_that_grow_without_bound_are_refused() -> None:
    with pytest.raises(InvalidTemplate):
        substitute("$X" * 2000, {"X": "x" * 1000})


def test_a_required_variable_raises_its_message() -> None:
    with pytest.raises(MissingVariable, match=r"^required variable NO is missing a value: set b$"):
        substitute("${NO:?set ${B}}", ENV)


def test_only_branches_that_are_used_complain() -> None:
    unset: list[str] = []
    assert substitute("${SET:-$NOPE} ${SET:-${NO:?x}} ${NO:+$NOPE} ${NO:-$OTHER}", ENV, unset.append) == "value value  "
    assert unset == ["OTHER"]


def test_unset_variables_are_told_once_in_composes_words(loaded, warnings) -> None:  # type: ignore[no-untyped-def]
    loaded("services: {a: {image: 'x:$TAG', command: '$TAG $OTHER'}}")
    assert warnings == [
        'The "TAG" variable is not set. Defaulting to a blank string.',
        'The "OTHER" variable is not set. Defaulting to a blank string.',
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "a${}",
            ":4: invalid interpolation format for services.a.image.\nYou may need to escape any $ with another $.\na${}",
        ),
        (
            "${X:?must be set}",
            ":4: error while interpolating services.a.image: required variable X is missing a value: must be set",
        ),
    ],
)
def test_errors_name_the_field_and_the_line(loaded, value: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidArgument) as caught:
        loaded(f"services:\n  a:\n    init: true\n    image: '{value}'\n")
    assert str(caught.value).endswith(message)


def test_keys_are_not_interpolated(loaded) -> None:  # type: ignore[no-untyped-def]
    project = loaded("services: {a: {image: x, labels: {$B: $B}}}", env=ENV)
    assert project.services["a"].labels == {"$B": "b"}
