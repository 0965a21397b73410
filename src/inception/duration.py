"""Durations as Go writes them: `1h30m`, `1.5s`, `300ms`, `0`; nanoseconds here, as in OCI images and Docker's JSON."""

from __future__ import annotations

SECOND_NS = 1_000_000_000
_UNITS_NS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 1_000_000,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
}


def parse_duration_ns(text: str) -> int:
    """Raises ValueError with the words of Go's library.

    >>> parse_duration_ns("1m30s") == 90 * SECOND_NS
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
        number = rest[: _span(rest, "0123456789.", inside=True)]
        rest = rest[len(number) :]
        if not number.replace(".", "", 1).isdecimal():
            raise ValueError(f"time: invalid duration {shown}")
        unit = rest[: _span(rest, "0123456789.", inside=False)]
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


def _span(text: str, chars: str, *, inside: bool) -> int:
    return next((i for i, char in enumerate(text) if (char in chars) is not inside), len(text))


def format_duration(duration_ns: int) -> str:
    """As Go prints a duration.

    >>> format_duration(90 * SECOND_NS), format_duration(1_500_000), format_duration(0)
    ('1m30s', '1.5ms', '0s')
    """
    sign = "-" if duration_ns < 0 else ""
    rest = abs(duration_ns)
    if rest < SECOND_NS:
        for unit in ("ms", "µs", "ns"):
            if rest >= _UNITS_NS[unit]:
                return f"{sign}{_decimal(rest, _UNITS_NS[unit])}{unit}"
        return "0s"
    minutes, rest = divmod(rest, 60 * SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, SECOND_NS)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h{text}" if hours else text)


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = str(part).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def human_duration(seconds: float) -> str:
    """Docker's rough ages: `Less than a second`, `5 minutes`, `About an hour`, `3 weeks`.

    >>> human_duration(61), human_duration(7300), human_duration(0)
    ('About a minute', '2 hours', 'Less than a second')
    """
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    for limit, unit, name in ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return "About an hour" if hours == 1 else f"{hours // unit} {name}"
    return f"{hours // 8760} years"
