"""Timestamps: RFC 3339 in UTC with nanoseconds, as Docker writes them."""

from __future__ import annotations

import time

NEVER = "0001-01-01T00:00:00Z"

# The last second and its text, in one object: monitors may share a process.
_last = (-1, "")


def timestamp(when_ns: int | None = None) -> str:
    """*when_ns* (default now) as `2026-11-23T18:08:55.123456789Z`."""
    global _last
    second, fraction = divmod(time.time_ns() if when_ns is None else when_ns, 1_000_000_000)
    known, prefix = _last
    if second != known:
        prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _last = (second, prefix)
    return f"{prefix}.{fraction:09d}Z"


def parse(text: str) -> int:
    """Nanoseconds since the epoch of a timestamp in UTC (`Z`) or with an offset. Raises ValueError."""
    day, _, rest = text.partition("T")
    clock, offset_s = rest, 0
    for sign in "+-":
        head, found, zone = rest.partition(sign)
        if found:
            hours, _, minutes = zone.partition(":")
            offset_s = (int(hours) * 3600 + int(minutes or "0") * 60) * (1 if sign == "+" else -1)
            clock = head
    clock = clock.removesuffix("Z")
    clock, _, fraction = clock.partition(".")
    year, month, month_day = (int(part) for part in day.split("-"))
    hour, minute, *seconds = (int(part) for part in (clock or "0:0").split(":"))
    days = _days_from_civil(year, month, month_day)
    total = days * 86400 + hour * 3600 + minute * 60 + (seconds[0] if seconds else 0) - offset_s
    return total * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or "0")


def _days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar; `calendar` and `datetime` would cost 2 to 4 ms of import."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(f"no such day: {year}-{month}-{day}")
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
