"""Rows as text: Docker's tables, `--format`, and its way to say sizes and times.

A row is a dict of strings by placeholder (`{"ID": …, "Names": …}`); a callable is a method (`{{.Label "x"}}`) and left out of
JSON. `table` renders by hand, since most listings are the default one; templates are imported only when one is given.
"""

from __future__ import annotations

import sys
import time
from itertools import zip_longest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Row = dict[str, Any]

# Docker's tabwriter: cells are at least ten wide, with three blanks between columns.
_MINIMUM_WIDTH = 10
_PADDING = 3

_KEYWORDS = {"Label"}


def columns(lines: Sequence[Sequence[str]], minimum: int = _MINIMUM_WIDTH) -> str:
    """*lines* of cells in columns; the last cell of a line is not padded.

    >>> columns([["ID", "NAME"], ["7", "web"]])
    'ID        NAME\\n7         web\\n'
    """
    heads = [line[:-1] for line in lines]
    widths = [max(minimum, _PADDING + max(map(len, cells))) for cells in zip_longest(*heads, fillvalue="")]
    padded = [f"%-{width}s" for width in widths]
    templates = {length: "".join(padded[: length - 1]) + "%s\n" for length in {len(line) for line in lines}}
    return "".join([templates[len(line)] % tuple(line) for line in lines])


class Listing:
    """One kind of listing: its placeholders' headings, and the columns that it shows when nothing else is asked for."""

    def __init__(self, headings: dict[str, str], default: Sequence[str]) -> None:
        self.headings = headings
        self.default = default

    def render(self, rows: Iterable[Row], format_text: str = "", default: Sequence[str] | None = None) -> str:
        """The listing as *format_text* asks for: empty or `table`, `json`, `table TEMPLATE`, `TEMPLATE`."""
        if format_text in ("", "table"):
            names = default or self.default
            return columns([[self.headings[name] for name in names], *([str(row[name]) for name in names] for row in rows)])
        from inception.cli.template import Template
        from inception.cli.template_values import Marshalled, to_json

        rows = [Marshalled(row) for row in rows]
        if format_text == "json":
            return "".join(to_json(row) + "\n" for row in rows)
        text = format_text.replace("\\t", "\t").replace("\\n", "\n")
        if not text.startswith("table"):
            template = Template(text)
            return "".join(template.render(row) + "\n" for row in rows)
        text = text.removeprefix("table").lstrip(" ")
        template = Template(text)
        headings: Row = {**{name: name for name in self.headings}, **self.headings, "Label": _label_heading}
        lines = [Template(text, _HEADING_FUNCTIONS).render(headings), *(template.render(row) for row in rows)]
        return columns([line.split("\t") for text in lines for line in text.split("\n")])


def _label_heading(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def _same(value: Any, *_rest: Any) -> Any:
    return value


# In the heading line, functions leave the column's name as it is.
_HEADING_FUNCTIONS: dict[str, Callable[..., Any]] = dict.fromkeys(
    ("json", "upper", "lower", "title", "truncate", "join", "split"), _same
)


def labels_text(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def label_of(labels: dict[str, str]) -> Callable[[str], str]:
    return lambda name: labels.get(name, "")


def short_id(text: str) -> str:
    """Twelve digits of an id, without its `sha256:`."""
    return text.removeprefix("sha256:")[:12]


def ellipsis(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def quoted(text: str) -> str:
    """*text* in double quotes as Go's strconv.Quote writes it."""
    escapes = {
        '"': '\\"',
        "\\": "\\\\",
        "\n": "\\n",
        "\t": "\\t",
        "\r": "\\r",
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\v": "\\v",
    }
    return '"' + "".join(escapes.get(c) or (c if c.isprintable() else f"\\x{ord(c):02x}") for c in text) + '"'


def printable(text: str) -> str:
    """*text* with control characters made visible: what comes from a container must not drive the user's terminal."""
    return "".join(c if c.isprintable() else quoted(c)[1:-1] for c in text)


def human_size(size_bytes: float, digits: int = 3) -> str:
    """Powers of 1000, *digits* significant: `1.23MB`, `0B`."""
    return _scaled(size_bytes, 1000.0, ("B", "kB", "MB", "GB", "TB", "PB", "EB"), digits)


def human_bytes(size_bytes: float) -> str:
    """Powers of 1024: `64MiB`."""
    return _scaled(size_bytes, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), 4)


def _scaled(size: float, base: float, units: tuple[str, ...], digits: int) -> str:
    index = 0
    while size >= base and index < len(units) - 1:
        size /= base
        index += 1
    return f"{size:.{digits}g}{units[index]}"


def epoch(rfc3339: str) -> float:
    """Seconds since 1970 of an RFC 3339 time; 0 for Go's zero time, and for what is none."""
    if not rfc3339 or rfc3339.startswith("0001-"):
        return 0.0
    from inception.engine.times import parse

    try:
        return parse(rfc3339) / 1e9
    except ValueError:
        return 0.0


def ago(rfc3339: str) -> str:
    """How long ago: `5 minutes ago`; `N/A` for a time that nobody knows."""
    from inception.engine.times import human_duration

    moment = epoch(rfc3339)
    return f"{human_duration(time.time() - moment)} ago" if moment else "N/A"


def local_time(rfc3339: str) -> str:
    """As Go prints a time: `2026-11-23 18:00:00 +0000 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(epoch(rfc3339)))


def rfc3339(text: str) -> str:
    """A time to the second and in the user's zone, as Docker shows those of a history: `2026-11-23T19:00:00+01:00`."""
    if not text:
        return ""
    local = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(epoch(text)))
    return f"{local[:-5]}Z" if local.endswith("+0000") else f"{local[:-2]}:{local[-2:]}"


def write(text: str) -> None:
    """*text* to standard output; bytes that are no UTF-8 (names of files) leave as they came."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
