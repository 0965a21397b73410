"""What a session leaves on its machine, told apart from what others who work there at the same time have.

A link, a table or a process of an engine names the engine's root, a cgroup's processes see theirs: it is ours when that root
lies below the session's own folder. What says nothing about its owner (a network namespace, another program's table) is taken
for ours unless somebody else runs a suite or a benchmark at this moment.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from inception.network.address import engine_tag

#: How long something may take to go that nobody waits for.
_PATIENCE_S = 30.0


def leftovers(has_nft: bool) -> dict[str, set[str]]:
    """What a container platform could leave on a machine: mounts, links, cgroups, nft tables, processes of ours."""
    found: dict[str, set[str]] = {
        # `ip netns add` mounts its own folder once a machine, and leaves it.
        "mounts": {line.split(" ")[4] for line in _read("/proc/self/mountinfo").splitlines()} - {"/run/netns"},
        "links": set(os.listdir("/sys/class/net")),
        "cgroups": {folder for folder, _, _ in os.walk("/sys/fs/cgroup")},
        "nft tables": set(),
        "processes": set(),
    }
    if has_nft:
        with os.popen("nft list tables 2>/dev/null") as tables:
            found["nft tables"] = set(tables.read().splitlines())
    for pid in _processes():
        command = _read(f"/proc/{pid}/cmdline").replace("\0", " ")
        if any(
            module in command for module in ("inception.monitor.process", "inception.engine.release", "inception.engine.retry")
        ):
            found["processes"].add(f"{pid} {command}")
    return found


def left_behind(before: dict[str, set[str]], base: Path, has_nft: bool) -> dict[str, list[str]]:
    """What is there, was not there *before*, and is of the session whose folder is *base*."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        after = leftovers(has_nft)
        left = {kind: sorted(item for item in after[kind] - before[kind] if _is_ours(kind, item, base)) for kind in after}
        left = {kind: items for kind, items in left.items() if items}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def routing() -> dict[str, str]:
    """Whether the machine forwards, and whom it listens to: what an engine sets for its networks and leaves (decision 51)."""
    net = Path("/proc/sys/net")
    paths = [net / "ipv4/ip_forward", net / "ipv6/conf/all/forwarding", *sorted(net.glob("ipv6/conf/*/accept_ra"))]
    return {str(path): text for path in paths if (text := _read(str(path)))}


def restore_routing(before: dict[str, str]) -> None:
    """Put back what has changed, unless others who work here may rely on it now."""
    if _others_at_work():
        return
    for path, value in before.items():
        if _read(path) not in ("", value):
            Path(path).write_text(value)


def _is_ours(kind: str, item: str, base: Path) -> bool:
    match kind:
        case "processes":
            return str(base) in item
        case "cgroups":
            # Others outside of our names come and go with the machine's own services.
            return ("inception" in item or "itest" in item) and _lives_in(item, base)
        case "links" if item.startswith("inc"):
            return item[3:7] in _tags(base)
        case "nft tables" if "inception-" in item:
            return item.rpartition("inception-")[2] in _tags(base)
        case "mounts" if str(base) in item:
            return True
    return not _others_at_work()


def _tags(base: Path) -> set[str]:
    return {engine_tag(str(database.parent)) for database in base.rglob("state.db")}


def _lives_in(cgroup: str, base: Path) -> bool:
    """Whether *base* is what the processes of a cgroup were made from. An empty one that stays is a leftover all the same."""
    found = [pid for folder, _, _ in os.walk(cgroup) for pid in _read(f"{folder}/cgroup.procs").split()]
    if not found and any(name in cgroup for name in ("inception-runc-", "itest")):
        return not _others_at_work()
    return not found or any(str(base) in _read(f"/proc/{pid}/mountinfo") for pid in found)


def _others_at_work() -> bool:
    """Whether a suite or a benchmark that is not ours runs on this machine."""
    family, pid = set(), os.getpid()
    while pid > 1:
        family.add(str(pid))
        pid = int(_read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    for other in set(_processes()) - family:
        words = _read(f"/proc/{other}/cmdline").split("\0")
        if any(word.endswith(("pytest", "bench")) or word.startswith("tests.") for word in words[:4]):
            return True
    return False


def _processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
