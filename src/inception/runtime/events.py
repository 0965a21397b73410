"""What `events` prints: a container's counters in runc's shape, and that memory ran out."""

from __future__ import annotations

import os
import time

from inception.errors import Conflict
from inception.linux.cgroup import CgroupStats
from inception.linux.process import wait_pidfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from inception.runtime.lifecycle import Container

_UNLIMITED = (1 << 63) - 4096  # what v1 files read then
_OOM_INTERVAL_S = 0.5


def stats(container: Container) -> dict[str, Any]:
    """One event with all counters. Raises Conflict for a container that has ended."""
    state, status = container.load()
    if status in ("stopped", "creating"):
        raise Conflict("container is not running")
    return {"type": "stats", "id": state.id, "data": _shape(container.cgroup().stats())}


def follow(container: Container, interval_s: float) -> Iterator[dict[str, Any]]:
    """Counters every *interval_s*, and `oom` as it happens, until the container ends."""
    state = container.folder.load()
    pidfd = container.folder.open_init(state)
    cgroup = container.cgroup()
    try:
        kills, due = cgroup.oom_kills(), time.monotonic() + interval_s
        while not wait_pidfd(pidfd, min(_OOM_INTERVAL_S, max(0.0, due - time.monotonic()))):
            now = cgroup.oom_kills()
            if now > kills:
                kills = now
                yield {"type": "oom", "id": state.id}
            if time.monotonic() >= due:
                due += interval_s
                yield {"type": "stats", "id": state.id, "data": _shape(cgroup.stats())}
        if cgroup.oom_kills() > kills:
            yield {"type": "oom", "id": state.id}
    finally:
        os.close(pidfd)


def _shape(counters: CgroupStats) -> dict[str, Any]:
    usage = {
        "limit": counters.memory_limit_bytes or _UNLIMITED,
        "usage": counters.memory_usage_bytes or 0,
        "max": counters.memory_peak_bytes or 0,
        "failcnt": counters.memory_failures,
    }
    nothing = {"limit": 0, "failcnt": 0}
    swap = nothing
    if counters.memswap_usage_bytes is not None:
        swap = {"limit": counters.memswap_limit_bytes or _UNLIMITED, "usage": counters.memswap_usage_bytes, "failcnt": 0}
    blkio: dict[str, list[dict[str, Any]]] = {}
    for row in counters.block_io:
        for kind, value in (("ioServiceBytesRecursive", row.bytes), ("ioServicedRecursive", row.operations)):
            entry = {"major": row.major, "minor": row.minor, "op": row.operation.capitalize(), "value": value}
            blkio.setdefault(kind, []).append(entry)
    return {
        "cpu": {
            "usage": {
                "total": counters.cpu_usage_ns,
                "kernel": counters.cpu_system_ns,
                "user": counters.cpu_user_ns,
            },
            "throttling": {
                "periods": counters.cpu_periods,
                "throttledPeriods": counters.cpu_throttled_periods,
                "throttledTime": counters.cpu_throttled_ns,
            },
        },
        "memory": {
            "cache": counters.memory.get("cache", counters.memory.get("file", 0)),
            "usage": usage,
            "swap": swap,
            "kernel": nothing,
            "kernelTCP": nothing,
            "raw": counters.memory,
        },
        "pids": {"current": counters.pids_current or 0, "limit": counters.pids_limit or 0},
        "blkio": blkio,
        "hugetlb": {
            size: {"usage": pages.usage_bytes, "max": pages.peak_bytes, "failcnt": pages.failures}
            for size, pages in counters.huge_pages.items()
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }
