"""Two names that change places, as fast as the kernel does it: what a hostile process does while we look."""

from __future__ import annotations

import ctypes
import os

_RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(folder: int, one: str, other: str) -> None:
    """renameat2(2) in an open *folder*. Raises OSError."""
    if _libc.renameat2(folder, os.fsencode(one), folder, os.fsencode(other), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one)
