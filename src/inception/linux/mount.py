"""Mounts: the file-descriptor API of Linux 5.2 and later, the old calls, and /proc/self/mountinfo.

A mount made by `fsmount` or `open_tree(..., OPEN_TREE_CLONE)` is attached nowhere until `move_mount`; closing its fd before
that unmounts it.
"""

from __future__ import annotations

import os
import struct

from inception.linux import abi
from inception.linux.call import AT_FDCWD, syscall
from inception.record import Record


def mount(source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    syscall(abi.SYS_mount, source, target, fstype, flags, data)


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2); MNT_DETACH, UMOUNT_NOFOLLOW."""
    syscall(abi.SYS_umount2, target, flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    syscall(abi.SYS_pivot_root, new_root, put_old)


def fsopen(fstype: str) -> int:
    """fsopen(2): a filesystem context; close-on-exec, owned by the caller."""
    return syscall(abi.SYS_fsopen, fstype, abi.FSOPEN_CLOEXEC)


def fsconfig_string(fs_fd: int, key: str, value: str) -> None:
    """Set the option *key*; the kernel takes at most 255 bytes of *value*."""
    syscall(abi.SYS_fsconfig, fs_fd, abi.FSCONFIG_SET_STRING, key, value, 0)


def fsconfig_flag(fs_fd: int, key: str) -> None:
    """Set an option without a value (`ro`, `userxattr`)."""
    syscall(abi.SYS_fsconfig, fs_fd, abi.FSCONFIG_SET_FLAG, key, None, 0)


def fsconfig_fd(fs_fd: int, key: str, fd: int) -> None:
    """Set an option to an open file (overlay layers: Linux 6.13)."""
    syscall(abi.SYS_fsconfig, fs_fd, abi.FSCONFIG_SET_FD, key, None, fd)


def fsconfig_create(fs_fd: int) -> None:
    """Make the superblock."""
    syscall(abi.SYS_fsconfig, fs_fd, abi.FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """fsmount(2): the mount, attached nowhere; *attributes* are MOUNT_ATTR_*. Close-on-exec, owned by the caller."""
    return syscall(abi.SYS_fsmount, fs_fd, abi.FSMOUNT_CLOEXEC, attributes)


def open_tree(dirfd: int, path: str, flags: int = 0) -> int:
    """open_tree(2): an fd for the mount at *path*; OPEN_TREE_CLONE (with AT_RECURSIVE) copies it. Linux 5.2."""
    return syscall(abi.SYS_open_tree, dirfd, path, flags | abi.OPEN_TREE_CLOEXEC)


def move_mount(from_fd: int, to_dirfd: int, to_path: str = "", flags: int = 0) -> None:
    """move_mount(2) of the mount *from_fd* onto *to_path* (empty: *to_dirfd* itself)."""
    if not to_path:
        flags |= abi.MOVE_MOUNT_T_EMPTY_PATH
    syscall(abi.SYS_move_mount, from_fd, "", to_dirfd, to_path, flags | abi.MOVE_MOUNT_F_EMPTY_PATH)


def mount_setattr(
    dirfd: int,
    path: str = "",
    *,
    set: int = 0,
    clear: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """mount_setattr(2): change MOUNT_ATTR_* and propagation of a mount, with *recursive* of all below it. Linux 5.12."""
    attr = struct.pack("=QQQQ", set, clear, propagation, userns_fd)
    flags = (0 if path else abi.AT_EMPTY_PATH) | (abi.AT_RECURSIVE if recursive else 0)
    syscall(abi.SYS_mount_setattr, dirfd, path, flags, attr, len(attr))


class MountInfo(Record):
    """One line of mountinfo; paths are unescaped. Source: proc(5), /proc/pid/mountinfo."""

    id: int
    parent_id: int
    device: str
    root: str
    mount_point: str
    options: str
    optional: str
    fstype: str
    source: str
    super_options: str


def parse_mountinfo(text: str) -> list[MountInfo]:
    """The mounts in a mountinfo file, in its order."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        head = left.split(" ")
        tail = right.split(" ")
        mounts.append(
            MountInfo(
                id=int(head[0]),
                parent_id=int(head[1]),
                device=head[2],
                root=unescape(head[3]),
                mount_point=unescape(head[4]),
                options=head[5],
                optional=" ".join(head[6:]),
                fstype=tail[0],
                source=unescape(tail[1]) if len(tail) > 1 else "",
                super_options=tail[2] if len(tail) > 2 else "",
            )
        )
    return mounts


def load_mountinfo(pid: str = "self") -> list[MountInfo]:
    """The mounts of a process."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mountinfo(file.read())


def unescape(text: str) -> str:
    r"""A path as mountinfo and fstab write it: `\040` is a space.

    >>> unescape(r"/a\040b")
    '/a b'
    """
    if "\\" not in text:
        return text
    raw = os.fsencode(text)
    out = bytearray()
    i = 0
    while i < len(raw):
        if raw[i] == 0x5C and raw[i + 1 : i + 4].isdigit():
            out.append(int(raw[i + 1 : i + 4], 8))
            i += 4
        else:
            out.append(raw[i])
            i += 1
    return os.fsdecode(bytes(out))


def detach(path: str) -> bool:
    """Unmount whatever is on top of *path*, now and also when busy; False when nothing is mounted there."""
    try:
        umount2(path, abi.MNT_DETACH | abi.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno in (2, 22):
            return False
        raise
    return True


__all__ = [
    "AT_FDCWD",
    "MountInfo",
    "detach",
    "fsconfig_create",
    "fsconfig_fd",
    "fsconfig_flag",
    "fsconfig_string",
    "fsmount",
    "fsopen",
    "load_mountinfo",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "parse_mountinfo",
    "pivot_root",
    "umount2",
    "unescape",
]
