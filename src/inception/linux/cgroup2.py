"""Counters of the v2 hierarchy. Source: kernel admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import os

from inception.linux.cgroup import BlockIo, Cgroup, CgroupStats, HugePages, _read
from inception.linux.cgroup1 import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_stats(cgroup: Cgroup) -> CgroupStats:
    """Counters of *cgroup*; controllers that are not switched on count nothing."""
    folder = cgroup.folder(None)
    if folder is None:
        return CgroupStats()
    found: dict[str, Any] = cpu_usage(folder)
    if usage := _read(f"{folder}/memory.current", missing=""):
        found["memory_usage_bytes"] = int(usage)
        found["memory_limit_bytes"] = _limit(f"{folder}/memory.max")
        peak = _read(f"{folder}/memory.peak", missing="")  # Linux 5.19
        found["memory_peak_bytes"] = int(peak) if peak else None
        found["memory"] = numbers(_read(f"{folder}/memory.stat"))
        found["memory_failures"] = numbers(_read(f"{folder}/memory.events")).get("max", 0)
        found["oom_kills"] = cgroup.oom_kills()
        swap = _read(f"{folder}/memory.swap.current", missing="")
        found["memswap_usage_bytes"] = found["memory_usage_bytes"] + int(swap or 0)
        limits = found["memory_limit_bytes"], _limit(f"{folder}/memory.swap.max") if swap else 0
        found["memswap_limit_bytes"] = None if None in limits else sum(limits)
    if current := _read(f"{folder}/pids.current", missing=""):
        found["pids_current"] = int(current)
        found["pids_limit"] = _limit(f"{folder}/pids.max")
    found["huge_pages"] = _huge_pages(folder)
    found["block_io"] = _block_io(_read(f"{folder}/io.stat", missing=""))
    return CgroupStats(**found)


def cpu_usage(folder: str) -> dict[str, int]:
    """The CPU fields of CgroupStats from `cpu.stat`, whose times are microseconds."""
    stat = numbers(_read(f"{folder}/cpu.stat", missing=""))
    return {
        "cpu_usage_ns": stat.get("usage_usec", 0) * 1000,
        "cpu_user_ns": stat.get("user_usec", 0) * 1000,
        "cpu_system_ns": stat.get("system_usec", 0) * 1000,
        "cpu_periods": stat.get("nr_periods", 0),
        "cpu_throttled_periods": stat.get("nr_throttled", 0),
        "cpu_throttled_ns": stat.get("throttled_usec", 0) * 1000,
    }


def _huge_pages(folder: str) -> dict[str, HugePages]:
    found = {}
    for name in os.listdir(folder):
        parts = name.split(".")
        if parts[0] == "hugetlb" and parts[2:] == ["current"]:
            events = numbers(_read(f"{folder}/hugetlb.{parts[1]}.events"))
            found[parts[1]] = HugePages(usage_bytes=int(_read(f"{folder}/{name}")), failures=events.get("max", 0))
    return found


def _limit(path: str) -> int | None:
    text = _read(path).strip()
    return None if text == "max" else int(text)


def _block_io(text: str) -> list[BlockIo]:
    """`8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`, a device a line."""
    found = []
    for line in text.splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for letter, operation in (("r", "read"), ("w", "write"), ("d", "discard")):
            found.append(
                BlockIo(
                    major=int(major),
                    minor=int(minor),
                    operation=operation,
                    bytes=int(values.get(f"{letter}bytes", 0)),
                    operations=int(values.get(f"{letter}ios", 0)),
                )
            )
    return found
