"""Waiting for a lock that another build holds, without ever hanging in it.

A build that waits may be cancelled, by a failure elsewhere or by its user, and a thread that sleeps in flock(2) or in
F_OFD_SETLKW hears of that only with a signal, which Python delivers to its main thread alone. inotify(7) tells that a file was
closed before its locks are gone (`__fput` in the kernel's fs/file_table.c), so that whoever it wakes finds it locked still.
What is left is to try again: a try costs some microseconds, and what is waited for is a step of a build.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE_S = 0.02


def wait_for(take: Callable[[], bool], check: Callable[[], None]) -> None:
    """Until *take* has got it. *check* is called while waiting, and raises to end it."""
    while not take():
        check()
        time.sleep(_PAUSE_S)
