"""A megabyte of disk that is set aside, so that a full disk can be emptied again with our own verbs.

To remove a container means to write a row first; on a full disk that fails, and nothing could be removed ever. So the
database, when it finds no room, gives up its reserve and tries again. Until there is room to set it aside anew, nothing is
created (`check`): the reserve is for those that make room.
"""

from __future__ import annotations

import os

from inception.errors import Unavailable

BYTES = 1 << 20
#: Set aside only where this much stays free.
_PLENTY = 16 << 20


def keep(path: str) -> None:
    """Set the reserve aside when it isn't and there is room for it."""
    if os.path.exists(path):
        return
    try:
        room = os.statvfs(os.path.dirname(path))
        if room.f_bavail * room.f_frsize < BYTES + _PLENTY:
            return
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, BYTES)
        finally:
            os.close(fd)
    except OSError:
        pass  # a file system that is read-only or cannot allocate: no reserve, as before


def spend(path: str) -> bool:
    """Give the reserve's room to whoever writes next; False when it is gone already."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def check(path: str) -> None:
    """Raises Unavailable while the disk is so full that the reserve had to go."""
    if not os.path.exists(path):
        room = os.statvfs(os.path.dirname(path))
        if room.f_bavail * room.f_frsize < BYTES:
            raise Unavailable(
                f"write {os.path.dirname(path)}: No space left on device",
                "free some disk space, remove containers, or `inception system prune`",
            )
