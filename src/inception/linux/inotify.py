"""inotify(7): hear of changes in a folder."""

from __future__ import annotations

import ctypes
import os

# Source: <sys/inotify.h>.
IN_MODIFY, IN_ATTRIB, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_libc = ctypes.CDLL(None, use_errno=True)


def watch(path: str, mask: int) -> int:
    """A non-blocking, close-on-exec descriptor that is readable after changes in the folder *path*; owned by the caller.

    Raises OSError: EMFILE beyond `fs.inotify.max_user_instances`, ENOSPC beyond `max_user_watches`.
    """
    fd = open()
    try:
        add(fd, path, mask)
    except OSError:
        os.close(fd)
        raise
    return fd


def open() -> int:
    """A descriptor that hears of nothing yet; as `watch` otherwise."""
    fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "inotify")
    return fd


def add(fd: int, path: str, mask: int) -> None:
    """Let *fd* hear of the folder *path* too. Raises OSError: ENOSPC beyond `max_user_watches`, ENOENT."""
    if _libc.inotify_add_watch(fd, os.fsencode(path), mask) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)


def drain(fd: int) -> None:
    """Throw away what *fd* tells, so that it is readable again only after the next change."""
    try:
        while os.read(fd, 1 << 16):
            pass
    except BlockingIOError:
        pass
