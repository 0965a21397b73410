"""Dockerfile text to instructions, and the words of its errors."""

from __future__ import annotations

import pytest

from inception.build.parse import parse_dockerfile
from inception.build.source import DockerfileError


def parse(text: str):
    return parse_dockerfile(text.encode()).instructions


def one(line: str):
    return parse(f"FROM a\n{line}\n")[1]


def fails(text: str | bytes) -> str:
    with pytest.raises(DockerfileError) as caught:
        parse_dockerfile(text if isinstance(text, bytes) else text.encode(), "Dockerfile")
    return str(caught.value)


def test_continuation_lines_join_and_comments_and_blank_lines_inside_are_skipped():
    run = one("RUN echo a \\\n# comment\n\n   # another\n  b \\\n  c")
    assert run.arguments == ["echo a   b   c"]
    assert (run.first_line, run.last_line) == (2, 7)


def test_instructions_with_empty_lines_in_them_are_noted():
    assert parse_dockerfile(b"FROM a\nRUN x \\\n\n y\nRUN x \\\n y\n").empty_continuations == [(2, 4)]


def test_the_check_directive_says_which_rules_count():
    checks = parse_dockerfile(b"# check = skip=One, Two; error=true;experimental=all // why\nFROM a").checks
    assert (checks.skipped, checks.experimental, checks.error) == ({"one", "two"}, {"all"}, True)
    assert fails("# check=nope\nFROM a").startswith("Dockerfile:1: invalid check directive 'nope'")


def test_directives_may_follow_a_line_that_makes_the_file_a_program():
    file = parse_dockerfile(b"#!/usr/bin/env builder\n# EScape=`\nFROM a\nRUN x `\n y\n")
    assert file.instructions[1].arguments == ["x  y"]


def test_any_other_comment_ends_the_directives():
    assert parse_dockerfile(b"# key = value\n# escape=`\nFROM a\n").escape == "\\"


def test_the_end_of_a_here_document_may_be_set_apart_and_look_like_a_variable():
    for words, end in (
        ("<< END", "END"),
        ("<<- END", "END"),
        ("<< -END", "-END"),
        ("<<$END", "$END"),
        ("cat << END >x", "END"),
    ):
        assert [doc.name for doc in one(f"RUN {words}\nbody\n{end}").heredocs] == [end]
    assert one("RUN echo $((1 << 4))").heredocs == []


def test_a_doubled_escape_character_does_not_continue_the_line():
    assert [i.arguments for i in parse("FROM a\nCOPY testfile.txt c:\\\\\nRUN dir")] == [
        ["a"],
        ["testfile.txt", "c:\\\\"],
        ["dir"],
    ]


def test_the_last_line_may_end_with_a_continuation():
    assert one("RUN a \\").arguments == ["a"]


def test_white_space_inside_arguments_stays():
    assert one('RUN echo "\\\n     hello\\\n     world"').arguments == ['echo "     hello     world"']


def test_the_escape_directive_changes_the_escape_character():
    file = parse_dockerfile(b"# escape=`\nFROM a\nRUN a `\n  b\\\nRUN c")
    assert [i.arguments for i in file.instructions] == [["a"], ["a   b\\"], ["c"]]


def test_directives_are_read_case_blind_and_only_at_the_top():
    file = parse_dockerfile(b"#\t sYnTaX = docker/dockerfile:1 \n# Escape=`\n\nFROM a\n# escape=\\\nRUN x")
    assert (file.syntax, file.escape) == ("docker/dockerfile:1", "`")
    assert parse_dockerfile(b"# unknown=1\n# escape=`\nFROM a").escape == "\\"


def test_a_directive_twice_or_a_bad_escape_is_refused():
    assert fails("# escape=`\n# escape=`\nFROM a") == "Dockerfile:2: only one escape parser directive can be used"
    assert fails("# escape=x\nFROM a") == "Dockerfile:1: invalid escape token 'x' does not match ` or \\"


def test_byte_order_mark_and_windows_line_ends_are_understood():
    found = parse_dockerfile(b"\xef\xbb\xbfFROM a\r\nRUN b \\\r\n c\r\n").instructions
    assert [i.arguments for i in found] == [["a"], ["b  c"]]


def test_instructions_are_case_blind():
    assert [i.name for i in parse("from a\nrUn b")] == ["FROM", "RUN"]


@pytest.mark.parametrize(
    ("line", "arguments", "json"),
    [
        ('RUN ["a", "b c"]', ["a", "b c"], True),
        ("RUN ['a']", ["['a']"], False),
        ('RUN ["a"] x', ['["a"] x'], False),
        ("CMD a  b", ["a  b"], False),
        ("CMD []", [], True),
        ("CMD", [], False),
        ('COPY ["a b", "c"]', ["a b", "c"], True),
        ("COPY a\tb  c", ["a", "b", "c"], False),
        ("VOLUME /a /b", ["/a", "/b"], False),
        ('ENTRYPOINT ["\\u0041"]', ["A"], True),
        ("EXPOSE 80 443/udp", ["80", "443/udp"], False),
        ("USER  a b ", ["a b"], False),
        ("HEALTHCHECK NONE", ["NONE"], False),
        ("HEALTHCHECK cmd curl x", ["CMD", "curl x"], False),
        ('HEALTHCHECK CMD ["a"]', ["CMD", "a"], True),
    ],
)
def test_shell_and_exec_form(line: str, arguments: list[str], json: bool):
    found = one(line)
    assert (found.arguments, found.json) == (arguments, json)


@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        ('ENV A="x y" B=c\\ d C=', [("A", '"x y"'), ("B", "c\\ d"), ("C", "")]),
        ("ENV ONE TWO= THREE=world", [("ONE", "TWO= THREE=world")]),
        ('LABEL "com.example"="a b"', [('"com.example"', '"a b"')]),
        ("ARG a b=c d='e f'", [("a", None), ("b", "c"), ("d", "'e f'")]),
    ],
)
def test_pairs(line: str, pairs: list[tuple[str, str | None]]):
    assert one(line).pairs == pairs


def test_flags_come_before_the_arguments_and_may_be_quoted():
    found = one('COPY --chown="a:b" --from=x --exclude=*.md --exclude=y --link a b')
    assert found.flags == {"chown": ["a:b"], "from": ["x"], "exclude": ["*.md", "y"], "link": ["true"]}
    assert found.arguments == ["a", "b"]


def test_two_dashes_end_the_flags():
    assert one("COPY -- --a b").arguments == ["--a", "b"]
    assert one("CMD -- --ignored").arguments == ["--ignored"]


def test_heredocs_of_every_form():
    found = one("RUN <<ONE cat > x && 3<<-'T W' cat\n$a\n\tONE\nONE\n\tb\n\tT W")
    assert [(h.name, h.content, h.expand, h.chomp) for h in found.heredocs] == [
        ("ONE", "$a\n\tONE\n", True, False),
        ("T W", "\tb\n", False, True),
    ]
    assert found.heredocs[1].text == "b\n"
    assert (found.first_line, found.last_line) == (2, 7)


def test_lines_of_a_heredoc_are_neither_comments_nor_continued():
    found = one("COPY <<EOF /x\n# not a comment\na \\\n\nEOF")
    assert found.heredocs[0].content == "# not a comment\na \\\n\n"


@pytest.mark.parametrize(
    "line", ["RUN cat <<<EOF", "RUN echo $((1<<3))", "RUN echo 1 << 3", 'RUN echo "<<EOF"', "CMD cat <<EOF"]
)
def test_what_only_looks_like_a_heredoc(line: str):
    assert one(line).heredocs == []


def test_onbuild_keeps_its_trigger_with_heredocs():
    found = one("ONBUILD COPY <<EOF /x\nhello\nEOF")
    assert found.trigger is not None and found.trigger.name == "COPY"
    assert found.arguments == ["COPY <<EOF /x\nhello\nEOF"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a\n\nRUNN x", "Dockerfile:3: unknown instruction: RUNN (did you mean RUN?)"),
        ("FROM a\nxyzzy x", "Dockerfile:2: unknown instruction: xyzzy"),
        ("", "Dockerfile:1: the Dockerfile cannot be empty"),
        ("# only\n", "Dockerfile:1: the Dockerfile cannot be empty"),
        ("FROM a\nRUN", "Dockerfile:2: RUN: RUN requires at least one argument"),
        ("FROM a\nCOPY a", "Dockerfile:2: COPY: COPY requires at least two arguments"),
        ("FROM a b", "Dockerfile:1: FROM: FROM requires either one or three arguments: FROM <image> [AS <name>]"),
        (
            "FROM a AS 1b",
            'Dockerfile:1: FROM: invalid name for build stage: "1b", name can\'t start with a number or contain symbols',
        ),
        ("FROM a\nENV a", "Dockerfile:2: ENV: ENV must have two arguments"),
        (
            "FROM a\nENV a=b c",
            'Dockerfile:2: ENV: Syntax error - can\'t find = in "c". Must be of the form: name=value',
        ),
        ("FROM a\nENV =b", "Dockerfile:2: ENV: ENV names can not be blank"),
        ("FROM a\nRUN [1]", "Dockerfile:2: RUN: when using JSON array syntax, arrays must be comprised of strings only"),
        ("FROM a\nSHELL sh", "Dockerfile:2: SHELL: SHELL requires the arguments to be in JSON form"),
        ("FROM a\nRUN <<EOF\nx", "Dockerfile:2: RUN: unterminated heredoc 'EOF'"),
        ("FROM a\nCOPY --chmud=1 a b", "Dockerfile:2: COPY: unknown flag: --chmud (did you mean chmod?)"),
        ("FROM a\nADD --from=x a b", "Dockerfile:2: ADD: unknown flag: --from"),
        ("FROM a\nCOPY --chown=1 --chown=2 a b", "Dockerfile:2: COPY: duplicate flag specified: --chown"),
        ("FROM a\nCOPY --link=2 a b", "Dockerfile:2: COPY: expecting boolean value for flag --link, not: 2"),
        ("FROM a\nHEALTHCHECK RUN x", 'Dockerfile:2: HEALTHCHECK: Unknown type "RUN" in HEALTHCHECK (try CMD)'),
        ("FROM a\nHEALTHCHECK CMD", "Dockerfile:2: HEALTHCHECK: Missing command after HEALTHCHECK CMD"),
        ("FROM a\nONBUILD FROM b", "Dockerfile:2: ONBUILD: FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD ONBUILD RUN b", "Dockerfile:2: ONBUILD: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM a\nONBUILD FOO b", "Dockerfile:2: unknown instruction: FOO"),
        (b"FROM a\nRUN \xff", "Dockerfile:2: not UTF-8: invalid start byte at byte 4"),
        (b"FROM a\nRUN \0", "Dockerfile:2: a NUL byte: this is not a text file"),
        ("FROM " + "a" * 70000, "Dockerfile:1: line greater than maximum allowed size of 65535"),
    ],
)
def test_errors_name_file_line_and_instruction(text: str | bytes, message: str):
    assert fails(text) == message


def test_an_error_shows_the_lines_around_it():
    with pytest.raises(DockerfileError) as caught:
        parse_dockerfile(b"FROM a\nRUN b\nRUNN c\nRUN d\n", "app/Dockerfile")
    assert caught.value.excerpt().splitlines() == [
        "app/Dockerfile:3",
        "--------------------",
        "   1 |     FROM a",
        "   2 |     RUN b",
        "   3 | >>> RUNN c",
        "   4 |     RUN d",
        "--------------------",
    ]
