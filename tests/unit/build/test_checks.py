"""The build checks: rule, line and words."""

from __future__ import annotations

import pytest

from inception.build.checks import check_file, warnings_before
from inception.build.parse import parse_dockerfile
from inception.build.source import DockerfileError


def found(text: str) -> list[str]:
    return [f"{each.line} {each.rule}: {each.message}" for each in check_file(parse_dockerfile(text.encode()))]


def test_a_proper_file_has_no_warnings():
    text = 'ARG V=1\nFROM base:$V AS build\nARG X\nWORKDIR /a\nWORKDIR b\nRUN make $Y\nFROM build\nEXPOSE 80/tcp\nCMD ["x"]\n'
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("FROM a AS Build", "1 StageNameCasing: Stage name 'Build' should be lowercase"),
        ("FROM a as b", "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"),
        (
            "FROM a\nRUN x\nrun y",
            "3 ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
        ),
        ("FROM a AS b\nFROM a AS b", '2 DuplicateStageName: Duplicate stage name "b", stage names should be unique'),
        (
            "FROM a AS scratch",
            '1 ReservedStageName: Stage name should not use the same name as reserved stage "scratch"',
        ),
        (
            "FROM a\nCMD x",
            "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ),
        ("FROM a\nMAINTAINER x", "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"),
        ("FROM a\nRUN x \\\n\n  y", "4 NoEmptyContinuation: Empty continuation line"),
        ("FROM a:$V", "1 UndefinedArgInFrom: FROM argument 'V' is not declared"),
        (
            "ARG MY_ARCH\nFROM --platform=linux/$MYARCH a",
            "2 UndefinedArgInFrom: FROM argument 'MYARCH' is not declared (did you mean MY_ARCH?)",
        ),
        (
            "frOM a as b\nfrom a as c",
            "1 ConsistentInstructionCasing: Command 'frOM' should match the case of the command majority (lowercase)",
        ),
        (
            "FROM a\nWORKDIR b",
            '2 WorkdirRelativePath: Relative workdir "b" can have unexpected results if the base image changes',
        ),
        ("FROM scratch\nCOPY $x /", "2 UndefinedVar: Usage of undefined variable '$x'"),
        (
            "FROM scratch AS a\nARG USERNAME\nFROM a\nCOPY $USERNAM /",
            "4 UndefinedVar: Usage of undefined variable '$USERNAM' (did you mean $USERNAME?)",
        ),
        (
            "ARG TAG\nFROM a:$TAG",
            "2 InvalidDefaultArgInFrom: Default value for ARG a:$TAG results in empty or invalid base image name",
        ),
        (
            "# check=experimental=all\nFROM scratch\n# what it is\nARG A",
            "4 InvalidDefinitionDescription: Comment for ARG should follow the format: `# A <description>`",
        ),
        (
            'FROM a\nCMD ["x"]\nCMD ["y"]',
            "2 MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage "
            "because only the last one will be used",
        ),
        (
            "FROM a\nENV x y",
            '2 LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format',
        ),
        (
            "FROM --platform=$TARGETPLATFORM a",
            "1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant "
            "as this is the default behavior",
        ),
        (
            "FROM --platform=linux/amd64 a",
            '1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64"',
        ),
        (
            "FROM a\nARG API_TOKEN",
            '2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "API_TOKEN")',
        ),
        ("FROM a\nEXPOSE 80/TCP", "2 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase"),
        (
            "FROM a\nEXPOSE 127.0.0.1:80:80",
            "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, "
            "found '127.0.0.1:80:80'",
        ),
    ],
)
def test_every_rule_has_dockers_words(text: str, warning: str):
    assert found(text) == [warning]


def test_rules_can_be_skipped():
    assert found("# check=skip=JSONArgsRecommended\nFROM a\nCMD x\nMAINTAINER y\n") == [
        "4 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"
    ]
    assert found("# check=skip=all\nFROM a\nCMD x\n") == []


def test_a_rule_to_try_counts_whatever_is_skipped():
    text = "FROM a\n# words\nARG A\nCMD x\n"
    assert len(found(f"# check=skip=all;experimental=InvalidDefinitionDescription\n{text}")) == 1


def test_stages_hand_on_what_was_set_in_the_file():
    assert found('FROM a AS one\nSHELL ["/bin/bash", "-c"]\nCMD x\nFROM one\nENTRYPOINT y\n') == []
    assert found("FROM a AS one\nWORKDIR /app\nFROM one\nWORKDIR part\n") == []
    assert len(found("FROM a\nWORKDIR one\nWORKDIR two\n")) == 1


def test_a_stage_called_after_its_platform_may_have_a_constant_one():
    assert found("FROM --platform=linux/amd64 a AS build_amd64\n") == []


def test_a_warning_shows_its_lines_and_where_to_read_on():
    warning = check_file(parse_dockerfile(b"FROM a\nCMD x\n"))[0]
    first = "WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/\n"
    assert str(warning).startswith(first)
    assert "   2 | >>> CMD x" in str(warning)


def test_a_default_that_makes_a_name_and_a_description_that_describes_are_fine():
    assert found("ARG TAG=1\nFROM a:$TAG") == []
    assert (
        found("# check=experimental=InvalidDefinitionDescription\n\n# one the first\nFROM scratch AS one\n# A so\nARG A") == []
    )
    assert found("FROM scratch\n# free words\nARG A") == []


def test_what_was_read_before_an_error_is_still_checked():
    text = b"FROM scratch AS Bad\nMAINTAINER me\nBADCMD\n"
    with pytest.raises(DockerfileError, match="unknown instruction: BADCMD") as caught:
        parse_dockerfile(text)
    assert [each.rule for each in warnings_before(caught.value)] == ["StageNameCasing", "MaintainerDeprecated"]


def test_each_rule_has_a_description():
    import inspect
    import re

    from inception.build import checks, rules

    named = set(re.findall(r'\b(?:warn\(\s*|rule=)"(\w+)"', inspect.getsource(rules) + inspect.getsource(checks)))
    assert named == set(rules.DESCRIPTIONS)


def test_what_is_about_a_stage_says_which():
    text = b"FROM scratch as a\nENV k v\nFROM scratch AS b\nCMD x\n"
    assert [(each.rule, each.stage) for each in check_file(parse_dockerfile(text))] == [
        ("FromAsCasing", -1),
        ("LegacyKeyValueFormat", 0),
        ("JSONArgsRecommended", 1),
    ]
