"""Steps that several builds want at once: whoever comes first makes it, the others wait and find it in the cache.

A lock is one byte of the file `ROOT/build-cache/turns`, at a place that the step's key gives. Nobody waits for another step
than his own, nothing has to be cleaned up, and the kernel lets go for whoever is killed.
Source: fcntl(2), "Open file description locks".
"""

from __future__ import annotations

import fcntl
import os
import struct

from inception.build.waiting import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIGITS = 15  # of the key: 60 bits, less than the 63 of an offset
_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid


class Turn:
    """Nobody else makes the step *key* of this store inside of it. *check* is called while waiting, and raises to end it."""

    def __init__(self, store_root: str, key: str, check: Callable[[], None]) -> None:
        self._path = f"{store_root}/build-cache/turns"
        self._lock = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, int(key[:_DIGITS], 16), 1, 0)
        self._check = check
        self._fd = -1

    def __enter__(self) -> Turn:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            wait_for(self._take, self._check)
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)

    def _take(self) -> bool:
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, self._lock)
        except BlockingIOError:
            return False
        except PermissionError:  # the other word that POSIX has for it
            return False
        return True
