"""`events`: what happens, as it happens."""

from __future__ import annotations

import time

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import printable, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.results import Event


def events(call: Call) -> int:
    flags = call.flags
    text = flags.text("format")
    template = None
    if text and text != "json":
        from inception.cli.template import Template

        template = Template(text)
    stream = call.engine.events.read(since=flags.text("since"), until=flags.text("until"), filters=flags.filters(), follow=True)
    try:
        for event in stream:
            if text == "json":
                from inception.cli.template_values import to_json

                write(to_json(document(event), escape_html=True) + "\n")
            elif template is not None:
                write(template.render(document(event)) + "\n")
            else:
                write(line(event) + "\n")
    except KeyboardInterrupt:
        return 130
    return 0


def line(event: Event) -> str:
    """`2026-11-23T18:00:00.123456789+01:00 container start 4f66ad9a (image=alpine, name=web)`."""
    seconds, nanoseconds = divmod(event.time_ns, 10**9)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{nanoseconds:09d}{zone[:3]}:{zone[3:]}"
    attributes = ", ".join(f"{key}={printable(value)}" for key, value in sorted(event.attributes.items()))
    return f"{stamp} {event.type} {printable(event.action)} {event.id}" + (f" ({attributes})" if attributes else "")


def document(event: Event) -> dict[str, Any]:
    """An event as Docker's API has it."""
    head: dict[str, Any] = {"status": event.action, "id": event.id} if event.type in ("container", "image") else {}
    if event.type == "container":
        head["from"] = event.attributes.get("image", "")
    return {
        **head,
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": dict(sorted(event.attributes.items()))},
        "scope": "local",
        "time": event.time_ns // 10**9,
        "timeNano": event.time_ns,
        # Names that templates use and JSON does not have.
        **{name: (lambda value=value: value) for name, value in (("Time", event.time_ns // 10**9), ("ID", event.id))},
    }


EVENTS = Command(
    events,
    "[OPTIONS]",
    "Get real time events",
    """\
  -f, --filter filter   Filter output based on conditions provided
      --format string   Format output: "json", or a Go template
      --since string    Show all events created since a time
      --until string    Stream events until this time
""",
    maximum=0,
)
