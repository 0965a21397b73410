"""Namespaces: make, open, enter.

Namespaces belong to threads. A library must not move its caller's threads, so what needs a network namespace for a moment
is done by a child that shares memory and descriptors (`new_netns`, `socket_in_netns`); `setns` and `unshare` act on the
calling thread and are for processes of our own.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread

from inception import _spawn
from inception.linux import abi
from inception.linux.call import failed, syscall
from inception.linux.files import read_file

# OCI name -> (file in /proc/PID/ns, clone flag). Source: namespaces(7); runtime-spec config-linux.md, "Namespaces".
KINDS: dict[str, tuple[str, int]] = {
    "user": ("user", abi.CLONE_NEWUSER),
    "cgroup": ("cgroup", abi.CLONE_NEWCGROUP),
    "ipc": ("ipc", abi.CLONE_NEWIPC),
    "uts": ("uts", abi.CLONE_NEWUTS),
    "network": ("net", abi.CLONE_NEWNET),
    "pid": ("pid", abi.CLONE_NEWPID),
    "mount": ("mnt", abi.CLONE_NEWNS),
    "time": ("time", abi.CLONE_NEWTIME),
}


def new_netns() -> int:
    """An fd of a new network namespace, which lives as long as the fd, a process in it or a mount of it. Its loopback is up."""
    try:
        return _spawn.new_netns()
    except OSError as error:
        raise failed("unshare", ("CLONE_NEWNET",), error.errno or 0) from None


class PendingNetns:
    """`new_netns` in a thread: the kernel needs up to a millisecond for it, time in which its caller can do something else."""

    def __init__(self) -> None:
        self._fd = -1
        self._error: OSError | None = None
        self._done = allocate_lock()
        self._done.acquire()
        start_new_thread(self._make, ())

    def _make(self) -> None:
        try:
            self._fd = new_netns()
        except OSError as error:
            self._error = error
        finally:
            self._done.release()

    def take(self) -> int:
        """The fd, the caller's from here on. Waits for it; raises OSError as `new_netns`. Once."""
        with self._done:
            if self._error is not None:
                raise self._error
            fd, self._fd = self._fd, -1
            return fd

    def close(self) -> None:
        """Give up what nobody has taken."""
        with self._done:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def socket_in_netns(netns_fd: int, family: int, type: int, protocol: int = 0) -> int:
    """socket(2) in another network namespace; close-on-exec, owned by the caller."""
    try:
        return _spawn.socket_in_netns(netns_fd, family, type, protocol)
    except OSError as error:
        raise failed("socket", (family, type, protocol), error.errno or 0) from None


def write_in_netns(netns_fd: int, path: str, data: bytes) -> None:
    """Write a file below /proc/sys/net, which shows the network namespace of whoever opens it, of another namespace."""
    try:
        fd = _spawn.open_in_netns(netns_fd, os.fsencode(path))
    except OSError as error:
        raise failed("open", (path, "O_WRONLY"), error.errno or 0) from None
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def open_ns(pid: int | str, kind: str) -> int:
    """An fd of a process's namespace; *kind* is an OCI name of KINDS."""
    return os.open(f"/proc/{pid}/ns/{KINDS[kind][0]}", os.O_RDONLY | os.O_CLOEXEC)


def ns_id(pid: int | str, kind: str) -> int:
    """The inode number that identifies a process's namespace."""
    return os.stat(f"/proc/{pid}/ns/{KINDS[kind][0]}").st_ino


def members(pid: int, kind: str) -> list[int]:
    """The processes in that namespace of *pid*'s, as far as /proc shows them to us."""
    wanted, found = ns_id(pid, kind), []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if ns_id(name, kind) == wanted:
                    found.append(int(name))
            except OSError:  # it has ended, or is not ours to look at
                continue
    return sorted(found)


def setns(fd: int, flags: int = 0) -> None:
    """setns(2): move the calling thread; *fd* is a namespace, or a pidfd with CLONE_NEW* *flags* (Linux 5.8)."""
    syscall(abi.SYS_setns, fd, flags)


def unshare(flags: int) -> None:
    """unshare(2) of the calling thread."""
    syscall(abi.SYS_unshare, flags)


def is_rootless() -> bool:
    """Whether we are an ordinary user, be it as root of a user namespace of their own (user_namespaces(7))."""
    return os.geteuid() != 0 or read_file("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]
