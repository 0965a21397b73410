"""The comments at the top of a Dockerfile that mean something: `# syntax=`, `# escape=`, `# check=`.

They are its first lines (after a `#!` line, which makes the file a program), each at most once; any other line ends them.
"""

from __future__ import annotations

from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMES = ("syntax", "escape", "check")
ALL = "all"


class CheckOptions(Record):
    """What `# check=` says: rules (in lower case, or `all`) to leave out or to try, and whether a warning is an error."""

    skipped: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False


def parse_check_options(text: str) -> CheckOptions:
    """`skip=RULE,...;error=true`, with `experimental=RULE,...` too. Raises ValueError."""
    found = CheckOptions()
    for part in text.split(";") if text else ():
        name, _, value = part.strip().partition("=")
        if name == "error" and value in ("true", "false"):
            found.error = value == "true"
        elif name == "skip" and value:
            found.skipped = _rules(value)
        elif name == "experimental" and value:
            found.experimental = _rules(value)
        else:
            raise ValueError(f"invalid check directive {text!r}: expected skip=<checks|all> or error=<boolean>")
    return found


def _rules(text: str) -> frozenset[str]:
    return frozenset(rule.strip().lower() for rule in text.split(","))


def read_directives(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """(line, name, value) of each, with lines counted from 1."""
    first = 1 if lines and lines[0].startswith("#!") else 0
    for number in range(first, len(lines)):
        name, value = _directive(lines[number].strip())
        if name not in NAMES:
            return
        yield number + 1, name, value


def _directive(line: str) -> tuple[str, str]:
    """Name (in lower case) and value of `# name = value // remark`; empty when *line* is something else."""
    name, equals, value = line.removeprefix("#").partition("=")
    name, value = name.strip(" \t"), value.partition(" //")[0].strip(" \t")
    if not line.startswith("#") or not equals or not value or not (name.isascii() and name.isalnum()):
        return "", ""
    return name.lower(), value
