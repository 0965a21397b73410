"""`tmpcopyup`: a tmpfs that begins with what the image has at its destination.

The files are copied before the clone, from the root's folder into a mount that is attached nowhere yet: everything by
descriptor beneath the two, so no link of an image leads out, and nothing runs inside it. What earlier mounts would show there
is not seen. The size option of the tmpfs bounds it. Source: runtime-spec config.md, "Linux mount options".
"""

from __future__ import annotations

import os
import stat

from inception.errors import InvalidArgument
from inception.linux import abi
from inception.linux.mount import fsconfig_create, fsconfig_flag, fsconfig_string, fsmount, fsopen
from inception.linux.path import RootDir
from inception.runtime.mounts import MountOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Mount

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 64


def open_copy(rootfs: str, mount: Mount, where: str) -> int:
    """A detached tmpfs for *mount* that holds a copy of what *rootfs* has there; the caller owns the fd."""
    options = MountOptions(mount.options, where)
    fs = fsopen("tmpfs")
    try:
        for option in options.data:
            key, equals, value = option.partition("=")
            if equals:
                fsconfig_string(fs, key, value)
            else:
                fsconfig_flag(fs, key)
        fsconfig_create(fs)
        made = fsmount(fs, options.set & ~abi.MOUNT_ATTR_RDONLY)
    finally:
        os.close(fs)
    try:
        with RootDir.open_host(rootfs) as root:
            _copy_root(root, mount, made, where, {option.partition("=")[0] for option in options.data})
    except BaseException:
        os.close(made)
        raise
    return made


def _copy_root(root: RootDir, mount: Mount, made: int, where: str, said: set[str]) -> None:
    try:
        source = root.open(mount.destination, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InvalidArgument(f"{where}.destination: {mount.destination!r} is not a directory in the image") from None
    target = os.open(".", _DIRECTORY, dir_fd=made)
    try:
        status = os.fstat(source)
        if not said & {"uid", "gid"}:
            os.fchown(target, status.st_uid, status.st_gid)
        if "mode" not in said:
            os.fchmod(target, stat.S_IMODE(status.st_mode))
        _copy_folder(source, target, _MAX_DEPTH)
    finally:
        os.close(source)
        os.close(target)


def _copy_folder(source: int, target: int, depth: int) -> None:
    if depth == 0:
        raise InvalidArgument("tmpcopyup: the image's folders are nested too deeply")
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            below, copy = os.open(name, _DIRECTORY, dir_fd=source), os.open(name, _DIRECTORY, dir_fd=target)
            try:
                _copy_folder(below, copy, depth - 1)
                _take_over(copy, status)
            finally:
                os.close(below)
                os.close(copy)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(source, target, name, status)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
    try:
        while chunk := os.read(reader, _CHUNK):
            os.write(writer, chunk)
        _take_over(writer, status)
    finally:
        os.close(reader)
        os.close(writer)


def _take_over(fd: int, status: os.stat_result) -> None:
    os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
