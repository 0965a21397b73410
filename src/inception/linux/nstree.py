"""The pid namespaces of the machine, as a tree, from /proc.

A process has a pid in its own pid namespace and in each one above; `NSpid` in /proc/PID/status lists them, the outermost
that we can see first. Which namespace lies in which is told by ioctl_ns(2): NS_GET_PARENT, and NS_GET_USERNS for its owner.
Everything is read while the machine goes on living, so whatever vanishes between two reads is left out.
"""

from __future__ import annotations

import fcntl
import os

from inception.record import Record

# Source: <linux/nsfs.h>: _IO(0xb7, 1) and _IO(0xb7, 2); they carry no size, so they are the same on every architecture.
_NS_GET_USERNS = 0xB701
_NS_GET_PARENT = 0xB702


class NamespacedProcess(Record):
    """`pids` are its pids from the outermost namespace that we see to its own; `parent` is the outermost pid of its parent."""

    pids: list[int]
    parent: int
    name: str
    command: list[str] = []
    uid: int = 0

    @property
    def pid(self) -> int:
        return self.pids[0]


class PidNamespace(Record):
    """`id` and `user_namespace` are inode numbers, as in `pid:[4026531836]`; `level` counts from 0, the outermost we see."""

    id: int
    level: int
    user_namespace: int = 0
    processes: list[NamespacedProcess] = []
    children: list[PidNamespace] = []

    def all(self) -> list[PidNamespace]:
        """This one and everything below."""
        return [self, *(below for child in self.children for below in child.all())]


def observe_pid_namespaces() -> PidNamespace:
    """The tree below the pid namespace that /proc shows, each namespace's processes by pid."""
    parents: dict[int, int] = {}
    owners: dict[int, int] = {}
    members: dict[int, list[NamespacedProcess]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            namespace = _follow_up(int(entry), parents, owners)
            process = _load_process(int(entry))
        except OSError:
            continue  # it ended, or it is not ours to look at
        if process is not None:
            members.setdefault(namespace, []).append(process)
    root = _inode(os.stat("/proc/self/ns/pid"))
    while parents.get(root):
        root = parents[root]
    return _build(root, 0, parents, owners, members)


def _build(
    namespace: int,
    level: int,
    parents: dict[int, int],
    owners: dict[int, int],
    members: dict[int, list[NamespacedProcess]],
) -> PidNamespace:
    children = [_build(child, level + 1, parents, owners, members) for child, parent in parents.items() if parent == namespace]
    # The oldest first: a namespace is as old as its first process that is left.
    children.sort(key=lambda child: min((process.pid for below in child.all() for process in below.processes), default=0))
    return PidNamespace(
        id=namespace,
        level=level,
        user_namespace=owners.get(namespace, 0),
        processes=sorted(members.get(namespace, []), key=lambda process: process.pid),
        children=children,
    )


def _inode(status: os.stat_result) -> int:
    return status.st_ino


def _follow_up(pid: int, parents: dict[int, int], owners: dict[int, int]) -> int:
    """The pid namespace of *pid*; notes its parents up to the outermost that we may see."""
    link = os.readlink(f"/proc/{pid}/ns/pid")
    own = int(link.rpartition("[")[2][:-1])
    if own in parents:
        return own
    fd = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            namespace = os.fstat(fd).st_ino
            owners[namespace] = _related(fd, _NS_GET_USERNS)
            above = _open_related(fd, _NS_GET_PARENT)
            parents[namespace] = os.fstat(above).st_ino if above is not None else 0
            if above is None or parents[namespace] in parents:
                if above is not None:
                    os.close(above)
                return own
            os.close(fd)
            fd = above
    finally:
        os.close(fd)


def _open_related(fd: int, request: int) -> int | None:
    """An fd of a related namespace; None where it lies outside of what we may see (EPERM)."""
    try:
        return fcntl.ioctl(fd, request)
    except OSError:
        return None


def _related(fd: int, request: int) -> int:
    found = _open_related(fd, request)
    if found is None:
        return 0
    try:
        return os.fstat(found).st_ino
    finally:
        os.close(found)


def _load_process(pid: int) -> NamespacedProcess | None:
    with open(f"/proc/{pid}/status", "rb") as file:
        fields = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
    if b"NSpid" not in fields:
        return None  # it has been reaped; the file stays readable for whoever had it open
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        command = file.read().split(b"\0")[:-1]
    return NamespacedProcess(
        pids=[int(number) for number in fields[b"NSpid"].split()],
        parent=int(fields[b"PPid"]),
        name=os.fsdecode(fields[b"Name"].strip()),
        command=[os.fsdecode(word) for word in command],
        uid=int(fields[b"Uid"].split()[0]),
    )
