"""What `builder prune` takes away: Docker's filters.

`until=24h` and `unused-for=24h` are ages of the last use; `id=`, `type=regular|exec.cachemount|source.local`, `shared=`,
`private=` and `description=` choose among the rest; several of one name mean any of them, several names all of them.
"""

from __future__ import annotations

import time

from inception.build.cache import KINDS, REGULAR
from inception.duration import parse_duration_ns
from inception.errors import InvalidArgument
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inception.build.cache import Kept

_AGES = ("until", "unused-for")
_CHOICES = ("id", "type", "shared", "private", "description")


class Chosen(Record):
    """`unused_since` in seconds; `values` by the name of a filter."""

    unused_since: int | None = None
    values: dict[str, list[str]] = {}

    def wants(self, kept: Kept) -> bool:
        return all(any(_matches(name, value, kept) for value in values) for name, values in self.values.items())


def parse_filters(filters: Mapping[str, Sequence[str]]) -> Chosen:
    """Raises InvalidArgument."""
    since: list[int] = []
    values: dict[str, list[str]] = {}
    for name, given in filters.items():
        if name in _AGES:
            since += [_moment(name, value) for value in given]
        elif name in _CHOICES:
            values[name] = list(given)
            for value in given:
                _check(name, value)
        else:
            raise InvalidArgument(f"invalid filter '{name}'")
    return Chosen(unused_since=min(since, default=None), values=values)


def _moment(name: str, value: str) -> int:
    try:
        return int(time.time()) - parse_duration_ns(value) // 1_000_000_000
    except ValueError as error:
        raise InvalidArgument(f"invalid filter '{name}={value}': {error}") from None


def _check(name: str, value: str) -> None:
    if name in ("shared", "private") and value not in ("true", "false", "1", "0"):
        raise InvalidArgument(f"invalid filter '{name}={value}': expected true or false")
    if name == "type" and value not in (REGULAR, *KINDS):
        raise InvalidArgument(f"invalid filter 'type={value}': expected one of {', '.join((REGULAR, *KINDS))}")


def _matches(name: str, value: str, kept: Kept) -> bool:
    if name == "id":
        return any(key.startswith(value) for key in (kept.id, *kept.keys))
    if name == "type":
        return kept.kind == value
    if name == "description":
        return value in kept.description
    return (kept.shared if name == "shared" else not kept.shared) == (value in ("true", "1"))
