"""`ps`: the listing of containers."""

from __future__ import annotations

import sys

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import (
    Listing,
    ago,
    ellipsis,
    human_size,
    label_of,
    labels_text,
    local_time,
    printable,
    quoted,
    short_id,
    write,
)
from inception.engine.records import command_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.cli.format import Row
    from inception.engine.config import PortBinding
    from inception.engine.container import Container

LISTING = Listing(
    {
        "ID": "CONTAINER ID",
        "Image": "IMAGE",
        "Command": "COMMAND",
        "RunningFor": "CREATED",
        "CreatedAt": "CREATED AT",
        "Status": "STATUS",
        "State": "STATE",
        "HealthStatus": "HEALTH STATUS",
        "Ports": "PORTS",
        "Names": "NAMES",
        "Size": "SIZE",
        "Labels": "LABELS",
        "Mounts": "MOUNTS",
        "LocalVolumes": "LOCAL VOLUMES",
        "Networks": "NETWORKS",
        "Platform": "PLATFORM",
    },
    ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
)
_COMMAND_WIDTH = 20
_MOUNT_WIDTH = 15


def ps(call: Call) -> int:
    flags = call.flags
    limit = 1 if flags.on("latest") else max(flags.number("last"), 0)
    containers = call.engine.containers.list(all=flags.on("all"), filters=flags.filters(), limit=limit)
    full = flags.on("no-trunc")
    if flags.on("quiet"):
        if flags.text("format"):
            print("WARNING: Ignoring custom format, because both --format and --quiet are set.", file=sys.stderr)
        write("".join((c.id if full else short_id(c.id)) + "\n" for c in containers))
        return 0
    sized = flags.on("size") or ".Size" in flags.text("format")
    rows = [row_of(container, full=full, sized=sized) for container in containers]
    columns = [*LISTING.default, "Size"] if flags.on("size") else LISTING.default
    write(LISTING.render(rows, flags.text("format"), columns))
    return 0


def row_of(container: Container, *, full: bool = False, sized: bool = False) -> Row:
    """One line of the listing, from the state that *container* was read with."""
    config, state = container.config, container.record.state
    command = command_text([*(config.entrypoint or []), *(config.command or [])])
    used, total = container.size() if sized else (0, 0)
    mounts = [mount.source or mount.destination for mount in container.record.mounts]
    volumes = sum(1 for mount in container.record.mounts if mount.type == "volume")
    return {
        "ID": container.id if full else short_id(container.id),
        "Image": config.image if full or not config.image.startswith("sha256:") else short_id(config.image),
        "Command": quoted(command if full else ellipsis(command, _COMMAND_WIDTH)),
        "RunningFor": ago(container.created_at),
        "CreatedAt": local_time(container.created_at),
        "Status": container.status_text,
        "State": state.status,
        "HealthStatus": "" if state.health.status == "none" else state.health.status,
        "Ports": ports_text(state.ports, config.exposed_ports) if state.status in ("running", "paused") else "",
        "Names": printable(container.name),
        "Size": f"{human_size(used)} (virtual {human_size(total)})" if sized else human_size(0),
        "Labels": labels_text(config.labels),
        "Mounts": ",".join(mount if full else ellipsis(mount, _MOUNT_WIDTH) for mount in mounts),
        "LocalVolumes": str(volumes),
        "Networks": ",".join(_network_names(container)),
        "Platform": "",
        "Label": label_of(config.labels),
    }


def _network_names(container: Container) -> list[str]:
    """The networks that it is in, or would be when it runs; a mode such as `host` counts as one."""
    config = container.config
    return sorted(container.record.state.endpoints or config.networks) or [config.network_mode]


def ports_text(published: list[PortBinding], exposed: list[str]) -> str:
    """The PORTS column: neighbouring ports as ranges, then the mappings whose two sides differ.

    `80-82/tcp, 0.0.0.0:443->443/tcp, [::]:443->443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`
    """
    taken = {f"{port.container_port}/{port.protocol}" for port in published}
    entries = [
        (port.container_port, f"[{address}]" if ":" in address else address, port.host_port, port.protocol)
        for port in published
        for address in port.addresses
    ]
    for text in exposed:
        if text not in taken:
            number, _, protocol = text.partition("/")
            entries.append((int(number), "", 0, protocol or "tcp"))
    groups: dict[tuple[str, str], list[list[int]]] = {}
    mappings = []
    for port, address, host_port, protocol in sorted(entries):
        if host_port and host_port != port:
            mappings.append(f"{address}:{host_port}->{port}/{protocol}")
            continue
        ranges = groups.setdefault((address if host_port else "", protocol), [])
        if ranges and ranges[-1][1] + 1 == port:
            ranges[-1][1] = port
        else:
            ranges.append([port, port])
    texts = []
    for (address, protocol), ranges in groups.items():
        for first, last in ranges:
            span = str(first) if first == last else f"{first}-{last}"
            texts.append(f"{address}:{span}->{span}/{protocol}" if address else f"{span}/{protocol}")
    return ", ".join([*texts, *mappings])


PS = Command(
    ps,
    "[OPTIONS]",
    "List containers",
    """\
  -a, --all             Show all containers (default shows just running)
  -f, --filter filter   Filter output based on conditions provided
      --format string   Format output: "table", "table TEMPLATE", "json", or a Go template
  -n, --last int        Show n last created containers (includes all states) (default -1)
  -l, --latest          Show the latest created container (includes all states)
      --no-trunc        Don't truncate output
  -q, --quiet           Only display container IDs
  -s, --size            Display total file sizes
""",
    maximum=0,
)
