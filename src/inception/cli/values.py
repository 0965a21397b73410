"""Text from the command line becomes a value: Go's and Docker's number, size and pair formats.

Every `parse_` raises ValueError with the words that Go's library uses, because they end up in what the user reads:
`invalid argument "x" for "-m, --memory" flag: invalid size: 'x'`.
"""

from __future__ import annotations

import os

_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
_SIZE_SUFFIXES = "bkmgtp"
_NANO = 1_000_000_000


def parse_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _parse_integer(text: str, function: str, low: int, high: int) -> int:
    try:
        if "_" in text or text != text.strip():
            raise ValueError
        digits = text.lstrip("+-")
        value = int(text, 0) if digits[:2].lower() in ("0x", "0o", "0b") else int(text, 8 if digits[:1] == "0" else 10)
    except ValueError:
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax') from None
    if not low <= value <= high:
        raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
    return value


def parse_int(text: str) -> int:
    return _parse_integer(text, "ParseInt", -(1 << 63), (1 << 63) - 1)


def parse_uint(text: str) -> int:
    """Docker's only unsigned flags are 16 bits wide (`--blkio-weight`)."""
    return _parse_integer(text, "ParseUint", 0, (1 << 16) - 1)


def parse_bytes(text: str) -> int:
    """A size as `512m`, `1.5g`, `64KiB`, `1024`: powers of 1024, in bytes. `-1` stands for no limit where a verb allows it.

    >>> parse_bytes("1.5k")
    1536
    """
    if text == "-1":
        return -1
    number = text.lower()
    if number.endswith("ib"):
        number = number[:-2]
    elif number.endswith("b"):
        number = number[:-1]
    shift = 0
    if number and number[-1] in _SIZE_SUFFIXES[1:]:
        shift = 10 * _SIZE_SUFFIXES.index(number[-1])
        number = number[:-1]
    number = number.removesuffix(" ")
    whole, dot, part = number.partition(".")
    if not whole.isdecimal() or not whole.isascii() or (dot and not (part.isdecimal() and part.isascii())):
        raise ValueError(f"invalid size: '{text}'")
    return (int(whole + part) << shift) // int(10 ** len(part))


def parse_nano(text: str) -> int:
    """A decimal as billionths: `1.5` CPUs are 1 500 000 000 nano-CPUs."""
    whole, dot, part = text.removeprefix("+").partition(".")
    digits = (whole or "0") + part
    if not text or not digits.isdecimal() or not digits.isascii() or (dot and not part and not whole):
        raise ValueError("failed to parse value as a rational number")
    if len(part) > 9 and part[9:].strip("0"):
        raise ValueError("value is too precise")
    return int(whole or "0") * _NANO + int(part[:9].ljust(9, "0"))


def parse_ip(text: str) -> str:
    import socket  # only for the few who give an address

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, text))
        except OSError:
            continue
    raise ValueError(f'failed to parse IP: "{text}"')


def parse_pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def parse_filter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return key.strip().lower(), value.strip()


def parse_key_value_file(path: str, what: str, *, inherit: dict[str, str] | None) -> list[str]:
    """The lines of an `--env-file` (or `--label-file`), as `KEY=VALUE`.

    Docker reads no quotes, no `export` and no continuation here; `#` starts a comment only at the start of a line. A bare key
    takes its value from *inherit*, and is dropped when that lacks it; where *inherit* is None a bare key stays bare.
    """
    with open(path, "rb") as file:
        data = file.read()
    found: list[str] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.decode().rstrip("\r").lstrip()
        except UnicodeDecodeError:
            raise ValueError(f"env file {path} contains invalid utf8 bytes at line {number}: {raw!r}") from None
        if not line or line.startswith("#"):
            continue
        key, equals, _value = line.partition("=")
        if not key:
            raise ValueError(f"invalid {what} file ({path}): no variable name on line '{line}'")
        if any(c.isspace() for c in key):
            raise ValueError(f"invalid {what} file ({path}): variable '{key}' contains whitespaces")
        if equals or inherit is None:
            found.append(line)
        elif key in inherit:
            found.append(f"{key}={inherit[key]}")
    return found


def environment(files: list[str], items: list[str]) -> list[str]:
    """`--env-file`, then `--env`: a later value wins, so what stands on the command line does."""
    inherit = dict(os.environ)
    found: list[str] = []
    for path in files:
        found += parse_key_value_file(path, "env", inherit=inherit)
    for item in items:
        key, equals, _value = item.partition("=")
        if not key:
            raise ValueError(f'invalid argument "{item}" for "-e, --env" flag: invalid environment variable: {item}')
        if equals:
            found.append(item)
        elif key in inherit:
            found.append(f"{key}={inherit[key]}")
    return found
