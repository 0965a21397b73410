"""Variables, quotes and escapes."""

from __future__ import annotations

import pytest

from inception.build.expand import ExpansionError, expand, expand_heredoc, expand_words, split_raw

ENV = {"a": "foobarbaz", "empty": "", "path": "/usr/local/bin", "list": "80 443", "q": "it's"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$a", "foobarbaz"),
        ("${a}_x", "foobarbaz_x"),
        ("$a_x", ""),
        ("$unset-", "-"),
        ("\\$a", "$a"),
        ("\\${a}", "${a}"),
        ("'$a'", "$a"),
        ('"$a"', "foobarbaz"),
        ('"\\$a \\" \\\\ \\n"', '$a " \\ \\n'),
        ("a\\ b", "a b"),
        ("end\\", "end"),
        ("$", "$"),
        ("$ x", "$ x"),
        ("100$", "100$"),
        ("${unset:-word}", "word"),
        ("${empty:-word}", "word"),
        ("${empty-word}", ""),
        ("${unset-word}", "word"),
        ("${a:+word}", "word"),
        ("${empty:+word}", ""),
        ("${empty+word}", "word"),
        ("${unset+word}", ""),
        ("${unset:-${a}}", "foobarbaz"),
        ("${unset:-'x y'}", "x y"),
        ("${a#f*b}", "arbaz"),
        ("${a##f*b}", "az"),
        ("${a%b*}", "foobar"),
        ("${a%%b*}", "foo"),
        ("${a/ba/fo}", "foofoorbaz".replace("foofoor", "foofor")),
        ("${a//ba/fo}", "fooforfoz"),
        ("${a/?/X}", "Xoobarbaz"),
        ("${path##*/}", "bin"),
        ("${path%/*}", "/usr/local"),
        ("${a//b$unset/-}", "foo-ar-az"),
        ("${unset#x}", ""),
        ("é$a", "éfoobarbaz"),
        ("$1x", "x"),
    ],
)
def test_one_word(word: str, value: str):
    assert expand(word, ENV) == value


def test_stars_and_question_marks_can_be_literal_in_patterns():
    assert expand("${x#\\*}", {"x": "*a"}) == "a"
    assert expand("${x/\\?/-}", {"x": "a?b"}) == "a-b"


def test_words_split_at_the_white_space_of_unquoted_variables_only():
    assert expand_words("$list '$list' \"$list\" a\\ b", ENV) == ["80", "443", "$list", "80 443", "a b"]


def test_splitting_keeps_quotes_and_variables():
    assert split_raw("a \"b c\" '$d e' ${x:-y} $z f\\ g") == ["a", '"b c"', "'$d e'", "${x:-y}", "$z", "f\\ g"]


def test_a_backtick_can_be_the_escape_character():
    assert expand("C:\\x`$a", ENV, "`") == "C:\\x$a"


def test_heredocs_expand_as_posix_says():
    assert expand_heredoc("'$a' \"${a}\" \\$a \\n \\\\ a\\\nb $(x)", ENV) == "'foobarbaz' \"foobarbaz\" $a \\n \\ ab $(x)"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ('"a', "unexpected end of statement while looking for matching double-quote"),
        ("${a", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${a:-b", "unexpected end of statement while looking for matching }"),
        ("${a^^}", "unsupported modifier (^) in substitution"),
        ("${unset:?not here}", "unset: not here"),
        ("${unset?}", "unset: is not allowed to be unset"),
        ("${a:-" * 60 + "}" * 60, "syntax error: substitutions nested too deeply"),
    ],
)
def test_errors(word: str, message: str):
    with pytest.raises(ExpansionError, match="^" + __import__("re").escape(message) + "$"):
        expand(word, ENV)


def test_a_value_that_doubles_again_and_again_is_stopped():
    env = {"x": "a" * 70000}
    with pytest.raises(ExpansionError, match="expanded to more than"):
        expand("$x" * 20, env)


def test_a_replacement_keeps_its_escapes_and_a_pattern_knows_only_its_own():
    assert expand(r"${path//\//\/}", {"path": "/a/b"}) == r"\/a\/b"
    with pytest.raises(ExpansionError, match=r"invalid escape '\\x' in pattern"):
        expand(r"${path#\x}", {"path": "x"})
