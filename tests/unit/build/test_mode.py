"""`--chmod` in its two notations."""

from __future__ import annotations

import stat

import pytest

from inception.build.mode import parse_mode

FILE, FOLDER = stat.S_IFREG, stat.S_IFDIR


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("755", FILE | 0o600, 0o755),
        ("4711", FILE | 0o600, 0o4711),
        ("+x", FILE | 0o644, 0o755),
        ("a-w", FILE | 0o666, 0o444),
        ("u=rwX,go=rX", FILE | 0o600, 0o644),
        ("u=rwX,go=rX", FILE | 0o700, 0o755),
        ("u=rwX,go=rX", FOLDER | 0o700, 0o755),
        ("g=u", FILE | 0o640, 0o660),
        ("o=", FILE | 0o777, 0o770),
        ("u+s,g+s,+t", FILE | 0o755, 0o7755),
        ("go-rwx", FILE | 0o755, 0o700),
        ("u=r+x-r", FILE | 0o600, 0o100),
    ],
)
def test_modes(text: str, before: int, after: int):
    assert oct(parse_mode(text)(before)) == oct(after)


@pytest.mark.parametrize("text", ["8", "77777", "x", "u", "u=rw,", "u=q", "0x1", "+x x"])
def test_what_is_no_mode(text: str):
    with pytest.raises(ValueError, match="invalid chmod parameter"):
        parse_mode(text)
