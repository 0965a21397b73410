"""Unix sockets by system call: the `_socket` module takes 1 to 2 ms to load, `socket` ten times that.

Paths longer than the 107 bytes of `sockaddr_un` are reached through a descriptor of their folder. Source: unix(7).
"""

from __future__ import annotations

import os
import struct

from inception.linux import abi
from inception.linux.call import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def listen(path: str, backlog: int = 1) -> int:
    """A listening SOCK_SEQPACKET socket made at *path*; close-on-exec, owned by the caller."""
    return _with_address(abi.SOCK_SEQPACKET, path, lambda fd, address: _bind(fd, address, backlog))


def connect(path: str, kind: int = abi.SOCK_SEQPACKET) -> int:
    """A connection to the socket at *path*; close-on-exec, owned by the caller."""
    return _with_address(kind, path, lambda fd, address: syscall(abi.SYS_connect, fd, address, len(address)))


def _bind(fd: int, address: bytes, backlog: int) -> None:
    syscall(abi.SYS_bind, fd, address, len(address))
    syscall(abi.SYS_listen, fd, backlog)


def _with_address(kind: int, path: str, act: Callable[[int, bytes], object]) -> int:
    folder, _, name = path.rpartition("/")
    folder_fd = os.open(folder or ("/" if path.startswith("/") else "."), abi.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = os.fsencode(f"/proc/self/fd/{folder_fd}/{name}")
        if len(short) > 107:
            raise OSError(36, os.strerror(36), path)
        fd = syscall(abi.SYS_socket, abi.AF_UNIX, kind | abi.SOCK_CLOEXEC, 0)
        try:
            act(fd, struct.pack("=H", abi.AF_UNIX) + short + b"\0")
        except BaseException:
            os.close(fd)
            raise
        return fd
    finally:
        os.close(folder_fd)
