"""Times in OCI documents: RFC 3339, section 5.6, as Go reads and writes them (capital T and Z)."""

from __future__ import annotations


def is_rfc3339(text: str) -> bool:
    """
    >>> [is_rfc3339(text) for text in ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00+02:00", "2026-01-31", "yesterday")]
    [True, True, False, False]
    """
    moment, rest = text[:19], text[19:]
    if _shape(moment) != "0000-00-00T00:00:00":
        return False
    month, day, hour, minute, second = (int(moment[at : at + 2]) for at in (5, 8, 11, 14, 17))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return False
    if rest.startswith("."):
        zone = rest[1:].lstrip("0123456789")
        if len(zone) == len(rest) - 1:
            return False
        rest = zone
    return rest == "Z" or (_shape(rest) in ("+00:00", "-00:00") and int(rest[1:3]) < 24 and int(rest[4:]) < 60)


def _shape(text: str) -> str:
    return "".join("0" if character in "0123456789" else character for character in text)
