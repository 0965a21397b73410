"""YAML as go-yaml reads it, and what hostile files get."""

from __future__ import annotations

import pytest

from inception.compose.yaml import MAX_BYTES, Map, check_keys, go_string, parse, resolve
from inception.errors import InvalidArgument


def read(text: str) -> object:
    (document,) = parse(text.encode(), "f.yaml")
    return document


def refused(text: str | bytes) -> str:
    with pytest.raises(InvalidArgument) as caught:
        for document in parse(text.encode() if isinstance(text, str) else text, "f.yaml"):
            check_keys(document)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("010", 8),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("08", 8.0),
        ("22:22", "22:22"),
        ("1e3", 1000.0),
        ("~", None),
        ("", None),
        ("2026-11-23", "2026-11-23"),
        ("+5", 5),
        ("-", "-"),
        (".", "."),
        ("1" * 401, "1" * 401),
        ("12345678901234567890", 12345678901234567890),
    ],
)
def test_plain_scalars_resolve_as_in_go_yaml(text: str, value: object) -> None:
    found = resolve(text)
    assert (type(found), found) == (type(value), value)


def test_numbers_become_text_as_in_go() -> None:
    values = (1.0, 1.10, 1e3, 1e21, 1e-7, 0.5, float("inf"), True, -0.0)
    assert [go_string(value) for value in values] == ["1", "1.1", "1000", "1e+21", "1e-07", "0.5", "+Inf", "true", "0"]


def test_quoted_scalars_stay_strings() -> None:
    assert read("a: '1'\nb: \"true\"\nc: |\n  010\n") == {"a": "1", "b": "true", "c": "010\n"}


def test_merge_keys_yield_to_what_is_written_and_to_earlier_merges() -> None:
    assert read("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 3\n")["z"] == {"a": 3, "b": 1, "c": 2}  # type: ignore[index]


def test_every_entry_knows_its_place() -> None:
    tree = read("a:\n  b: 1\n  c: [x,\n    y]\n")
    assert isinstance(tree, Map)
    inner = tree["a"]
    assert str(inner.place_of("c")) == "f.yaml:3"
    assert [str(place) for _, place in inner["c"].items()] == ["f.yaml:3", "f.yaml:4"]


def test_a_file_may_have_several_documents_and_an_anchor_lasts_to_its_end() -> None:
    assert parse(b"a: &x {b: 1}\n---\nc: *x\n...\n---\n", "f.yaml") == [{"a": {"b": 1}}, {"c": {"b": 1}}, None]
    assert parse(b"# nothing\n", "f.yaml") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 'failed to parse f.yaml: line 3: mapping key "a" already defined at line 1'),
        ("a: *nope\n", "failed to parse f.yaml: line 1: unknown anchor 'nope' referenced"),
        ("a: &a [*a]\n", "failed to parse f.yaml: line 1: anchor 'a' value contains itself"),
        ("a: &a\n  b: {c: *a}\n", "failed to parse f.yaml: line 2: anchor 'a' value contains itself"),
        ("a: [1\n", "failed to parse f.yaml: yaml: line 2: did not find expected ',' or ']'"),
        ("a: 1\n---\nb: 1\nb: 2\n", 'failed to parse f.yaml: line 4: mapping key "b" already defined at line 3'),
        (
            "a: !!python/object:os.system x\n",
            "failed to parse f.yaml: line 1: cannot decode 'x' as a !!python/object:os.system",
        ),
        ("a: !nope {b: 1}\n", "failed to parse f.yaml: line 1: unknown tag !nope"),
        ("a: {<<: 1}\n", "failed to parse f.yaml: line 1: map merge requires map or sequence of maps as the value"),
        ("80: 1\n", "f.yaml:1: non-string key at top level: 80"),
        ("a:\n  b:\n  - {true: 1}\n", "f.yaml:3: non-string key in a.b[0]: true"),
        ("? [a]\n: 1\n", "f.yaml:1: non-string key at top level: [...]"),
    ],
)
def test_what_is_no_compose_yaml_is_refused_with_its_line(text: str, message: str) -> None:
    assert refused(text) == message


def test_a_billion_laughs_are_counted_before_they_are_expanded() -> None:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 10)]
    assert refused("\n".join(lines)) == "failed to parse f.yaml: line 6: document contains excessive aliasing"


def test_merges_count_towards_the_bound_too() -> None:
    base = "base: &b {" + ", ".join(f"k{i}: 1" for i in range(1000)) + "}\n"
    assert "excessive aliasing" in refused(base + "".join(f"m{i}: {{<<: *b}}\n" for i in range(1100)))


def test_deep_nesting_is_refused_without_using_up_the_stack() -> None:
    assert refused("[" * 50_000) == "failed to parse f.yaml: line 1: nested deeper than 100 levels"
    assert refused("a: " + "{b: " * 200 + "1" + "}" * 200) == "failed to parse f.yaml: line 1: nested deeper than 100 levels"


def test_a_file_above_the_size_limit_is_refused_unread() -> None:
    assert (
        refused(b"a: " + b"x" * MAX_BYTES)
        == f"failed to parse f.yaml: {MAX_BYTES + 3} bytes are more than the limit of {MAX_BYTES}"
    )


@pytest.mark.parametrize(
    "data", [b"\x00", b"a: \xff\xfe", b"\xff\xfe\x00", b"a: \x1b[0m", b"%YAML 9.9\n---\na: 1\n", b"\xef\xbb\xbf- \x00"]
)
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    assert refused(data).startswith("failed to parse f.yaml: ")
