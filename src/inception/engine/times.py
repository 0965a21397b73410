"""Times that people give (`--since 10m`) and read (`5 minutes ago`), in Docker's forms; no `datetime` (7 ms of import)."""

from __future__ import annotations

import time

from inception.duration import human_duration, parse_duration_ns
from inception.errors import InvalidArgument
from inception.monitor.times import NEVER, parse, timestamp

now = timestamp
__all__ = ["NEVER", "human_duration", "now", "parse", "parse_when_ns", "timestamp"]


def parse_when_ns(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time, of seconds with a fraction, or of an age such as `1h30m`.

    A time without a zone is local, as in Docker. Raises InvalidArgument.
    """
    whole, point, fraction = text.partition(".")
    if whole.isdecimal() and (not point or fraction.isdecimal()):
        return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)
    try:
        return time.time_ns() - parse_duration_ns(text)
    except ValueError:
        pass
    try:
        zoned = text.endswith("Z") or any(sign in text.partition("T")[2] for sign in "+-")
        return parse(text) if zoned else parse(text) - _local_offset_ns(parse(text) // 10**9)
    except ValueError:
        raise InvalidArgument(f"invalid time {text!r}", "a time like 2026-01-31T12:00:00Z, or an age like 10m") from None


def _local_offset_ns(utc_s: int) -> int:
    return time.localtime(utc_s).tm_gmtoff * 10**9
