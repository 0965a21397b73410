"""What a Dockerfile offers: its targets, and what one of them takes."""

from __future__ import annotations

import pytest

from inception.build import BuildConfig
from inception.build.outline import outline_of, outline_table, targets_of, targets_table
from inception.build.parse import parse_dockerfile
from inception.errors import InvalidArgument

ARGUMENTS = """\
ARG below=box
ARG unrelated=box2
ARG other=abc${unrelated}
# sfx is what comes after
ARG sfx="usy${below}"
FROM b${sfx} AS first
# this is about nothing
ARG FOO=123
# BAR is a number
ARG BAR=456
FROM alpine${other} AS second
ARG BAZ
FROM scratch AS third
ARG ABC=a

# target is what is wanted
FROM third AS target
COPY --from=first /etc/passwd /
FROM second
"""
SECRETS = """\
FROM busybox AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true
FROM alpine AS second
RUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true
FROM scratch AS third
ARG BAR
RUN --mount=type=secret,id=second${BAR} true
FROM third AS target
COPY --from=first /foo /
RUN --mount=type=ssh,id=ssh3,required true
FROM second
"""


def arguments(text: str, **config: object) -> list[tuple[str, str, str, int]]:
    found = outline_of(parse_dockerfile(text.encode()), BuildConfig(**config))
    return [(each.name, each.value, each.description, each.line) for each in found.arguments]


def test_an_outline_has_the_arguments_that_the_target_rests_on():
    assert arguments(ARGUMENTS, target="target", build_args={"BAR": "678"}) == [
        ("below", "box", "", 1),
        ("sfx", "usybox", "is what comes after", 5),
        ("FOO", "123", "", 8),
        ("BAR", "678", "is a number", 10),
        ("ABC", "a", "", 14),
    ]


def test_an_argument_that_rests_on_itself_has_its_last_value():
    before = "ARG F=1\nARG A=a\nARG D=d\nARG F=$F$A\nARG B=${F}4\nARG F=${F}4$B\n"
    text = f"{before}FROM scratch\nARG F\nARG I=1\nARG J=${{I}}4\nARG I=$I$J\n"
    assert [each[:2] for each in arguments(text)] == [("A", "a"), ("B", "1a4"), ("F", "1a41a4"), ("J", "14"), ("I", "114")]


def test_an_outline_has_the_secrets_and_agents_of_all_steps_below():
    found = outline_of(parse_dockerfile(SECRETS.encode()), BuildConfig(target="target", build_args={"BAR": "678"}))
    assert [(each.name, each.required, each.line) for each in found.secrets] == [("passwd", True, 2), ("second678", False, 7)]
    assert [(each.name, each.required, each.line) for each in found.agents] == [("default", False, 2), ("ssh3", True, 10)]


def test_tables_are_those_of_buildx():
    file = parse_dockerfile(ARGUMENTS.encode())
    assert targets_table(targets_of(file)).splitlines() == [
        "TARGET                DESCRIPTION",
        "first",
        "second",
        "third",
        "target                is what is wanted",
        "(unnamed) (default)",
    ]
    lines = outline_table(outline_of(file, BuildConfig(target="target"))).splitlines()
    assert lines[:4] == ["TARGET:      target", "DESCRIPTION: is what is wanted", "", "BUILD ARG   VALUE    DESCRIPTION"]
    assert lines[5] == "sfx         usybox   is what comes after"


def test_a_target_that_is_not_there_is_an_error():
    with pytest.raises(InvalidArgument, match='target stage "x" could not be found'):
        outline_of(parse_dockerfile(b"FROM scratch AS a\n"), BuildConfig(target="x"))
