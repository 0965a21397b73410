"""Start processes from plans: `spawn` with the caller as parent, `launch` with a monitor as parent.

A plan runs the same from either. PR_SET_PDEATHSIG, which plans set with `die_with_parent`, is about the *thread* that made
the process: a library spawns containers from a thread that lives as long as they do.
"""

from __future__ import annotations

import os

from inception import _spawn
from inception._spawn import SpawnError
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.runtime.plan import Plan

_MONITOR_PATH = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Child(Record):
    """A process of ours. `channel` is -1, or the plan waits: see `resume`. `passed` came with the pause, or is -1. The caller
    owns the descriptors."""

    pid: int
    pidfd: int
    channel: int = -1
    passed: int = -1


class Launched(Record):
    """A container's init and its monitor. The caller owns the pidfd and is the parent of neither."""

    pid: int
    pidfd: int
    monitor_pid: int


def spawn(plan: bytes, fds: dict[str, int], stdio: tuple[int, int, int] = (0, 1, 2)) -> Child:
    """Start *plan* as a child of the caller; returns when its program runs.

    *fds* are the descriptors that the plan names. Raises SpawnError (step, errno); `plan.failure(error)` has the words.
    """
    pid, pidfd = _spawn.spawn(plan, fds, stdio)
    return Child(pid=pid, pidfd=pidfd)


def begin(plan: bytes, fds: dict[str, int], stdio: tuple[int, int, int] = (0, 1, 2)) -> Child:
    """Start *plan* up to its first pause."""
    pid, pidfd, channel, passed = _spawn.begin(plan, fds, stdio)
    return Child(pid=pid, pidfd=pidfd, channel=channel, passed=passed)


def resume(child: Child) -> Child:
    """Let a paused plan go on to its next pause or its program. On SpawnError the process is gone and reaped."""
    pid, pidfd, channel, passed = _spawn.resume(child.pid, child.pidfd, child.channel)
    return Child(pid=pid, pidfd=pidfd, channel=channel, passed=passed)


def launch(
    plan: bytes,
    fds: dict[str, int],
    stdio: tuple[int, int, int],
    monitor_argv: list[str],
    monitor_fds: dict[str, int],
) -> Launched:
    """Start *plan* as the child of a new process that then executes *monitor_argv*, when the plan's program runs.

    The monitor keeps the descriptors *monitor_fds* at their numbers; the number `init` gets init's pidfd; `errors`, when
    given, is its stderr; the rest of its stdio is /dev/null. It leads a session of its own and has no parent here.
    """
    argv = [os.fsencode(word) for word in monitor_argv]
    kept = list(dict.fromkeys(fd for name, fd in monitor_fds.items() if name != "errors"))
    pid, pidfd, monitor_pid, monitor_pidfd = _spawn.launch(
        plan, fds, stdio, argv, [_MONITOR_PATH], kept, monitor_fds["init"], monitor_fds.get("errors", -1)
    )
    os.close(monitor_pidfd)
    return Launched(pid=pid, pidfd=pidfd, monitor_pid=monitor_pid)


def start(plan: Plan, fds: dict[str, int], stdio: tuple[int, int, int] = (0, 1, 2)) -> Child:
    """`spawn` of a plan value; raises StartFailed in words."""
    try:
        return spawn(plan.compile(), fds, stdio)
    except SpawnError as error:
        raise plan.failure(error) from None
