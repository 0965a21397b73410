"""`stats` and `top`: what containers use, and the processes in them."""

from __future__ import annotations

import os
import sys
import time

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import Listing, columns, human_bytes, human_size, printable, short_id, write
from inception.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.cli.format import Row
    from inception.engine.container import Container
    from inception.engine.results import ContainerStats

LISTING = Listing(
    {
        "ID": "CONTAINER ID",
        "Container": "CONTAINER",
        "Name": "NAME",
        "CPUPerc": "CPU %",
        "MemUsage": "MEM USAGE / LIMIT",
        "MemPerc": "MEM %",
        "NetIO": "NET I/O",
        "BlockIO": "BLOCK I/O",
        "PIDs": "PIDS",
    },
    ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
)
_INTERVAL_S = 1.0


def stats(call: Call) -> int:
    flags = call.flags
    text = flags.text("format")
    watched = _Watched(call, call.arguments, everything=flags.on("all"))
    screen = os.isatty(1) and not flags.on("no-stream")
    try:
        while True:
            began = time.monotonic()
            rows = watched.sample(full=flags.on("no-trunc"))
            shown = LISTING.render(rows, text)
            if screen:
                # Home, each line cleared to its end, and what is left below: no flicker.
                shown = "\x1b[H" + shown.replace("\n", "\x1b[K\n") + "\x1b[J"
            write(shown)
            if flags.on("no-stream"):
                return 0
            time.sleep(max(0.0, _INTERVAL_S - (time.monotonic() - began)))
    except KeyboardInterrupt:
        return 0


class _Watched:
    """The containers that are shown, with the last sample of each: rates need two."""

    def __init__(self, call: Call, names: list[str], *, everything: bool) -> None:
        self.engine = call.engine
        self.names = names
        self.everything = everything
        self._last: dict[str, ContainerStats] = {}
        self._asked: dict[str, str] = {}  # what the user called it
        for name in names:
            self.engine.containers.get(name)  # a name that is not there is an error now, one that goes later is not

    def sample(self, *, full: bool) -> list[Row]:
        containers = self._containers()
        if not self._last:
            self._last = {container.id: container.stats() for container in containers}
            time.sleep(0.25 if containers else 0.0)
        rows = []
        for container in containers:
            try:
                now = container.stats()
            except NotFound:
                continue
            rows.append(
                row_of(container, now, self._last.get(container.id), full=full, asked=self._asked.get(container.id, ""))
            )
            self._last[container.id] = now
        return rows

    def _containers(self) -> list[Container]:
        if not self.names:
            return self.engine.containers.list(all=self.everything)
        found = []
        for name in self.names:
            try:
                found.append(self.engine.containers.get(name))
                self._asked[found[-1].id] = name
            except NotFound:
                continue
        return found


def row_of(container: Container, now: ContainerStats, before: ContainerStats | None, *, full: bool, asked: str = "") -> Row:
    elapsed_ns = now.time_ns - before.time_ns if before else 0
    cpu = 100.0 * (now.cpu_total_ns - before.cpu_total_ns) / elapsed_ns if before and elapsed_ns > 0 else now.cpu_percent
    used = max(0, now.memory_usage_bytes - now.memory_cache_bytes)
    share = 100.0 * used / now.memory_limit_bytes if now.memory_limit_bytes else 0.0
    return {
        "ID": container.id if full else short_id(container.id),
        "Container": asked or (container.id if full else short_id(container.id)),
        "Name": printable(container.name),
        "CPUPerc": f"{max(cpu, 0.0):.2f}%",
        "MemUsage": f"{human_bytes(used)} / {human_bytes(now.memory_limit_bytes)}",
        "MemPerc": f"{share:.2f}%",
        "NetIO": f"{human_size(now.network_receive_bytes)} / {human_size(now.network_transmit_bytes)}",
        "BlockIO": f"{human_size(now.block_read_bytes)} / {human_size(now.block_write_bytes)}",
        "PIDs": str(now.pids),
    }


def top(call: Call) -> int:
    from inception.cli.format import ellipsis

    result = call.engine.containers.get(call.arguments[0]).top(" ".join(call.arguments[1:]))
    width = os.get_terminal_size(1).columns if os.isatty(1) else sys.maxsize
    lines = [result.titles, *result.processes]
    text = columns([[printable(cell) for cell in line] for line in lines], minimum=20)
    write("".join(ellipsis(line, width) + "\n" for line in text.splitlines()))
    return 0


STATS = Command(
    stats,
    "[OPTIONS] [CONTAINER...]",
    "Display a live stream of container(s) resource usage statistics",
    """\
  -a, --all             Show all containers (default shows just running)
      --format string   Format output: "table", "table TEMPLATE", "json", or a Go template
      --no-stream       Show one result and stop
      --no-trunc        Do not truncate output
""",
)
TOP = Command(
    top,
    "CONTAINER [ps OPTIONS]",
    "Display the running processes of a container",
    minimum=1,
    interspersed=False,
)
