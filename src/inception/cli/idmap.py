"""User and group maps of a new user namespace, as unshare(1) makes them.

A map is a list of ranges (inside, outside, count). `--map-root-user` maps one id; `--map-users` and `--map-auto` map ranges,
and a single id beside a range is cut out of it, so that no id is mapped twice.
"""

from __future__ import annotations

import os

from inception.errors import Forbidden, InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    Range = tuple[int, int, int]

_ALL = 0xFFFFFFFF
# Fixed places, never a PATH that somebody set: these two are set-uid root.
_HELPER_DIRS = ("/usr/bin", "/bin", "/usr/local/bin")


def parse_range(text: str, what: str) -> Range:
    """(inside, outside, count) of `OUTSIDE,INSIDE,COUNT`, as in util-linux 2.38, or `INSIDE:OUTSIDE:COUNT`, as in 2.39."""
    parts = text.split(",") if "," in text else text.split(":")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise InvalidArgument(f"invalid mapping '{text}' for --map-{what}")
    first, second, count = (int(part) for part in parts)
    if not 0 < count <= _ALL or max(first, second) + count - 1 > _ALL:
        raise InvalidArgument(f"invalid mapping '{text}' for --map-{what}")
    return (second, first, count) if "," in text else (first, second, count)


def subordinate_range(path: str, user: str, uid: int) -> Range:
    """The ids that subuid(5) gives to *user*, inside from 0 on."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, numbers = line.strip().partition(":")
                first, _, count = numbers.partition(":")
                if name in (user, str(uid)) and first.isdecimal() and count.isdecimal():
                    return 0, int(first), int(count)
    except OSError as error:
        raise Unavailable(f"could not open '{path}': {error.strerror}") from None
    raise Unavailable(
        f'no line matching user "{user}" in {path}', f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    )


def with_single(ranges: list[Range], inside: int, outside: int) -> list[Range]:
    """*ranges* with one more id: both its sides are cut out of them, and what is left is joined up in order.

    >>> with_single([(0, 100000, 65536)], 0, 1000)
    [(0, 1000, 1), (1, 100000, 65535)]
    """
    result = [(inside, outside, 1)]
    for start_inside, start_outside, count in ranges:
        insides = _without(start_inside, count, inside)
        outsides = _without(start_outside, count, outside)
        while insides and outsides:
            (first_inside, left), (first_outside, right) = insides[0], outsides[0]
            length = min(left, right)
            result.append((first_inside, first_outside, length))
            insides[0] = first_inside + length, left - length
            outsides[0] = first_outside + length, right - length
            insides = [piece for piece in insides if piece[1]]
            outsides = [piece for piece in outsides if piece[1]]
    return result


def _without(start: int, count: int, hole: int) -> list[tuple[int, int]]:
    """The pieces of start..start+count-1 around *hole*, as (start, count)."""
    if not start <= hole < start + count:
        return [(start, count)]
    pieces = [(start, hole - start), (hole + 1, start + count - hole - 1)]
    return [piece for piece in pieces if piece[1]]


def map_text(ranges: list[Range]) -> str:
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)


def write_single(pid: str, kind: str, inside: int, outside: int) -> None:
    """Map one id of a process's user namespace; *kind* is `uid` or `gid`."""
    path = f"/proc/{pid}/{kind}_map"
    try:
        with open(path, "w") as file:
            file.write(f"{inside} {outside} 1")
    except OSError as error:
        raise Forbidden(f"write failed {path}: {error.strerror}") from None


def apply_ranges(pid: int, kind: str, ranges: list[Range]) -> None:
    """Map ranges from outside of the namespace: at once as root, else through newuidmap or newgidmap."""
    if os.geteuid() == 0:
        path = f"/proc/{pid}/{kind}_map"
        try:
            with open(path, "w") as file:
                file.write(map_text(ranges))
        except OSError as error:
            raise Forbidden(f"write failed {path}: {error.strerror}") from None
        return
    name = f"new{kind}map"
    helper = next((f"{folder}/{name}" for folder in _HELPER_DIRS if os.access(f"{folder}/{name}", os.X_OK)), "")
    if not helper:
        raise Unavailable(f"failed to execute {name}: No such file or directory", "the package uidmap has it")
    arguments = [helper, str(pid), *(str(number) for each in ranges for number in each)]
    child = os.posix_spawn(helper, arguments, {})
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise Forbidden(f"{name} refused the mapping")
