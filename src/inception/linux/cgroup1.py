"""Counters of the v1 hierarchies. Source: kernel admin-guide/cgroup-v1/{memory,cpuacct,blkio-controller,pids}.rst."""

from __future__ import annotations

import os

from inception.linux.cgroup import BlockIo, Cgroup, CgroupStats, HugePages, _read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What "no limit" reads as in memory.limit_in_bytes: LONG_MAX in whole pages.
_UNLIMITED = 1 << 62


def read_stats(cgroup: Cgroup) -> CgroupStats:
    """Counters of *cgroup*; folders that were never made count nothing."""
    found: dict[str, Any] = {}
    cpuacct, cpu = cgroup.folder("cpuacct"), cgroup.folder("cpu")
    if cgroup.cgroups.v2 is not None:
        # The v2 hierarchy counts CPU time even without its controller, and from birth on.
        from inception.linux.cgroup2 import cpu_usage

        found.update(cpu_usage(cgroup.cgroups.v2 + cgroup.path))
    elif cpuacct:
        found["cpu_usage_ns"] = int(_read(f"{cpuacct}/cpuacct.usage", missing="0"))
        found["cpu_user_ns"] = int(_read(f"{cpuacct}/cpuacct.usage_user", missing="0"))
        found["cpu_system_ns"] = int(_read(f"{cpuacct}/cpuacct.usage_sys", missing="0"))
    if cpu:
        throttled = numbers(_read(f"{cpu}/cpu.stat", missing=""))
        found["cpu_periods"] = throttled.get("nr_periods", 0)
        found["cpu_throttled_periods"] = throttled.get("nr_throttled", 0)
        found["cpu_throttled_ns"] = throttled.get("throttled_time", 0)
    memory = cgroup.folder("memory")
    if memory and (usage := _read(f"{memory}/memory.usage_in_bytes", missing="")):
        limit = int(_read(f"{memory}/memory.limit_in_bytes"))
        found["memory_usage_bytes"] = int(usage)
        found["memory_limit_bytes"] = None if limit >= _UNLIMITED else limit
        found["memory_peak_bytes"] = int(_read(f"{memory}/memory.max_usage_in_bytes"))
        found["memory"] = numbers(_read(f"{memory}/memory.stat"))
        found["memory_failures"] = int(_read(f"{memory}/memory.failcnt"))
        if both := _read(f"{memory}/memory.memsw.usage_in_bytes", missing=""):  # not without swap accounting
            limit = int(_read(f"{memory}/memory.memsw.limit_in_bytes"))
            found["memswap_usage_bytes"] = int(both)
            found["memswap_limit_bytes"] = None if limit >= _UNLIMITED else limit
        found["oom_kills"] = cgroup.oom_kills()
    pids = cgroup.folder("pids")
    if pids and (current := _read(f"{pids}/pids.current", missing="")):
        ceiling = _read(f"{pids}/pids.max").strip()
        found["pids_current"] = int(current)
        found["pids_limit"] = None if ceiling == "max" else int(ceiling)
    hugetlb = cgroup.folder("hugetlb")
    if hugetlb and os.path.isdir(hugetlb):
        found["huge_pages"] = _huge_pages(hugetlb)
    blkio = cgroup.folder("blkio")
    if blkio:
        found["block_io"] = _block_io(blkio)
    return CgroupStats(**found)


def _huge_pages(folder: str) -> dict[str, HugePages]:
    found = {}
    for name in os.listdir(folder):
        parts = name.split(".")
        if len(parts) == 3 and parts[0] == "hugetlb" and parts[2] == "usage_in_bytes":
            base = f"{folder}/hugetlb.{parts[1]}"
            found[parts[1]] = HugePages(
                usage_bytes=int(_read(f"{base}.usage_in_bytes")),
                peak_bytes=int(_read(f"{base}.max_usage_in_bytes")),
                failures=int(_read(f"{base}.failcnt")),
            )
    return found


def _block_io(folder: str) -> list[BlockIo]:
    """Bytes and operations for each device; CFQ and BFQ count elsewhere than the throttling layer, which always counts."""
    rows: dict[tuple[int, int, str], dict[str, int]] = {}
    for file, field in (("io_service_bytes", "bytes"), ("io_serviced", "operations")):
        for line in _read(f"{folder}/blkio.throttle.{file}_recursive", missing="").splitlines():
            words = line.split()
            if len(words) == 3:
                major, minor = map(int, words[0].split(":"))
                rows.setdefault((major, minor, words[1].lower()), {})[field] = int(words[2])
    return [BlockIo(major=major, minor=minor, operation=op, **values) for (major, minor, op), values in rows.items()]


def numbers(text: str) -> dict[str, int]:
    """`key value` lines as a mapping; lines of another shape are left out."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            found[key] = int(value)
    return found
