"""`.dockerignore` patterns, judged on single paths."""

from __future__ import annotations

import pytest

from inception.build.ignore import clean, parse_ignore
from inception.errors import InvalidArgument


@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        ("*/temp*", ["a/temp", "a/temporary.txt", "a/temp/x"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temporary"], ["a/temp"]),
        ("temp?", ["tempa", "tempb/x"], ["temp", "temp12"]),
        ("**/*.go", ["a.go", "x/a.go", "x/y/a.go"], ["a.gox"]),
        ("foo", ["foo", "foo/bar"], ["x/foo", "foobar"]),
        ("/foo/", ["foo", "foo/bar"], ["x/foo"]),
        ("**/foo", ["foo", "a/foo", "a/b/foo/c"], ["a/foob"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("*.md\n!README.md", ["a.md"], ["README.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README-x.md"]),
        ("*\n!src\nsrc/private", ["a", "src/private/x"], ["src", "src/a"]),
        ("# comment\n\n  a  \n", ["a"], ["# comment"]),
        ("\xef\xbb\xbfa".encode("latin-1").decode("utf-8-sig"), ["a"], []),
        ("[a-c]x", ["ax", "bx"], ["dx", "x"]),
        ("[^a]x", ["bx"], ["ax", "/x"]),
        ("a\\*", ["a*"], ["ab"]),
        ("./a/../b", ["b"], ["a"]),
        ("a+(b).c", ["a+(b).c"], ["aab.c"]),
        (".\n/", [], ["anything"]),
    ],
)
def test_patterns(patterns: str, ignored: list[str], kept: list[str]):
    rules = parse_ignore(patterns.encode())
    assert [path for path in ignored if not rules.ignored(path)] == []
    assert [path for path in kept if rules.ignored(path)] == []


def test_an_ignored_folder_is_entered_only_for_what_a_later_line_may_bring_back():
    rules = parse_ignore(b"*\n!src/app/*.py\n!docs")
    assert rules.may_include_below("src")
    assert rules.may_include_below("src/app")
    assert rules.may_include_below("docs/x")
    assert not rules.may_include_below("node_modules")
    assert not parse_ignore(b"*").may_include_below("src")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\n!\n", '.dockerignore:2: illegal exclusion pattern: "!"'), ("a[", ".dockerignore:1: syntax error in pattern: 'a['")],
)
def test_errors_name_the_line(text: str, message: str):
    with pytest.raises(InvalidArgument) as caught:
        parse_ignore(text.encode())
    assert str(caught.value) == message


@pytest.mark.parametrize(("path", "cleaned"), [("/../a", "a"), ("a/..", "."), ("a//b/.", "a/b"), ("", ""), ("/", ".")])
def test_a_path_can_not_leave_the_context(path: str, cleaned: str):
    assert clean(path) == cleaned
