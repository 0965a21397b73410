from __future__ import annotations

import pytest

from inception.cli import values


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1024", 1024), ("1k", 1024), ("1K", 1024), ("1kb", 1024), ("1KiB", 1024), ("1.5k", 1536), ("64 m", 64 << 20),
     ("2g", 2 << 30), ("1t", 1 << 40), ("10b", 10), ("-1", -1)],
)  # fmt: skip
def test_sizes_are_powers_of_1024(text, size):
    assert values.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "k", "1x", "1.k.", "-2", "1,5m", "½", "1e3", " 1", "٣"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="invalid size"):
        values.parse_bytes(text)


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("-7", -7), ("0x10", 16), ("010", 8), ("+3", 3)])
def test_integers_have_gos_prefixes(text, number):
    assert values.parse_int(text) == number


@pytest.mark.parametrize("text", ["", "1_0", " 1", "1.5", "9" * 30, "0x", "08"])
def test_what_is_no_integer_is_refused(text):
    with pytest.raises(ValueError, match=r"strconv\.ParseInt"):
        values.parse_int(text)


def test_env_files_are_read_without_quotes_and_take_bare_names_from_here(tmp_path):
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbf# comment\n\n  A=1 # not a comment\nB='x'\r\nHERE\nMISSING\nC=\n")
    found = values.parse_key_value_file(str(file), "env", inherit={"HERE": "yes"})
    assert found == ["A=1 # not a comment", "B='x'", "HERE=yes", "C="]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"=x", "no variable name on line '=x'"),
        (b"A B=x", "variable 'A B' contains whitespaces"),
        (b"A=\xff", "invalid utf8 bytes at line 1"),
    ],
)
def test_bad_lines_of_an_env_file_are_named(tmp_path, data, message):
    file = tmp_path / "env"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        values.parse_key_value_file(str(file), "env", inherit={})
