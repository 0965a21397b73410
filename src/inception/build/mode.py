"""`--chmod`: octal (`755`) or symbolic (`u=rwX,go=rX`, `+x`, `g=u`), as chmod(1) reads it with a umask of 0."""

from __future__ import annotations

import re
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OCTAL = re.compile(r"[0-7]{1,4}")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


def parse_mode(text: str) -> Callable[[int], int]:
    """A function from an st_mode to the new permission bits. Raises ValueError."""
    if _OCTAL.fullmatch(text):
        return lambda _mode: int(text, 8)
    clauses = [_CLAUSE.fullmatch(part) for part in text.split(",")]
    if not all(clauses):
        raise ValueError(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
    steps = [
        (match[1].replace("a", "ugo") or "ugo", *action) for match in clauses if match for action in _ACTION.findall(match[2])
    ]

    def change(mode: int) -> int:
        for who, operator, what in steps:
            mode = _apply(mode, who, operator, what)
        return stat.S_IMODE(mode)

    return change


def _apply(mode: int, who: str, operator: str, what: str) -> int:
    wanted = cleared = 0
    for target in who:
        shift = _SHIFTS[target]
        wanted |= _bits(mode, what) << shift
        cleared |= 7 << shift
    if "s" in what:
        wanted |= (stat.S_ISUID if "u" in who else 0) | (stat.S_ISGID if "g" in who else 0)
    if "t" in what:
        wanted |= stat.S_ISVTX
    if operator == "+":
        return mode | wanted
    if operator == "-":
        return mode & ~wanted
    return mode & ~cleared | wanted


def _bits(mode: int, what: str) -> int:
    if what in _SHIFTS:
        return mode >> _SHIFTS[what] & 7
    bits = 0
    for letter in what:
        bits |= _BITS.get(letter, 0)
    # X: executable only where it makes sense, on folders and on what someone may execute already.
    if "X" in what and (stat.S_ISDIR(mode) or mode & 0o111):
        bits |= 1
    return bits
