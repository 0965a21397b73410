from __future__ import annotations

import pytest

from inception.compose.dotenv import load_raw, parse_dotenv
from inception.errors import InvalidArgument


def read(text: str, outside: dict[str, str] | None = None) -> dict[str, str]:
    return parse_dotenv(text, outside or {}, ".env")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("A = 1 ", "1"),
        ("A=1 # comment", "1"),
        ("A=1#x", "1#x"),
        ("A=#x", "#x"),
        ("A=", ""),
        ("A: yaml", "yaml"),
        ("export A=1", "1"),
        ("A='lit $B \\n'", "lit $B \\n"),
        ("A='it\\'s'", "it's"),
        ('A="x\\ty"', "x\ty"),
        ('A="a\\$B"', "a$B"),
        ('A="q\\"q"', 'q"q'),
        ('A="multi\nline"', "multi\nline"),
        ("A='1' # comment", "1"),
        ("A=${B:-d}", "d"),
        ("A.b-c=1", "1"),
        ('A="\\0101"', "A"),
        ("A=a=b", "a=b"),
    ],
)
def test_values(line: str, value: str) -> None:
    assert list(read(line).values()) == [value]


def test_later_lines_see_earlier_ones_and_the_outside_wins() -> None:
    assert read("A=1\nB=$A\nC=$HOME\nHOME=x\n", {"HOME": "/root", "A": "out"}) == {
        "A": "1",
        "B": "out",
        "C": "/root",
        "HOME": "x",
    }


def test_a_bare_name_takes_its_value_from_outside_or_is_left_out() -> None:
    assert read("A\nB\n", {"A": "1"}) == {"A": "1"}


def test_comments_blank_lines_and_windows_line_ends_are_skipped() -> None:
    assert parse_dotenv("# c\n\n  # d\nA=1\n", {}, "f") == {"A": "1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nB%=2\n", 'failed to read .env: line 2: unexpected character "%" in variable name "B%=2"'),
        ("A=1\nB='x\ny", "failed to read .env: line 2: unterminated quoted value 'x"),
        ("A=${B", "failed to read .env: line 1: invalid template: ${B"),
        ("A=${B:?no}", "failed to read .env: line 1: required variable B is missing a value: no"),
        ("two words\n", 'failed to read .env: line 1: key cannot contain a space: "two words"'),
    ],
)
def test_errors_name_file_and_line(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(text)
    assert str(caught.value) == message


def test_raw_files_have_no_quotes_and_no_expansion(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "e").write_text("A='$B' # x\n#c\nHOME\nNOPE\n")
    assert load_raw(str(tmp_path / "e"), {"HOME": "h"}) == {"A": "'$B' # x", "HOME": "h"}
