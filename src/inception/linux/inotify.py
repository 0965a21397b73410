"""inotify(7): hear of changes in a folder."""

from __future__ import annotations

import ctypes
import os

# Source: <sys/inotify.h>.
IN_MODIFY, IN_MOVED_FROM, IN_CREATE = 0x2, 0x40, 0x100
_libc = ctypes.CDLL(None, use_errno=True)


def watch(path: str, mask: int) -> int:
    """A non-blocking, close-on-exec descriptor that is readable after changes in the folder *path*; owned by the caller.

    Raises OSError: EMFILE beyond `fs.inotify.max_user_instances`, ENOSPC beyond `max_user_watches`.
    """
    fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0 or _libc.inotify_add_watch(fd, os.fsencode(path), mask) < 0:
        error = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        raise OSError(error, os.strerror(error), path)
    return fd


def drain(fd: int) -> None:
    """Throw away what *fd* tells, so that it is readable again only after the next change."""
    try:
        while os.read(fd, 1 << 16):
            pass
    except BlockingIOError:
        pass
