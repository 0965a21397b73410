"""Text from the command line becomes a value: Go's and Docker's number, size, duration and pair formats.

Every `parse_` raises ValueError with the words that Go's library uses, because they end up in what the user reads:
`invalid argument "x" for "-m, --memory" flag: invalid size: 'x'`.
"""

from __future__ import annotations

_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
_SIZE_SUFFIXES = "bkmgtp"
_SECOND_NS = 1_000_000_000
_UNITS_NS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 1_000_000,
    "s": _SECOND_NS,
    "m": 60 * _SECOND_NS,
    "h": 3600 * _SECOND_NS,
}


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
    return (int(whole + part) << shift) // 10 ** len(part)


def parse_nano(text: str) -> int:
    """A decimal as billionths: `1.5` CPUs are 1 500 000 000 nano-CPUs."""
    whole, dot, part = text.removeprefix("+").partition(".")
    digits = (whole or "0") + part
    if not text or not digits.isdecimal() or not digits.isascii() or (dot and not part and not whole):
        raise ValueError("failed to parse value as a rational number")
    if len(part) > 9 and part[9:].strip("0"):
        raise ValueError("value is too precise")
    return int(whole or "0") * _SECOND_NS + int(part[:9].ljust(9, "0"))


def parse_duration_ns(text: str) -> int:
    """A Go duration (`1h30m`, `1.5s`, `300ms`, `0`) in nanoseconds.

    >>> parse_duration_ns("1m30s") == 90 * 10**9
    True
    """
    shown = f'"{text}"'
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {shown}")
    total = 0
    while rest:
        number = _take(rest, "0123456789.")
        rest = rest[len(number) :]
        if not number.replace(".", "", 1).isdecimal():
            raise ValueError(f"time: invalid duration {shown}")
        unit = rest[: next((i for i, c in enumerate(rest) if c in "0123456789."), len(rest))]
        rest = rest[len(unit) :]
        if not unit:
            raise ValueError(f"time: missing unit in duration {shown}")
        if unit not in _UNITS_NS:
            raise ValueError(f'time: unknown unit "{unit}" in duration {shown}')
        whole, _, part = number.partition(".")
        total += int((whole or "0") + part) * _UNITS_NS[unit] // 10 ** len(part)
    if total > (1 << 63) - 1:
        raise ValueError(f"time: invalid duration {shown}")
    return sign * total


def _take(text: str, allowed: str) -> str:
    end = next((i for i, c in enumerate(text) if c not in allowed), len(text))
    return text[:end]


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


def parse_time_ns(text: str, now_ns: int) -> int:
    """A moment as `--since` and `--until` take it, in nanoseconds since 1970.

    A duration counts back from *now_ns*; otherwise seconds since 1970 (`1700000000.25`), or RFC 3339, whole or cut short
    (`2026-11-23`, `2026-11-23T18:00:00`), which is local time when it has no zone.
    """
    try:
        return now_ns - parse_duration_ns(text)
    except ValueError:
        pass
    whole, _, part = text.partition(".")
    if whole.isdecimal() and (not part or part.isdecimal()):
        return int(whole) * _SECOND_NS + int(part[:9].ljust(9, "0") or "0")
    from datetime import datetime

    fraction_ns = 0
    head, dot, tail = text.partition(".")
    if dot:  # datetime keeps microseconds, log lines have nanoseconds
        digits = _take(tail, "0123456789")
        fraction_ns = int(digits[:9].ljust(9, "0") or "0")
        text = head + tail[len(digits) :]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'failed to parse value as time or duration: "{text}"') from None
    return int(moment.astimezone().timestamp()) * _SECOND_NS + fraction_ns


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
