"""Processes by pidfd, and the pairs (pid, start time) that outlive ours in files.

A pid alone may name another process tomorrow; with its start time, and the boot id of the machine, it cannot.
"""

from __future__ import annotations

import os
import select

from inception.caching import lru_cache
from inception.linux import abi
from inception.linux.call import syscall
from inception.linux.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def pidfd_open(pid: int) -> int:
    """pidfd_open(2): close-on-exec, owned by the caller. ProcessLookupError when there is no such process."""
    return syscall(abi.SYS_pidfd_open, pid, 0)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2)."""
    syscall(abi.SYS_pidfd_send_signal, pidfd, signal, None, 0)


def wait_pidfd(pidfd: int, timeout_s: float | None = None) -> bool:
    """Whether the process ended within *timeout_s* (None: wait for it). Does not reap it."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else max(0, int(timeout_s * 1000))))


def reap(pidfd: int) -> int:
    """Wait for our own child; its exit code, 128 + n when signal n ended it."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if result is None:
        raise ChildProcessError("waitid gave nothing")
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


def start_time(pid: int) -> int:
    """Clock ticks from boot to the start of *pid*; ProcessLookupError when it is gone."""
    try:
        stat = read_file(f"/proc/{pid}/stat")
    except FileNotFoundError:
        raise ProcessLookupError(3, os.strerror(3), str(pid)) from None
    # Field 2 is the command in parentheses and may hold anything; what follows the last one is numbers.
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether *pid* is the process that started then, and runs (a zombie does not)."""
    try:
        stat = read_file(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = stat[stat.rindex(b")") + 2 :].split()
    return int(fields[19]) == started and fields[0] not in (b"Z", b"X")


def open_alive(pid: int, started: int) -> int | None:
    """A pidfd of the process that started then, or None when it has gone."""
    try:
        pidfd = pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return None
    if is_alive(pid, started):  # checked with the pidfd in hand: the pid cannot pass to another process unseen
        return pidfd
    os.close(pidfd)
    return None


def pid_of(pidfd: int) -> int:
    """The pid behind a pidfd, in our pid namespace; -1 when it has been reaped, 0 when it is not visible here."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:
        for line in file:
            if line.startswith(b"Pid:"):
                return int(line[4:])
    raise OSError(9, "not a pidfd", str(pidfd))


@lru_cache(1)
def boot_id() -> str:
    """The kernel's random id of this boot."""
    return read_file("/proc/sys/kernel/random/boot_id").decode().strip()


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS for the calling thread."""
    syscall(abi.SYS_prctl, abi.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_pdeathsig(signal: int) -> None:
    """Get *signal* when the thread that made this process ends."""
    syscall(abi.SYS_prctl, abi.PR_SET_PDEATHSIG, signal, 0, 0, 0)


def memfd(name: str, data: bytes) -> int:
    """A sealed memory file that holds *data*; close-on-exec, owned by the caller, read from the start."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    seals = abi.F_SEAL_SEAL | abi.F_SEAL_SHRINK | abi.F_SEAL_GROW | abi.F_SEAL_WRITE
    syscall(abi.SYS_fcntl, fd, abi.F_ADD_SEALS, seals)
    return fd


def oom_kills(paths: Iterable[str]) -> int:
    """Sum of `oom_kill N` over cgroup files (`memory.events` of v2, `memory.oom_control` of v1); missing ones count 0."""
    kills = 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                kills += sum(int(line.split()[1]) for line in file if line.startswith(b"oom_kill "))
        except OSError:
            pass
    return kills
