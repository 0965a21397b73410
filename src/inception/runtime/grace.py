"""Begin the kernel's grace period for a move between cgroups while Python still imports.

To move a process into a cgroup of a v1 hierarchy the kernel first waits for an RCU grace period, about 7 ms here; a second
move soon after the first does not wait again (kernel/rcu/sync.c: the writer's state is left only a grace period later). So a
thread moves this process to where it is already, which changes nothing, and init's own move is free when its turn comes.
"""

from __future__ import annotations

import _thread
import os


def begin_grace_period() -> None:
    """Returns at once; where there is no v1 hierarchy, or it is not ours to write, nothing happens."""
    try:
        with open("/proc/self/cgroup", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in lines:
        names, _, path = line.partition(b":")[2].partition(b":")
        if names in (b"pids", b"memory"):
            _thread.start_new_thread(_move, (b"/sys/fs/cgroup/%s%s/cgroup.procs" % (names, path),))
            return


def _move(path: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, b"0")
    except OSError:
        pass
    finally:
        os.close(fd)
