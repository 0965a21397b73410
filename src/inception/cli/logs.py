"""`logs`: what a container wrote, from its log file."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.streams import write_all


def logs(call: Call) -> int:
    flags = call.flags
    container = call.engine.containers.get(call.arguments[0])
    stamps = flags.on("timestamps")
    details = flags.on("details")
    lines = container.logs(
        follow=flags.on("follow"), tail=_tail(flags.text("tail")), since=flags.text("since"), until=flags.text("until")
    )
    try:
        for line in lines:
            prefix = f"{line.time} ".encode() if stamps else b""
            write_all(2 if line.stream == "stderr" else 1, prefix + (line.details if details else b"") + line.data)
    except KeyboardInterrupt:
        return 130
    return 0


def _tail(text: str) -> int | None:
    """A count of lines; `all`, and like Docker anything that is no count, is everything."""
    return int(text) if text.isdecimal() else None


LOGS = Command(
    logs,
    "[OPTIONS] CONTAINER",
    "Fetch the logs of a container",
    """\
      --details        Show extra details provided to logs
  -f, --follow         Follow log output
      --since string   Show logs since a time (2013-01-02T13:23:37Z) or an age (42m for 42 minutes)
  -n, --tail string    Number of lines to show from the end of the logs (default "all")
  -t, --timestamps     Show timestamps
      --until string   Show logs before a time (2013-01-02T13:23:37Z) or an age (42m for 42 minutes)
""",
    minimum=1,
    maximum=1,
)
