"""`search`: what a registry has."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import Listing, ellipsis, printable, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.store.login import Found

_LISTING = Listing(
    {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"},
    ("Name", "Description", "StarCount", "IsOfficial"),
)
_DESCRIPTION_WIDTH = 45


def search(call: Call) -> int:
    from inception.store.login import search as ask

    flags = call.flags
    found = ask(call.arguments[0], flags.number("limit"), flags.filters())
    full = flags.on("no-trunc")
    rows = [
        {
            "Name": printable(each.name),
            "Description": _described(each, full),
            "StarCount": str(each.stars),
            "IsOfficial": "[OK]" if each.official else "",
        }
        for each in found
    ]
    write(_LISTING.render(rows, flags.text("format")))
    return 0


def _described(found: Found, full: bool) -> str:
    text = printable(" ".join(found.description.split()))
    return text if full else ellipsis(text, _DESCRIPTION_WIDTH)


SEARCH = Command(
    search,
    "[OPTIONS] TERM",
    "Search a registry for images",
    """\
  -f, --filter filter   Filter output based on conditions provided
      --format string   Pretty-print search using a Go template
      --limit int       Max number of search results (default 25)
      --no-trunc        Don't truncate output
""",
    minimum=1,
    maximum=1,
)
