"""What a monitor asks the kernel about its container, in as few calls as it takes."""

from __future__ import annotations

import _socket
import os

from inception.linux.process import pidfd_send_signal, reap


def collect(pidfd: int) -> int:
    """The exit code of a dead child, 128+n when signal n ended it; 255 when someone else in this process collected it."""
    try:
        return reap(pidfd)
    except ChildProcessError:
        return 255


def kill(pidfd: int) -> None:
    """SIGKILL to the process behind *pidfd*; one that is dead already is fine."""
    try:
        pidfd_send_signal(pidfd, 9)
    except ProcessLookupError:
        pass


def hold_root(pid: int) -> int | None:
    """A descriptor of the root of *pid*, owned by the caller; None when it is gone.

    As long as it is open its filesystem outlives the container. The end of an overlay syncs the whole filesystem below it,
    in the middle of the exit of the last process and before its parent hears of that; so it waits until this is closed.
    """
    try:
        return os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None


def receive_fd(fd: int) -> int:
    """The descriptor in the next message on socket *fd*, close-on-exec. Raises OSError, or ValueError when there is none."""
    connection = _socket.socket(fileno=os.dup(fd))
    try:
        connection.setblocking(False)
        _, ancillary, _, _ = connection.recvmsg(64, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    finally:
        connection.close()
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS and len(data) >= 4:
            return int.from_bytes(data[:4], "little")
    raise ValueError("no terminal was sent")
