"""What a container uses: counters of its cgroup and of its network interfaces."""

from __future__ import annotations

import time

from inception.engine import records
from inception.engine.cgroups import cgroup_of
from inception.engine.results import ContainerStats
from inception.engine.system import memory_total_bytes
from inception.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.engine.engine import Engine


def sample(engine: Engine, container_id: str) -> ContainerStats:
    """One reading; all zero for a container that does not run. Raises NotFound."""
    record = records.load(engine, container_id)
    found = ContainerStats(id=record.id, name=record.name, time_ns=time.time_ns(), online_cpus=_online_cpus())
    if record.state.status not in ("running", "paused"):
        return found
    cgroup = cgroup_of(engine, record)
    counters = cgroup.stats()
    found.cpu_total_ns = counters.cpu_usage_ns
    found.cpu_user_ns = counters.cpu_user_ns
    found.cpu_system_ns = counters.cpu_system_ns
    found.memory_usage_bytes = counters.memory_usage_bytes or 0
    found.memory_limit_bytes = counters.memory_limit_bytes or memory_total_bytes()
    # What the kernel would drop first: `docker stats` subtracts it, since it is cache and no need.
    found.memory_cache_bytes = counters.memory.get("total_inactive_file", counters.memory.get("inactive_file", 0))
    found.block_read_bytes = sum(row.bytes for row in counters.block_io if row.operation == "read")
    found.block_write_bytes = sum(row.bytes for row in counters.block_io if row.operation == "write")
    found.pids = len(cgroup.pids()) if counters.pids_current is None else counters.pids_current
    found.pids_limit = counters.pids_limit or 0
    if record.config.network_mode != "host":
        found.network_receive_bytes, found.network_transmit_bytes = _network(record.state.pid)
    return found


def stream(engine: Engine, container_id: str, interval_s: float) -> Iterator[ContainerStats]:
    """A sample each *interval_s*, with the share of CPU time since the one before; ends when the container is removed."""
    before = sample(engine, container_id)
    yield before
    while True:
        time.sleep(interval_s)
        try:
            now = sample(engine, container_id)
        except NotFound:
            return
        elapsed_ns = now.time_ns - before.time_ns
        if elapsed_ns > 0 and now.cpu_total_ns >= before.cpu_total_ns:
            now.cpu_percent = 100.0 * (now.cpu_total_ns - before.cpu_total_ns) / elapsed_ns
        yield now
        before = now


def _network(pid: int) -> tuple[int, int]:
    """Bytes received and sent on all interfaces of *pid*'s network namespace but its loopback. Source: proc_pid_net(5)."""
    received = sent = 0
    try:
        with open(f"/proc/{pid}/net/dev") as lines:
            for line in lines:
                name, colon, counters = line.partition(":")
                if colon and name.strip() != "lo":
                    words = counters.split()
                    received += int(words[0])
                    sent += int(words[8])
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has just ended
    return received, sent


def _online_cpus() -> int:
    import os

    return os.cpu_count() or 1
