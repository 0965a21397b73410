"""`port`: where a container's ports can be reached."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command


def port(call: Call) -> int:
    container = call.engine.containers.get(call.arguments[0])
    wanted = call.arguments[1] if len(call.arguments) > 1 else ""
    bindings = container.port(wanted)
    lines = []
    for binding in bindings:
        prefix = "" if wanted else f"{binding.container_port}/{binding.protocol} -> "
        lines += [f"{prefix}{place}" for place in binding.places]
    if lines:
        print("\n".join(sorted(lines, key=_natural)))
    return 0


def _natural(line: str) -> tuple[int, str]:
    number = line.partition("/")[0]
    return (int(number) if number.isdecimal() else 0, line)


PORT = Command(
    port,
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "List port mappings or a specific mapping for the container",
    minimum=1,
    maximum=2,
)
