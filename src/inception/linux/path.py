"""Paths beneath a root that someone hostile may have filled: openat2(2), never string joins.

`RootDir` holds an fd; every path it is given is resolved by the kernel as if that directory were `/`: absolute symbolic
links and `..` stay inside, /proc's magic links are refused, and a rename race cannot lead out.
Source: openat2(2), RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS. Linux 5.6.
"""

from __future__ import annotations

import os
import stat as stat_module
import struct

from inception.linux import abi
from inception.linux.call import AT_FDCWD, syscall

IN_ROOT: int = abi.RESOLVE_IN_ROOT | abi.RESOLVE_NO_MAGICLINKS
_LINKS_MAX = 40


def openat2(dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): an fd that the caller owns; close-on-exec. EAGAIN (a rename raced with `..`) is tried again."""
    how = struct.pack("=QQQ", flags | abi.O_CLOEXEC, mode, resolve)
    for attempt in range(64):
        try:
            return syscall(abi.SYS_openat2, dirfd, path, how, len(how))
        except BlockingIOError:
            if attempt == 63:
                raise
    raise AssertionError("unreachable")


class RootDir:
    """A directory as the root of everything beneath it. Owns its fd; use it in a `with` block or call `close`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def open_host(cls, path: str) -> RootDir:
        """The root at *path* of the host (followed as the host does)."""
        return cls(os.open(path, abi.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def __enter__(self) -> RootDir:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the fd; again is harmless."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def fileno(self) -> int:
        return self.fd

    def open(self, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
        """openat2 of *path* inside this root; *resolve* adds to IN_ROOT and NO_MAGICLINKS. The caller owns the fd."""
        return openat2(self.fd, path.lstrip("/") or ".", flags, mode, IN_ROOT | resolve)

    def open_root(self, path: str) -> RootDir:
        """The directory *path* as a RootDir of its own."""
        return RootDir(self.open(path, abi.O_PATH | os.O_DIRECTORY))

    def open_parent(self, path: str) -> tuple[int, str]:
        """(fd of the directory that holds *path*'s last component, that component); the component is not followed."""
        head, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            raise OSError(22, os.strerror(22), path)
        return self.open(head, abi.O_PATH | os.O_DIRECTORY), name

    def mkdirs(self, path: str, mode: int = 0o755, uid: int = -1, gid: int = -1) -> int:
        """Make *path* and its missing parents (like `mkdir -p`, links followed inside the root); an O_PATH fd of it.

        New directories get *mode* and, when given, the owner; existing ones stay as they are.
        """
        todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            try:
                os.close(self.open("/".join([*done, part]), abi.O_PATH | os.O_DIRECTORY))
                done.append(part)
                continue
            except FileNotFoundError:
                parent = self.open("/".join(done), abi.O_PATH | os.O_DIRECTORY)
            try:
                target = os.readlink(part, dir_fd=parent)
            except OSError:
                _mkdirat(parent, part, mode, uid, gid)
                done.append(part)
            else:  # a link that dangles inside the root: make what it points at
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(40, os.strerror(40), path)
                if target.startswith("/"):
                    done = []
                todo.extend(part for part in target.split("/")[::-1] if part not in ("", "."))
            finally:
                os.close(parent)
        return self.open("/".join(done), abi.O_PATH | os.O_DIRECTORY)

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        """stat(2) inside the root."""
        fd = self.open(path, abi.O_PATH | (0 if follow else os.O_NOFOLLOW))
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether *path* leads to something inside the root."""
        try:
            self.stat(path)
        except OSError:
            return False
        return True

    def readlink(self, path: str) -> str:
        """The text of the symbolic link *path*."""
        parent, name = self.open_parent(path)
        try:
            return os.readlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def listdir(self, path: str) -> list[str]:
        """The names in the directory *path*."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def read_bytes(self, path: str, max_bytes: int) -> bytes:
        """The regular file *path*; OSError EFBIG when it is larger than *max_bytes*, EINVAL when it is no regular file.

        A FIFO does not block, a device is not read: the type is checked on an fd that cannot do either.
        """
        fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=self._regular(path))
        try:
            if not stat_module.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(22, "not a regular file", path)
            pieces = []
            left = max_bytes + 1
            while left > 0 and (piece := os.read(fd, min(left, 1 << 20))):
                pieces.append(piece)
                left -= len(piece)
            if left <= 0:
                raise OSError(27, os.strerror(27), path)
            return b"".join(pieces)
        finally:
            os.close(fd)

    def write_bytes(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write *data* to a new or existing regular file *path*, followed inside the root."""
        fd = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY, mode)
        try:
            if not stat_module.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(22, "not a regular file", path)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)

    def unlink(self, path: str) -> None:
        """unlink(2); the last component is not followed."""
        parent, name = self.open_parent(path)
        try:
            os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def rmdir(self, path: str) -> None:
        """rmdir(2)."""
        parent, name = self.open_parent(path)
        try:
            os.rmdir(name, dir_fd=parent)
        finally:
            os.close(parent)

    def _regular(self, path: str) -> int:
        """0 when *path* is a regular file. Opening a device may already act on it, so O_PATH looks first."""
        if not stat_module.S_ISREG(self.stat(path).st_mode):
            raise OSError(22, "not a regular file", path)
        return 0


def _mkdirat(parent: int, name: str, mode: int, uid: int, gid: int) -> None:
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:  # someone else was faster
        return
    fd = os.open(name, abi.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.fchmod(fd, mode)  # whatever the umask
        if uid >= 0 or gid >= 0:
            os.fchown(fd, uid, gid)
    finally:
        os.close(fd)


def open_host(path: str, flags: int, mode: int = 0) -> int:
    """An ordinary open(2) of a host path, close-on-exec."""
    return openat2(AT_FDCWD, path, flags, mode)
