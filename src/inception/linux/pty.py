"""Pseudo terminals. Source: pty(7), ioctl_tty(2); TIOCGPTPEER: Linux 4.13."""

from __future__ import annotations

import fcntl
import os
import struct

from inception.linux import abi


def open_peer(master_fd: int) -> int:
    """The other end of a master, opened without a path; close-on-exec, owned by the caller."""
    fcntl.ioctl(master_fd, abi.TIOCSPTLCK, struct.pack("i", 0))
    return fcntl.ioctl(master_fd, abi.TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def openpty() -> tuple[int, int]:
    """(master, slave) of a new terminal of the host; both close-on-exec."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return master, open_peer(master)
    except BaseException:
        os.close(master)
        raise


def set_size(fd: int, height: int, width: int) -> None:
    """TIOCSWINSZ: rows and columns."""
    fcntl.ioctl(fd, abi.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def size(fd: int) -> tuple[int, int]:
    """(height, width)."""
    height, width, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, abi.TIOCGWINSZ, bytes(8)))
    return height, width
