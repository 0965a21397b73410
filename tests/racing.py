"""Two paths that change places in a tight loop, and how long: the attacker of every race test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def rounds(least: int) -> int:
    """How often a race is run: *least*, which fits a test run, or what RACE_ROUNDS says."""
    return max(least, int(os.environ.get("RACE_ROUNDS", "0")))


@contextlib.contextmanager
def swapping(one: object, other: object) -> Iterator[None]:
    """Exchange two paths as fast as the kernel does it, meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = threading.Event()

    def swap() -> None:
        first, second = os.fsencode(str(one)), os.fsencode(str(other))
        while not done.is_set():
            libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
