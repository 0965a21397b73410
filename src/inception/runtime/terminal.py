"""The terminal of a foreground `run` or `exec`: its master comes over a socket and is joined to our own stdio."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

from inception.linux import pty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_TERMIOS_BYTES = 36  # of the kernel's struct termios: four words of flags (those of output are the second), then characters


class Terminal:
    """`socket` goes to the plan's slot `console`, `mode` into the plan; `relay` copies until the process has ended."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self.socket = theirs.detach()
        self.mode = _plain_mode()

    def relay(self, pidfd: int) -> None:
        """Copy between stdin, stdout and the terminal until the process ends; ours is raw meanwhile, sizes follow."""
        _, (master,), _, _ = socket.recv_fds(self._ours, 64, 1)
        restore = _make_raw(0)

        def resize(*_: object) -> None:
            if sys.stdin.isatty():
                pty.set_size(master, *pty.size(0))

        resize()
        signal.signal(signal.SIGWINCH, resize)
        try:
            _copy(master, pidfd)
        finally:
            restore()
            os.close(master)


def _plain_mode() -> bytes:
    """The kernel's mode for a new terminal, but that newlines stay what they are: whoever reads us gets what the program
    wrote, and the carriage returns are for our own terminal to add, if we have one."""
    import fcntl
    import termios

    master, slave = pty.openpty()
    try:
        mode = bytearray(fcntl.ioctl(slave, termios.TCGETS, bytes(_TERMIOS_BYTES)))
    finally:
        os.close(master)
        os.close(slave)
    flags = int.from_bytes(mode[4:8], "little") & ~termios.ONLCR
    mode[4:8] = flags.to_bytes(4, "little")
    return bytes(mode)


def _make_raw(fd: int) -> Callable[[], None]:
    if not os.isatty(fd):
        return lambda: None
    import termios
    import tty

    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    mode = termios.tcgetattr(fd)
    mode[1] |= termios.OPOST
    termios.tcsetattr(fd, termios.TCSANOW, mode)
    return lambda: termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _copy(master: int, pidfd: int) -> None:
    poll = select.poll()
    for fd in (0, master, pidfd):
        poll.register(fd, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if master in ready:
            try:
                data = os.read(master, 65536)
            except OSError:  # EIO: every other end is closed
                return
            os.write(1, data)
            continue
        if 0 in ready:
            data = os.read(0, 65536)
            os.write(master, data or b"\x04")
            if not data:
                poll.unregister(0)
        if pidfd in ready:
            return
