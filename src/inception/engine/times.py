"""Times as Docker writes and reads them: RFC 3339 with nanoseconds, UTC; ages for people. Without `datetime` (7 ms)."""

from __future__ import annotations

import re
import time

from inception.errors import InvalidArgument

ZERO = "0001-01-01T00:00:00Z"
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d))?"
)
_UNIX = re.compile(r"(\d+)(?:\.(\d{1,9})\d*)?")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNIT_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def now() -> str:
    return format_ns(time.time_ns())


def format_ns(time_ns: int) -> str:
    """RFC 3339 with nine digits after the point, as Docker's daemon writes times."""
    seconds, fraction = divmod(time_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


def parse_ns(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time (0 for the zero time). Raises InvalidArgument."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid time {text!r}: expected a form like 2026-01-31T12:00:00Z")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    if year < 1970:
        return 0
    import calendar

    fraction = int((match[7] or "0").ljust(9, "0"))
    seconds = calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
    if match[9]:
        offset = int(match[10]) * 3600 + int(match[11]) * 60
        seconds -= offset if match[9] == "+" else -offset
    elif not match[8]:  # no zone: local time, as Docker's CLI takes it
        seconds = int(time.mktime((year, month, day, hour, minute, second, 0, 0, -1)))
    return seconds * 10**9 + fraction


def parse_when_ns(text: str) -> int:
    """What `--since` and `--until` take: RFC 3339, seconds since 1970 with a fraction, or an age such as `1h30m`."""
    unix = _UNIX.fullmatch(text)
    if unix:
        return int(unix[1]) * 10**9 + int((unix[2] or "0").ljust(9, "0"))
    duration_ns = parse_duration_ns(text)
    if duration_ns is not None:
        return time.time_ns() - duration_ns
    return parse_ns(text)


def parse_duration_ns(text: str) -> int | None:
    """Go's durations (`1h30m`, `1.5s`), or None when *text* is not one."""
    total, position = 0.0, 0
    while match := _DURATION_PART.match(text, position):
        total += float(match[1]) * _UNIT_NS[match[2]]
        position = match.end()
    return int(total) if text and position == len(text) else None


def human_duration(seconds: float) -> str:
    """Docker's rough ages: `Less than a second`, `5 minutes`, `About an hour`, `3 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"
